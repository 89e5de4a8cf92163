"""Room for the rounds of a `while` that reverse mode keeps, made larger where it is not enough.

How many rows a tape has is part of a graph, as all shapes are. So a function that needs more is
traced once more, with more room, and compiled once more; it is the same in all else, which is
checked: what the function captures may have changed since, and `compile` has frozen it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from symgrad.errors import LoopLimitError
from symgrad.expr.limits import is_tape, tape_rounds
from symgrad.expr.node import Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.ops.body import bodies

if TYPE_CHECKING:
    from symgrad.graph import Graph

VARIABLE = "SYMGRAD_TAPE_MB"
_MOST_MB = 1024
_FACTORS = (8, 4, 2)
ADVICE = (
    "give max_steps= to symgrad.while_loop, or use forward mode (sg.jvp, sg.jacfwd), which keeps "
    "nothing"
)


def most_bytes() -> int:
    """What a tape may take of the memory."""
    try:
        return int(os.environ.get(VARIABLE, _MOST_MB)) << 20
    except ValueError:
        return _MOST_MB << 20


def has_tape(outs: Iterable[Expr]) -> bool:
    """Whether a `while` keeps its rounds, and nobody has said how many there may be."""
    waiting = [toposort(outs)]
    seen = set()
    while waiting:
        for node in waiting.pop():
            if node.op.kind is not Kind.CONTROL:
                continue
            if "test" in node.op.attr_names and is_tape(node.attr("limit")):
                return True
            new = [b for b in dict.fromkeys(bodies(node)) if b not in seen]
            seen.update(new)
            waiting += [b.nodes for b in new]
    return False


class Again:
    """How to make a graph once more, with tapes for more rounds.

    make : traces the function
    graph : what it has made; later steps follow in `steps`
    """

    def __init__(
        self,
        make: Callable[[], Graph],
        graph: Graph,
        steps: tuple[Callable[[Graph], Graph], ...] = (),
        rounds: int | None = None,
        digest: str = "",
    ) -> None:
        self.make, self.steps = make, steps
        self.rounds = tape_rounds.get() if rounds is None else rounds
        self.digest = digest or graph.digest()

    def then(self, graph: Graph, step: Callable[[Graph], Graph]) -> Again:
        """The same for what a step makes of the graph."""
        return Again(self.make, graph, (*self.steps, step), self.rounds, self.digest)

    def _made(self, rounds: int) -> Graph:
        token = tape_rounds.set(rounds)
        try:
            return self.make()
        finally:
            tape_rounds.reset(token)

    def larger(self, kept: int) -> Graph:
        """The graph with more room, if `kept` bytes are what the tapes take now.

        Raises LoopLimitError if that is more than tapes may take, or another function.
        """
        kept = max(kept, self.rounds)  # some keep nothing, and may not end all the same
        factor = next((f for f in _FACTORS if f * kept <= most_bytes()), None)
        if factor is None:
            raise too_large(self.rounds, kept)
        if self._made(self.rounds).digest() != self.digest:
            raise LoopLimitError(
                f"a while loop takes more than the {self.rounds} rounds for which reverse mode has "
                "made room, and what the function captures has changed since it was compiled: "
                + ADVICE
            )
        graph = self._made(factor * self.rounds)
        if graph.digest() == self.digest:
            raise LoopLimitError("a while loop did not end within its max_steps= rounds")
        for step in self.steps:
            graph = step(graph)
        return graph


def too_large(rounds: int, size: int) -> LoopLimitError:
    """A tape that there is no memory for."""
    return LoopLimitError(
        f"a while loop takes more than {rounds} rounds, whose values take {size / 2**20:.1f} MiB; "
        f"reverse mode may take {most_bytes() >> 20} MiB for them ({VARIABLE} in the "
        f"environment): {ADVICE}"
    )
