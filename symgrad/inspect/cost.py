"""What evaluating a graph costs: operations from the rows, contractions in their best order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from symgrad.expr.node import Expr
from symgrad.expr.op import Kind
from symgrad.expr.walk import expand_composites, toposort
from symgrad.inspect.naming import control_names
from symgrad.ops.body import Body, bodies
from symgrad.ops.flops import body_flops, flops

_TRANSCENDENTAL = 20  # rows that cost this much per element call the math library


@dataclass(frozen=True)
class Cost:
    """Counts for one evaluation.

    flops           floating-point operations; a math function counts as its row says
    transcendental  calls of math functions such as exp
    bytes_read      of the arguments and captured arrays
    bytes_written   of the results
    workspace       bytes of temporary storage, known after lowering
    passes          how often each argument comes from memory, known after lowering
    kept            bytes that loops keep of their rounds for others, as the loop backwards reads
    """

    nodes: int
    flops: int
    transcendental: int
    bytes_read: int
    bytes_written: int
    by_op: dict[str, int] = field(default_factory=dict)
    workspace: int | None = None
    passes: dict[str, int] | None = None
    kept: int = 0

    def __str__(self) -> str:
        rows = [
            ("nodes", f"{self.nodes:,}"),
            ("flops", f"{self.flops:,}"),
            ("math functions", f"{self.transcendental:,}"),
            ("bytes read", f"{self.bytes_read:,}"),
            ("bytes written", f"{self.bytes_written:,}"),
        ]
        if self.kept:
            rows.append(("bytes kept of rounds", f"{self.kept:,}"))
        if self.workspace is not None:
            rows.append(("workspace bytes", f"{self.workspace:,}"))
        if self.passes is not None:
            rows += [(f"passes over {name}", f"{n:,}") for name, n in self.passes.items()]
        for name, count in sorted(self.by_op.items(), key=lambda item: (-item[1], item[0]))[:5]:
            rows.append((f"  {name}", f"{count:,}"))
        width = max(len(value) for _, value in rows)
        left = max(len(label) for label, _ in rows)
        return "\n".join(f"{label:<{left}} {value:>{width}}" for label, value in rows)


def cost(args: Sequence[Expr], outs: Sequence[Expr]) -> Cost:
    """Count the operations of a graph as it is lowered; every shared node counts once.

    What a loop computes counts once for each round, if their number or a limit is known; of a
    switch the costliest side counts.

    What is kept whole for calculus, such as solve, counts as the operations it consists of.
    """
    nodes = toposort(outs)
    by_op: dict[str, int] = {}
    transcendental = 0
    read = 0
    seen: dict[object, int] = {}  # the search for an order runs once per form of contraction
    waiting = [(toposort(expand_composites(outs)), 1)]
    while waiting:
        inside, often = waiting.pop()
        for node in inside:
            if node.op.kind is Kind.CONTROL:
                waiting += [(b.nodes, often * times) for b, times in _run(node, seen)]
                continue
            count = often * flops(node, seen)
            if count:
                by_op[node.name] = by_op.get(node.name, 0) + count
            if node.op.kind is Kind.ELEMENTWISE and node.op.cost >= _TRANSCENDENTAL:
                transcendental += often * node.size
            if node.name == "array":
                read += _bytes(node)
    listed = set(args)
    read += sum(_bytes(n) for n in nodes if n.name == "arg" and n in listed)
    return Cost(
        nodes=len(nodes),
        flops=sum(by_op.values()),
        transcendental=transcendental,
        bytes_read=read,
        bytes_written=sum(_bytes(o) for o in outs),
        by_op=by_op,
        kept=_kept_bytes(nodes),
    )


def _kept_bytes(nodes: Sequence[Expr]) -> int:
    """What is kept of rounds at one time: of loops inside of a round it is that of one round."""
    total = sum(_bytes(n) for n in _kept(nodes))
    inside = [_kept_bytes(b.nodes) for n in nodes if n.op.kind is Kind.CONTROL for b in bodies(n)]
    return total + max(inside, default=0)


def _kept(nodes: Sequence[Expr]) -> set[Expr]:
    """What loops stack for other loops."""
    found: set[Expr] = set()
    for node in nodes:
        for a in node.args if node.op.kind is Kind.CONTROL else ():
            while a.op.moves is not None:
                a = a.args[0]
            if a.op.kind is Kind.ITEM and a.args[0].op.rounds is not None:
                if control_names(a.args[0])[1][a.attrs[0]].startswith("y"):
                    found.add(a)
    return found


def _bytes(node: Expr) -> int:
    return node.size * np.dtype(node.dtype).itemsize


def _run(node: Expr, seen: dict[object, int]) -> list[tuple[Body, int]]:
    """The bodies of a control node that count, and how often: of a switch the costliest."""
    inside = bodies(node)
    if node.op.rounds is None:
        return [(max(inside, key=lambda b: body_flops(b, seen)), 1)] if inside else []
    rounds = node.op.rounds(node.attrs)
    return [(b, 1 if rounds is None else rounds) for b in inside]
