"""What keeps one round of a loop from standing for all."""

from __future__ import annotations

from symgrad.trace.state import CURRENT


class Unlike(Exception):
    """A round that is not like the next one; the message says in what."""


def refuse(why: str) -> Unlike:
    """To be raised; also if the user's code catches it, the attempt is over."""
    trace = CURRENT.get()
    trace.unlike = trace.unlike or why
    return Unlike(why)
