"""The loop program: buffers and a body of statements whose right-hand sides are scalar `Expr`.

`str(program)` is readable pseudo-C.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from symgrad.expr.node import CONST, Expr, const_value
from symgrad.expr.walk import toposort
from symgrad.lower.scalar import INDEX, LOAD, index_of
from symgrad.lower.statements import (
    Best,
    Buffer,
    Call,
    Check,
    Fail,
    If,
    Loop,
    Matrix,
    Store,
    While,
)

Around = tuple[tuple[Any, int], ...]  # statements, and in which of their bodies something stands


@dataclass(eq=False)
class Program:
    """What `lower` hands to `emit`.

    workspace_bytes : its size; -1 as long as no place is chosen for buffers
    indices : the number of the next loop variable
    """

    inputs: list[Buffer]
    outputs: list[Buffer]
    buffers: list[Buffer]
    body: list[Any]
    workspace_bytes: int
    indices: int = 0

    def copied(self) -> Program:
        """The same program, of which nothing is shared: a pass may change it."""
        buffers = {id(b): _copied(b) for b in self.buffers}
        bodies = bodies_of(self.body)
        made: dict[int, list[Any]] = {id(body): [] for body in bodies}
        for body in bodies:
            made[id(body)].extend(_with_copies(s, buffers, made) for s in body)
        for b in buffers.values():
            b.home = made.get(id(b.home), b.home)
        return Program(
            [buffers[id(b)] for b in self.inputs],
            [buffers[id(b)] for b in self.outputs],
            [buffers[id(b)] for b in self.buffers],
            made[id(self.body)],
            self.workspace_bytes,
            self.indices,
        )

    def fresh(self) -> Expr:
        """A loop variable that nobody has yet."""
        self.indices += 1
        return index_of(self.indices - 1)

    @property
    def by_number(self) -> dict[int, Buffer]:
        return {b.number: b for b in self.buffers}

    def __str__(self) -> str:
        lines = [_declaration(b) for b in self.buffers if b.role != "none"]
        stack: list[tuple[Any, int]] = [(s, 0) for s in reversed(self.body)]
        while stack:
            statement, depth = stack.pop()
            pad = "  " * depth
            if isinstance(statement, str):
                lines.append(pad + statement)
                continue
            lines.append(pad + line_of(statement, self.buffers))
            for k, body in reversed(list(enumerate(statement.bodies()))):
                stack.extend((s, depth + 1) for s in reversed(body))
                if k and body:
                    stack.append((_between(statement), depth))
        return "\n".join(lines)


def _copied(value: Any) -> Any:
    made = object.__new__(type(value))
    made.__dict__.update(value.__dict__)
    return made


def _with_copies(statement: Any, buffers: dict[int, Buffer], bodies: dict[int, list[Any]]) -> Any:
    """A copy of a statement with the copies of its buffers and bodies."""
    made = statement.with_bodies(bodies)
    for name, value in statement.__dict__.items():
        if isinstance(value, Buffer):
            setattr(made, name, buffers[id(value)])
        elif isinstance(value, Matrix):
            setattr(made, name, replace(value, buffer=buffers[id(value.buffer)]))
    if isinstance(statement, Call):
        made.operands = tuple((buffers[id(b)], index) for b, index in statement.operands)
        made.target = buffers[id(statement.target[0])], statement.target[1]
    return made


_MOST_TEXT = 300  # characters of an expression that is spelled


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


def line_of(statement: Any, buffers: Sequence[Buffer]) -> str:
    """A statement as one line; of one with bodies the head.

    Elements at an index are the first of a part.
    """
    s = statement
    text = _Speller(buffers)

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
    names = {b.number: b.name for b in buffers}
    fields_ = ((f.name, getattr(s, f.name)) for f in fields(s))
    shown = (f"{name}={_shown(value, text, names)}" for name, value in fields_)
    return f"{type(s).__name__}({', '.join(shown)})"


def _head(s: Loop, text: _Speller) -> str:
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
    }
    about = "; ".join(note for note, there in notes.items() if there)
    head = f"for {text(s.index)} in ({', '.join([*bounds, stop, *step])}):"
    return f"{head}  # {about}" if about else head


def _shown(value: Any, text: _Speller, names: dict[int, str]) -> str:
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


class _Speller:
    """Scalar expressions as text. What would be longer than a few lines is `...`."""

    def __init__(self, buffers: Sequence[Buffer]) -> None:
        self.names = {b.number: b.name for b in buffers}

    def __call__(self, expr: Expr) -> str:
        texts: dict[Expr, str] = {}
        for node in toposort([expr]):
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


def statements(body: list[Any]) -> Iterator[tuple[Any, tuple[Loop, ...]]]:
    """Every statement that is not a loop, in order, with the loops around it.

    Of those with bodies, such as `If`, themselves before what stands inside.
    """
    stack: list[tuple[Any, tuple[Loop, ...]]] = [(s, ()) for s in reversed(body)]
    while stack:
        statement, path = stack.pop()
        if isinstance(statement, Loop):
            stack.extend((s, path) for s in reversed(statement.flush))
            stack.extend((s, (*path, statement)) for s in reversed(statement.body))
            continue
        yield statement, path
        for inside in reversed(statement.bodies()):
            stack.extend((s, path) for s in reversed(inside))


def leaves_of(body: list[Any]) -> Iterator[tuple[Any, tuple[Loop, ...], Around]]:
    """What `statements` gives, with all bodies around each."""
    stack: list[tuple[Any, tuple[Loop, ...], Around]] = [(s, (), ()) for s in reversed(body)]
    while stack:
        s, path, around = stack.pop()
        if not isinstance(s, Loop):
            yield s, path, around
        for k, inside in reversed(list(enumerate(s.bodies()))):
            inner, here = inner_path(path, s, k), (*around, (s, k))
            stack.extend((one, inner, here) for one in reversed(inside))


def inner_path(path: tuple[Loop, ...], s: Any, k: int) -> tuple[Loop, ...]:
    """The loops around a body of a statement; what is flushed by a loop stands outside of it."""
    return (*path, s) if isinstance(s, Loop) and k == 0 else path


def bodies_of(body: list[Any]) -> list[list[Any]]:
    """A list of statements with all those inside of it, from the outside in."""
    found = [body]
    for outer in found:  # which grows meanwhile
        for s in outer:
            found.extend(s.bodies())
    return found


def scopes(body: list[Any]) -> list[list[Any]]:
    """A list of statements, with those inside that run one after another as it does.

    They stand in branches and in loops whose rounds come in order, and in no others.
    """
    found = [body]
    for outer in found:  # which grows meanwhile
        for s in outer:
            if not isinstance(s, Loop) or s.serial:
                found.extend(s.bodies())
    return found


def unused_name(buffers: list[Buffer], name: str) -> str:
    """`name`, with a number behind it if there is such a buffer."""
    taken = {b.name for b in buffers}
    candidates = (name if k == 1 else f"{name}{k}" for k in itertools.count(1))
    return next(c for c in candidates if c not in taken)
