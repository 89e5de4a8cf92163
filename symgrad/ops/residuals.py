"""What a loop keeps of each round for its reverse rounds: the cheapest cut.

A value that a reverse round reads is either kept by the forward loop, which costs memory traffic,
or computed again from values that are there: what all rounds share, rows of arrays that are looped
over, and others that are kept. The sum of both costs is least for a minimum cut of this network:

    needed(v) → again(v)   what keeping v costs        again(v) → end      what computing v costs
    start → needed(v)      if a reverse round reads v  again(v) → needed(arguments of v)

A carry cannot be computed again from within its round. So the carry is kept where much hangs on it
(Kalman filter), and weights that took an exp are kept instead of it (forward algorithm).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from symgrad.expr.limits import FIRST_TAPE
from symgrad.expr.node import TUPLE, Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import depends_on, toposort
from symgrad.ops.cut import NEVER, Cut
from symgrad.ops.flops import flops

_KEEP = 250  # ps to write and read one byte again: 2 ns for a double
_FLOP = 250  # ps of one operation

_MUCH = 1 << 28  # bytes: what one long array of all rounds may take
_DEAR = 1000  # times as much costs what takes more: the tape of a `while` inside of another one
_MOST_NODES = 4000


def chosen(
    read: Sequence[Expr],
    shared: Sequence[Expr],
    rows: Sequence[Expr],
    following: Mapping[Expr, Expr],
    rounds: int = 0,
) -> list[Expr]:
    """The nodes of a round to keep, if its reverse reads `read`.

    shared : arguments of the body that are the same in each round
    rows : arguments that are there anyway
    following : for arguments of the carry the next value, which is the argument of the next round:
        who keeps one has both
    rounds : for how many rounds there is room
    """
    kept = _cheapest(read, shared, rows, (), rounds)
    twice = [following[a] for a in kept if a in following]
    return _cheapest(read, shared, rows, twice, rounds) if twice else kept


def _cheapest(
    read: Sequence[Expr],
    shared: Sequence[Expr],
    rows: Sequence[Expr],
    cheap: Sequence[Expr],
    rounds: int,
) -> list[Expr]:
    """The same, where `cheap` nodes cost nothing to keep."""
    nodes = toposort(read)
    fixed = {*shared, *(n for n in nodes if n.op.kind is Kind.SOURCE and not _is_argument(n))}
    varying = depends_on(nodes, [n for n in nodes if _is_argument(n) and n not in fixed])
    free = set(rows)
    nodes = [n for n in nodes if n in varying]  # the others are computed once, outside
    if not nodes:
        return []
    if len(nodes) > _MOST_NODES:
        return [n for n in nodes if _is_argument(n) and n not in free]
    wanted = set(read)
    cut = Cut(2 * len(nodes) + 2)
    number = {n: k for k, n in enumerate(nodes)}
    start, end = 2 * len(nodes), 2 * len(nodes) + 1
    seen: dict[object, int] = {}
    for n, k in number.items():
        if n in free:
            continue
        needed, again = 2 * k, 2 * k + 1
        cut.edge(needed, again, 1 if n in cheap else _keeping(n, rounds))
        cut.edge(again, end, NEVER if _is_argument(n) else 1 + _FLOP * flops(n, seen))
        for a in dict.fromkeys(n.args):
            if a in number and a not in free:
                cut.edge(again, 2 * number[a], NEVER)
        if n in wanted:
            cut.edge(start, needed, NEVER)
    near = cut.near(start, end)
    return [
        n for n, k in number.items() if 2 * k in near and 2 * k + 1 not in near and n not in free
    ]


def _is_argument(node: Expr) -> bool:
    return "position" in node.op.attr_names and not node.args


def _keeping(node: Expr, rounds: int) -> int:
    """What it costs to keep a node; several results are kept one by one."""
    if node.dtype == TUPLE:
        return NEVER
    size = node.size * np.dtype(node.dtype).itemsize
    dear = node.size >= FIRST_TAPE and rounds * size > _MUCH
    return _KEEP * size * (_DEAR if dear else 1)
