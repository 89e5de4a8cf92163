"""Bounds of rounds: of evaluations with values that nobody chose, and of what loops keep."""

from contextvars import ContextVar

# How many rounds a `while` may take; made-up values may never end it.
most_rounds: ContextVar[int | None] = ContextVar("most_rounds", default=None)

FIRST_TAPE = 10_000
# Rounds of a `while` for which reverse mode makes room where nobody says how many there are. What
# is not enough is made larger by powers of two (`symgrad.tapes`).
tape_rounds: ContextVar[int] = ContextVar("tape_rounds", default=FIRST_TAPE)


def is_tape(limit: int | None) -> bool:
    """Whether nobody has said how many rounds there may be: more of them are no mistake."""
    if not limit or limit % FIRST_TAPE:
        return False
    return (limit // FIRST_TAPE).bit_count() == 1
