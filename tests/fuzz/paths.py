"""Which ways through lowering and emission programs took: counted, so that none is forgotten.

Kinds of statements are the classes of `symgrad.lower.statements` and `cpu`: a new kind is counted,
and missed, without a line here.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from symgrad.emit.c import Source
from symgrad.expr.node import CONST, const_value
from symgrad.expr.walk import toposort
from symgrad.lower import cpu
from symgrad.lower import statements as ir
from symgrad.lower.program import Program
from symgrad.lower.scalar import GUARD, INDEX, LOAD
from symgrad.ops.linalg import CALLS

_FIELDS = {
    "Loop": "lanes again flush simd start stop step chunks shared in_order team".split(),
    "Store": "partial order".split(),
    "Flush": "carry index at".split(),
    "Merge": "carry".split(),
    "Tiles": "carry skip".split(),
    "Rows": "write start".split(),
}
_ROLES = "in out constant data scalar local work own member".split()
_OPS = ("=", "+", "*", "max", "min")


def kinds() -> list[str]:
    """Every path that is counted, whether it was taken or not."""
    every = {**vars(ir), **vars(cpu)}
    bases = (ir.Statement, cpu.CpuStatement)
    classes = [
        name
        for name, c in every.items()
        if isinstance(c, type) and issubclass(c, ir.Statement) and c not in bases
    ]
    found = [*classes, *[f"{c}.{f}" for c, fields in _FIELDS.items() for f in fields]]
    found += [f"buffer {role}" for role in _ROLES]
    found += [f"Store {op}" for op in _OPS]
    found += [f"call {spec.template}" for spec in CALLS.values()]
    found += ["argmax", "argmin", "turned rows", "reversed rows", "straight lanes", "guard",
              "mirror", "triangle", "scan", "cut parts", "units of parts", "lanes of less points",
              "loop inside a stream", "product inside a stream", "computed panels",
              "dtype float32", "dtype int64", "dtype bool"]  # fmt: skip
    return list(dict.fromkeys(found))


def of_program(program: Program) -> Counter[str]:
    """How often each path stands in a program."""
    count: Counter[str] = Counter()
    buffers = {b.number: b for b in program.buffers}
    for b in program.buffers:
        if b.role in _ROLES:
            count[f"buffer {b.role}"] += 1
        if f"dtype {b.dtype}" in ("dtype float32", "dtype int64", "dtype bool"):
            count[f"dtype {b.dtype}"] += 1
        if b.name.endswith("_lanes") and b.lanes and b.role != "none":
            count["turned rows"] += 1
    stack: list[tuple[Any, tuple[Any, ...]]] = [(s, ()) for s in program.body]
    while stack:
        s, path = stack.pop()
        name = type(s).__name__
        count[name] += 1
        for field in _FIELDS.get(name, ()):
            value = getattr(s, field)
            usual = 1 if field == "step" else 0
            if value is not None and value != usual and value != () and value != []:
                count[f"{name}.{field}"] += 1
        if isinstance(s, ir.Loop):
            stack += [(t, (*path, s)) for t in (*s.body, *s.flush)]
            if s.lanes:
                count["straight lanes"] += s.again
                count["lanes of less points"] += s.extent % s.lanes != 0
            count["loop inside a stream"] += any(p.step != 1 for p in path)
        elif name == "Store":
            count[f"Store {s.op}"] += 1
            _of_store(s, path, buffers, count)
        elif name == "Best":
            count[s.op] += 1
        elif name == "Call":
            count[f"call {s.template}"] += 1
        elif name == "Tiles":
            count["product inside a stream"] += any(p.step != 1 for p in path)
            count["triangle"] += _is_moving(s.reach)
    return count


def _of_store(s: Any, path: Any, buffers: dict[int, Any], count: Counter[str]) -> None:
    nodes = toposort([*s.index, s.value])
    count["guard"] += any(n.op is GUARD for n in nodes)
    loads = [n for n in nodes if n.op is LOAD]
    if path:
        count["reversed rows"] += any(_falls(n.args[-1], path[-1].index) for n in loads if n.args)
    own = [n for n in loads if n.attrs[0] == s.buffer.number]
    if s.op == "=" and any(n.args != s.index for n in own):
        mirrored = any(sorted(map(id, n.args)) == sorted(map(id, s.index)) for n in own)
        count["mirror" if mirrored else "scan"] += 1
    count["triangle"] += s.order is not None
    panel = path[-1].stop is not None and s.buffer.name.startswith("s") if path else False
    count["computed panels"] += bool(panel and len(s.buffer.shape) in (2, 3))


def _falls(index: Any, variable: Any) -> bool:
    """Whether an index takes a step backwards with a loop variable."""

    def at(node: Any, value: int) -> int:
        known: dict[Any, int] = {}
        for n in toposort([node]):
            if n.op is INDEX:
                known[n] = value if n is variable else 7
            elif n.op is CONST:
                known[n] = int(const_value(n))
            elif n.name in ("add", "subtract", "multiply", "negative"):
                a = [known[x] for x in n.args]
                known[n] = {"add": sum(a), "subtract": a[0] - a[-1], "multiply": a[0] * a[-1],
                            "negative": -a[0]}[n.name]  # fmt: skip
            else:
                return 0
        return known[node]

    return at(index, 4) < at(index, 3)


def _is_moving(expr: Any) -> bool:
    return any(n.op is INDEX for n in toposort([expr]))


def of_source(source: Source) -> Counter[str]:
    """What shows in the text of the C alone."""
    parts = re.search(r"^SG_PART \w+_part2\(", source.c, re.M)
    return Counter({"cut parts": int(bool(parts)), "units of parts": int(source.units > 1)})
