"""Loop programs as text: what `str(program)` is, and statements and expressions for messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from symgrad.expr.node import CONST, Expr, const_value, is_const
from symgrad.expr.walk import toposort
from symgrad.lower.cpu import Lanes
from symgrad.lower.scalar import INDEX, LOAD
from symgrad.lower.statement import Buffer, Matrix, Statement
from symgrad.lower.statements import Best, Check, Fail, If, Let, Loop, Multiply, Part, Store, While

_MOST_TEXT = 300  # characters of an expression that is spelled


def of(buffers: Sequence[Buffer], body: Sequence[Statement]) -> str:
    """A program: its buffers, and its statements, those inside of others behind two blanks more."""
    lines = [_declaration(b) for b in buffers if b.role != "none"]
    text, count, once = Speller(buffers), 0, []
    stack: list[tuple[Any, int]] = [(s, 0) for s in reversed(body)]
    while stack:
        statement, depth = stack.pop()
        pad = "  " * depth
        if isinstance(statement, str):
            lines.append(pad + statement)
            continue
        if isinstance(statement, int):  # what was named in a body is not known behind it
            while len(text.values) > statement:
                text.values.popitem()
            continue
        if isinstance(statement, Lanes):  # what has an array is known behind it
            lines.append(f"{pad}for each lane:{_about(_of_lanes(statement))}")
            stack.extend((s, depth + 1) for s in reversed(statement.body))
            continue
        if isinstance(statement, Let):
            array = f"  # in {statement.array.name}" if statement.array else ""
            lines.append(f"{pad}v{count} = {text(statement.given)}{array}")
            text.values[statement.value] = f"v{count}"
            once += [statement.value] * statement.once
            count += 1
            continue
        lines.append(pad + line_of(statement, buffers, text))
        for value in once:
            del text.values[value]
        once.clear()
        for k, inside in reversed(list(enumerate(statement.bodies()))):
            stack.append((len(text.values), depth))
            stack.extend((s, depth + 1) for s in reversed(inside))
            if k and inside:
                stack.append((_between(statement), depth))
    return "\n".join(lines)


def _declaration(b: Buffer) -> str:
    """A buffer as a line; axes that it does not keep are in parentheses."""
    axes = [str(n) if a in b.kept_axes else f"({n})" for a, n in enumerate(b.shape)]
    lanes = f" x {b.lanes}" if b.lanes else ""
    place = f" at {b.offset}" if b.role in ("work", "member") else ""
    return f"{b.name} = {b.dtype}[{', '.join(axes)}]{lanes}  # {b.role}{place}"


def _between(s: Any) -> str:
    """The line before the second body of a statement."""
    if isinstance(s, Loop):
        return f"every {s.flush_blocks} blocks, and at the end:"
    return "else:"


def line_of(statement: Any, buffers: Sequence[Buffer], text: Speller | None = None) -> str:
    """A statement as one line; of one with bodies the head.

    Elements at an index are the first of a part.
    """
    s, text = statement, Speller(buffers) if text is None else text

    def part(buffer: Buffer, index: tuple[Expr, ...]) -> str:
        return text.element(buffer.name, index, buffer)

    if isinstance(s, Loop):
        return _head(s, text)
    if isinstance(s, Store):
        to = s.buffer if s.partial is None else s.partial
        sign = s.op if s.op == "=" else f"{s.op}="
        order = f"  # where {text(s.order[0])} <= {text(s.order[1])}" if s.order else ""
        return f"{part(to, s.index)} {sign} {text(s.value)}{order}"
    if isinstance(s, Best):
        both = f"{part(s.buffer, s.index)}, {part(s.value_buffer, s.index)}"
        return f"{both} = {s.op} of {text(s.value)} at {text(s.position)}"
    if isinstance(s, Check):
        return f"check {-s.size} <= {text(s.value)} < {s.size}"
    if isinstance(s, Fail):
        return f"fail with {s.status} if {text(s.condition)}"
    if isinstance(s, If):
        return f"if {text(s.condition)}:"
    if isinstance(s, While):
        counted = "" if s.index is None else f"rounds counted by {text(s.index)}"
        most = "" if s.most is None else f"at most {s.most} rounds"
        notes = ", ".join(filter(None, (most, counted)))
        return f"while {text(s.condition)}:" + (f"  # {notes}" if notes else "")
    if isinstance(s, Part):
        return "part:"
    if isinstance(s, Multiply):
        how = "a BLAS" if s.blas else "tiles"
        sign = "=" if is_const(s.added, 0) else "+="
        return f"{part(s.buffer, s.index)} {sign} the product of matrices, for {how}:"
    names = {b.number: b.name for b in buffers}
    fields_ = ((f.name, getattr(s, f.name)) for f in fields(s))
    shown = (f"{name}={_shown(value, text, names)}" for name, value in fields_)
    return f"{type(s).__name__}({', '.join(shown)})"


def _head(s: Loop, text: Speller) -> str:
    stop = str(s.extent) if s.stop is None else f"{text(s.stop)} at most {s.extent} on"
    bounds = [] if s.is_plain else ["0" if s.start is None else text(s.start)]
    step = [str(s.step)] if s.step != 1 else []
    chunk = s.chunk.attrs[0] if s.chunk else ""
    notes = {
        f"lanes {s.lanes}" + ", the last block overlaps" * s.again: s.lanes,
        f"chunks of {s.chunk_points} points, i{chunk} < {s.chunks}": s.chunks,
        f"shared by {s.members or 'any'} threads": s.shared,
        f"the last {s.in_order} in order": s.in_order,
        "in order": s.serial,
        "simd": s.simd,
        "partial results": s.accumulates,
    }
    return f"for {text(s.index)} in ({', '.join([*bounds, stop, *step])}):{_about(notes)}"


def _of_lanes(s: Lanes) -> dict[str, Any]:
    last = f", of the last block {s.vectors[1]}" if s.vectors[1] else ""
    return {f"{s.vectors[0]} in vectors{last}": any(s.vectors), "in order": s.in_order}


def _about(notes: dict[str, Any]) -> str:
    about = "; ".join(note for note, there in notes.items() if there)
    return f"  # {about}" if about else ""


def _shown(value: Any, text: Speller, names: dict[int, str]) -> str:
    """A field of a statement."""
    if isinstance(value, Expr):
        return text(value)
    if isinstance(value, Buffer):
        return value.name
    if isinstance(value, Matrix):
        return text.element(value.buffer.name, value.first, value.buffer) + f" along {value.axes}"
    if isinstance(value, tuple):
        return f"({', '.join(_shown(v, text, names) for v in value)})"
    return repr(value)


class Speller:
    """Scalar expressions as text. What would be longer than a few lines is `...`."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self.names = {b.number: b.name for b in buffers}
        self.values: dict[Expr, str] = {}  # those that have a name

    def __call__(self, expr: Expr) -> str:
        texts = dict(self.values)
        for node in toposort([expr], texts):
            found = self._spelled(node, [texts[a] for a in node.args])
            texts[node] = found if len(found) <= _MOST_TEXT else "..."
        return texts[expr]

    def element(self, name: str, index: tuple[Expr, ...], buffer: Buffer) -> str:
        behind = ["0.."] * (len(buffer.shape) - len(index))
        axes = [*map(self, index), *behind]
        return f"{name}[{', '.join(axes)}]" if axes else name

    def _spelled(self, node: Expr, args: list[str]) -> str:
        if node.op is INDEX:
            return f"i{node.attrs[0]}"
        if node.op is CONST:
            return str(const_value(node))
        if node.op is LOAD:
            name = self.names.get(node.attrs[0], f"buffer{node.attrs[0]}")
            return f"{name}[{', '.join(args)}]" if args else name
        sign = _INFIX.fullmatch(node.op.c or "")
        if sign is not None:
            operands = zip(args, node.args, strict=True)
            return f" {sign[1]} ".join(f"({t})" if _is_infix(a) else t for t, a in operands)
        attrs = [str(a) for a in node.attrs]
        return f"{node.name}({', '.join([*args, *attrs])})"


_INFIX = re.compile(r"\{0\} (\S+) \{1\}")


def _is_infix(node: Expr) -> bool:
    return _INFIX.fullmatch(node.op.c or "") is not None
