"""Loops whose rounds threads share, and the arrays that each round has for itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from symgrad.emit.body import Emitter
from symgrad.emit.literals import C_TYPES
from symgrad.emit.tree import (
    Binary,
    Call,
    Cast,
    Declare,
    DeclareArray,
    Expression,
    Group,
    Mark,
    Name,
    Statement,
    Sum,
    integer,
    uses,
)  # fmt: skip
from symgrad.lower.statements import Buffer, Loop

PARALLEL, IN_ORDER = Mark("SG_PARALLEL"), Mark("SG_IN_ORDER")


def team_mark(loop: Loop) -> Call:
    """What stands before a loop whose threads have arrays in the workspace."""
    return Call(TEAM_IN_ORDER if loop.in_order else TEAM, (integer(loop.members),))


TEAM, TEAM_IN_ORDER = "SG_TEAM", "SG_TEAM_IN_ORDER"


def own_arrays(
    e: Emitter,
    body: Sequence[Statement],
    zero: Collection[int] = (),
    team: Buffer | None = None,
) -> list[Statement]:
    """The arrays that each round of a loop shared by threads has; those in `zero` begin so.

    In `team` are those that each thread has in the workspace.
    """
    used = uses(*body).names
    arrays = [b for b in e.program.buffers if b.name in used]
    result: list[Statement] = [
        DeclareArray(C_TYPES[b.dtype], b.name, b.size, b.number in zero)
        for b in arrays
        if b.role == "own"
    ]
    if team is not None:
        result += [_in_team(b, team) for b in arrays if b.role == "member"]
    return result


def _in_team(b: Buffer, team: Buffer) -> Declare:
    mine = Binary("*", Name("SG_MEMBER"), integer(team.shape[1]))
    place: Expression = Sum((Name(team.name), mine, integer(b.offset // 8)))
    ctype = C_TYPES[b.dtype]
    if ctype != "double":
        place = Cast(f"{ctype} *", Cast("void *", Group(place)))
    return Declare(f"{ctype} *restrict const", b.name, place, const=False)
