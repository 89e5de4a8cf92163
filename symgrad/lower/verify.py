"""Rules that every loop program keeps, checked one by one without running it.

`verify` says where a program may read or write beside its arrays, read what nobody has written, use
a variable outside its loop, or let two rounds of a loop meet that may run at the same time. It is
for whoever changes the passes of `lower`: tests run it behind every pass, and so does a process
with SYMGRAD_VERIFY=1 in its environment, for each function that is not in the cache. What it cannot
prove is a fault: there is no "perhaps".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from symgrad.errors import InternalError
from symgrad.lazy import dataclass
from symgrad.lower.program import Program
from symgrad.lower.tuning import HOST_TUNING, Tuning
from symgrad.lower.verifier.form import form, rounds, scope, space
from symgrad.lower.verifier.lanes import lanes
from symgrad.lower.verifier.races import accumulating, races, twice
from symgrad.lower.verifier.ranges import in_range, initialised
from symgrad.lower.verifier.values import values
from symgrad.lower.verifier.view import View

ENABLED = os.environ.get("SYMGRAD_VERIFY") == "1"  # behind every pass; tests/conftest.py sets it
_MOST_FAULTS = 5  # that one message names


@dataclass(frozen=True)
class Fault:
    """A rule that a program breaks, the pass of `lower` behind which it does, and where."""

    rule: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.rule}, after {self.after}: {self.text}"


def verify(program: Program, after: str = "lower", tuning: Tuning = HOST_TUNING) -> list[Fault]:
    """The rules that a program breaks; `after` is the name of the pass that made it what it is."""
    known = View(program, tuning)
    found = [Fault("form", after, text) for text in form(known)]
    if found:  # the other rules take it for granted
        return found
    return [Fault(rule, after, text) for rule, texts in RULES.items() for text in texts(known)]


def after(name: str, program: Program, tuning: Tuning) -> None:
    """Behind a pass: InternalError if the program breaks a rule. Nothing happens unless ENABLED."""
    if ENABLED:
        faults = verify(program, name, tuning)
        if faults:
            texts = "\n  ".join(map(str, faults[:_MOST_FAULTS]))
            raise InternalError(
                f"symgrad made a loop program that is wrong ({len(faults)} faults). Please report "
                f"this mistake of symgrad with the function that was compiled.\n  {texts}"
            )


RULES: dict[str, Callable[[View], Iterator[str]]] = {
    "scope": scope,
    "rounds": rounds,
    "range": in_range,
    "init": initialised,
    "races": races,
    "accumulating": accumulating,
    "lanes": lanes,
    "twice": twice,
    "values": values,
    "space": space,
}
