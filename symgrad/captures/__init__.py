"""What a function captures: found by inspection, told apart by content, checked at each call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.captures.code import Seen
from symgrad.captures.lift import is_large, lifted, reach_of
from symgrad.captures.walk import State, state_of

__all__ = ["Captures", "State"]


class Captures:
    """What a function captures, and what the functions among its arguments do.

    roots : the function, or what leads to it
    keep : whether states may be kept between calls; they keep all captured objects alive

    passes, which is to be set, says whether large arrays may be passed at each call (`lift`).
    """

    def __init__(self, roots: Sequence[Any], keep: bool = True) -> None:
        self.roots, self.keep = tuple(roots), keep
        self.passes = False
        self._seen = Seen()
        self._states: dict[tuple[int, ...], State] = {}

    def now(self, others: Sequence[Any] = ()) -> State:
        """The state at this moment; the same object as before if nothing has changed."""
        which = tuple([id(v) for v in others])
        known = self._states.get(which)
        if known is not None and known.holds():
            return known
        state = state_of((*self.roots, *others), self._seen)
        if self.passes and not others and any(map(is_large, state.alive)):
            state = self._passing(state)
        if self.keep:
            self._states[which] = state
        return state

    def _passing(self, state: State) -> State:
        """The state with large arrays passed, where that can be."""
        root = next((v for v in self.roots if callable(v)), None)
        reach = reach_of(root)
        which = lifted(reach, state.met)
        if which:
            state = state_of(self.roots, self._seen, which)
            state.reach = reach
        return state

    def pass_nothing(self) -> None:
        """From now on large arrays are compared as well."""
        self.passes = False
        self._states.clear()

    def still(self, state: State, others: Sequence[Any] = ()) -> bool:
        """Whether everything is as it was in `state`: nobody changed it meanwhile."""
        return state.holds() or self.now(others) == state

    def forget(self, state: State) -> None:
        """Let go of what a state keeps alive."""
        for which, known in list(self._states.items()):
            if which and known == state:
                del self._states[which]
