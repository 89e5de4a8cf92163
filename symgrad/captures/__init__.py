"""What a function captures: found by inspection, told apart by content, checked at each call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.captures.code import Seen
from symgrad.captures.lift import Place, lift_of, reach_of
from symgrad.captures.state import Label, State
from symgrad.captures.walk import state_of

__all__ = ["Captures", "Label", "State"]

_MOST_KEPT = 64  # states, each of which keeps what is captured alive


class Captures:
    """What a function captures, and what the functions among its arguments do.

    roots : the function, or what leads to it
    keep : whether states may be kept between calls; they keep all captured objects alive

    passes, which is to be set, says whether large arrays and floats may be passed (`lift`).
    """

    def __init__(self, roots: Sequence[Any], keep: bool = True) -> None:
        self.roots, self.keep = tuple(roots), keep
        self.passes = False
        self._passes_floats = True
        self._floats: dict[Place, float] = {}  # the first value seen at each place
        self._varying: set[Place] = set()
        self._seen = Seen()
        self._states: dict[tuple[int, ...], State] = {}

    def now(self, others: Sequence[Any] = ()) -> State:
        """The state at this moment; the same object as before if nothing has changed."""
        which = tuple([id(v) for v in others])
        known = self._states.get(which)
        if known is not None and known.holds():
            return known
        state = state_of((*self.roots, *others), self._seen)
        if self.passes and not others:
            state = self._passing(state)
        if self.keep:
            self._states.pop(which, None)
            self._states[which] = state
            if len(self._states) > _MOST_KEPT:  # of functions that may be gone: made anew if not
                del self._states[next(iter(self._states))]
        return state

    def _passing(self, state: State) -> State:
        """The state with large arrays and changing floats passed, where that can be."""
        reach = reach_of(next((v for v in self.roots if callable(v)), None), self._seen)
        # Of places that are gone another one may have the number.
        self._floats = {p: v for p, v in self._floats.items() if p in reach.floats}
        self._varying &= reach.floats.keys()
        for place, value in reach.floats.items():
            before = self._floats.setdefault(place, value)
            if before is not value and repr(before) != repr(value):
                self._varying.add(place)
        lift = lift_of(reach, state.met, self._varying if self._passes_floats else set())
        if lift:
            state = state_of(self.roots, self._seen, lift)
            state.reach = reach
        return state

    def pass_less(self) -> tuple[bool, bool]:
        """From now on floats are constants; if they are, large arrays are compared as well.

        What was passed until now, for `pass_again`.
        """
        before = self.passes, self._passes_floats
        self.pass_again((self._passes_floats, False))
        return before

    def pass_again(self, which: tuple[bool, bool]) -> None:
        """Pass large arrays, and floats, or not."""
        self.passes, self._passes_floats = which
        self._states.clear()

    def still(self, state: State, others: Sequence[Any] = ()) -> bool:
        """Whether everything is as it was in `state`: nobody changed it meanwhile."""
        return state.holds() or self.now(others).label == state.label

    def forget(self, label: Label) -> None:
        """Let go of the functions among arguments that states with this label keep alive."""
        for which in [w for w, known in self._states.items() if w and known.label == label]:
            self._states.pop(which, None)
