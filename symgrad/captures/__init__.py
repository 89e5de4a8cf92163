"""What a function captures: found by inspection, told apart by content, checked at each call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.captures.code import Seen
from symgrad.captures.walk import State, state_of

__all__ = ["Captures", "State"]


class Captures:
    """What a function captures, and what the functions among its arguments do.

    roots : the function, or what leads to it
    keep : whether states may be kept between calls; they keep all captured objects alive
    """

    def __init__(self, roots: Sequence[Any], keep: bool = True) -> None:
        self.roots, self.keep = tuple(roots), keep
        self._seen = Seen()
        self._states: dict[tuple[int, ...], State] = {}

    def now(self, others: Sequence[Any] = ()) -> State:
        """The state at this moment; the same object as before if nothing has changed."""
        which = tuple([id(v) for v in others])
        known = self._states.get(which)
        if known is not None and known.holds():
            return known
        state = state_of((*self.roots, *others), self._seen)
        if self.keep:
            self._states[which] = state
        return state

    def forget(self, state: State) -> None:
        """Let go of what a state keeps alive."""
        for which, known in list(self._states.items()):
            if which and known == state:
                del self._states[which]
