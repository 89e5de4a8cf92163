"""What a summary says of a graph that is too large to be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from symgrad.expr.node import Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.inspect.naming import plain_name

LINES = 12  # definitions that a summary shows
_MOST = 6  # kinds of operations, and arguments, that are named


def told(outs: Sequence[Expr], names: dict[Expr, str]) -> str:
    """How many operations of which kind there are, and of what: one line of text.

    names : of the arguments
    """
    nodes = toposort(outs)
    counts = Counter(n.name for n in nodes if n.op.kind is not Kind.SOURCE)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kinds = [f"{count} {name}" for name, count in ranked[:_MOST]]
    if len(ranked) > _MOST:
        kinds.append(f"{sum(count for _, count in ranked[_MOST:])} others")
    used = set(nodes)
    read = [plain_name(name) for a, name in names.items() if a in used]
    if len(read) > _MOST:
        read = [*read[:_MOST], f"{len(read) - _MOST} more"]
    return f"{', '.join(kinds)}; of {', '.join(read)}"
