"""Loops whose rounds threads share, and the arrays that each round has for itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from symgrad.emit import tree as c
from symgrad.emit.body import Emitter
from symgrad.emit.tree import integer, uses
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Loop

PARALLEL, IN_ORDER = c.Mark("SG_PARALLEL"), c.Mark("SG_IN_ORDER")


def team_mark(loop: Loop) -> c.Call:
    """What stands before a loop whose threads have arrays in the workspace."""
    return c.Call(TEAM_IN_ORDER if loop.in_order else TEAM, (integer(loop.members),))


TEAM, TEAM_IN_ORDER = "SG_TEAM", "SG_TEAM_IN_ORDER"


def own_arrays(
    e: Emitter, body: Sequence[c.Statement], zero: Collection[int] = (), team: Buffer | None = None
) -> list[c.Statement]:
    """The arrays that each round of a loop shared by threads has; those in `zero` begin so.

    In `team` are those that each thread has in the workspace.
    """
    used = uses(*body).names
    arrays = [b for b in e.program.buffers if b.name in used]
    result: list[c.Statement] = [
        c.DeclareArray(e.target.types[b.dtype], b.name, b.size, b.number in zero)
        for b in arrays
        if b.role == "own"
    ]
    if team is not None:
        result += [_in_team(b, team, e) for b in arrays if b.role == "member"]
    return result


def _in_team(b: Buffer, team: Buffer, e: Emitter) -> c.Declare:
    mine = c.Binary("*", c.Name("SG_MEMBER"), integer(team.shape[1]))
    place: c.Expression = c.Sum((c.Name(team.name), mine, integer(b.offset // 8)))
    ctype = e.target.types[b.dtype]
    if ctype != "double":
        place = c.Cast(f"{ctype} *", c.Cast("void *", c.Group(place)))
    return c.Declare(f"{ctype} *restrict const", b.name, place, const=False)
