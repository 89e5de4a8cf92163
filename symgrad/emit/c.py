"""Loop program to a file of C99: `body` makes trees of it, `printer` text, templates/ the file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

import symgrad.emit.loops  # noqa: F401  # registers loops
import symgrad.emit.statements  # noqa: F401  # registers the other statements
from symgrad.boundary import Binding
from symgrad.emit import tree as c
from symgrad.emit.body import Emitter
from symgrad.emit.c99 import C99
from symgrad.emit.functions import functions_of, headers, vector_math
from symgrad.emit.printer import function_name, lines
from symgrad.emit.target import Target
from symgrad.emit.templates import environment, translate
from symgrad.emit.threads import TEAM, TEAM_IN_ORDER
from symgrad.emit.tree import uses
from symgrad.lazy import dataclass
from symgrad.lower.program import Program, statements
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Store, While
from symgrad.lower.tuning import HOST_TUNING, Tuning

__all__ = ["Source", "data_source", "emit", "load_templates"]


@dataclass(frozen=True)
class Source(Binding):
    """Generated C of one function.

    c, header : text of the two files
    data_names : names under which the exported data file defines the captured arrays
    units : in how many pieces the C can be compiled side by side, by SG_UNIT = 0, 1, …
    parallel : whether it has loops that several threads can share
    blas : whether it calls a BLAS
    """

    c: str
    header: str
    data_names: tuple[str, ...]
    units: int
    parallel: bool
    blas: bool


def emit(
    program: Program,
    name: str,
    *,
    target: Target = C99,
    tuning: Tuning = HOST_TUNING,
    comment: Sequence[str] = (),
    version: str = "",
    input_notes: Sequence[str] = (),
    output_notes: Sequence[str] = (),
    statuses: Sequence[tuple[int, str]] = (),
) -> Source:
    """C source and header of a program. All text in `comment` and notes must be comment-safe.

    statuses : what it returns where a check fails, and what that means
    """
    emitter = Emitter(program, tuning, target)
    written = _written(emitter, name)
    context = dict(
        name=name,
        entry=f"{name}_entry",
        comment=list(comment),
        version=version,
        statuses=list(statuses),
        inputs=_Words(target).parameters(program.inputs, input_notes),
        outputs=_Words(target).parameters(program.outputs, output_notes),
        **written,
    )
    files = environment(target.name)
    captured = _with_data(b for b in program.inputs if b.role == "data")
    names = written["macros"]
    return Source(
        c=files.get_template("function.c.jinja").render(context),
        header=files.get_template("function.h.jinja").render(context),
        name=name,
        entry=f"{name}_entry",
        workspace_bytes=written["workspace"],
        data=tuple(data for _, data in captured),
        data_names=tuple(f"{name}_{b.name}" for b, _ in captured),
        units=-(-len(written["parts"]) // tuning.unit_parts),
        parallel="SG_PARALLEL" in names,
        blas=bool(names & {"sg_gemm", "sg_gemmf"}),
    )


def _written(emitter: Emitter, name: str) -> dict[str, Any]:
    """What templates are told of a function: all that follows from its program."""
    program, tuning, words = emitter.program, emitter.tuning, _Words(emitter.target)
    parts = emitter.parts()
    each = [uses(*body) for body in parts]
    used = set().union(*(u.names for u in each))
    arrays = [b for b in program.buffers if b.role in ("local", "work") and b.name in used]
    constants = _with_data(b for b in program.buffers if b.role == "constant" and b.name in used)
    parameters = [*program.inputs, *program.outputs]
    functions, names = _names(emitter, each)
    stack = [b for b in arrays if b.role != "work"]
    if tuning.vectors and (stack or constants):
        names.add("SG_ALIGNED")
    if _is_straight(program):
        names.add("SG_STRAIGHT")
    names |= words.types(parameters, arrays) | words.needed_by(constants)
    shared = _shared(arrays)
    declared = [words.array(b, alone=b.number not in shared) for b in arrays]
    return dict(
        headers=headers(names),
        header_types=headers(words.types(parameters)),
        macros=names,
        vector_math=vector_math(names) if tuning.vectors else [],
        captured=[
            words.sized(b, name=f"{name}_{b.name}") for b in program.inputs if b.role == "data"
        ],
        constants=[words.sized(b, values=words.literals(data)) for b, data in constants],
        helpers=functions,
        parts=[
            _part(body, u.names, k // tuning.unit_parts, declared, parameters)
            for k, (body, u) in enumerate(zip(parts, each, strict=True))
        ],
        workspace=program.workspace_bytes,
        workspace_doubles=program.workspace_bytes // 8,
        vectors=tuning.vectors,
        stack=sum(b.nbytes for b in stack),
        **_limits(program),
    )


def _limits(program: Program) -> dict[str, Any]:
    """Whether it has loops that may have only so many rounds, and how many rows a tape has."""
    loops = [s for s, _ in statements(program.body) if isinstance(s, While)]
    limits = [(s.status, s.most) for s in loops if s.most is not None]
    return dict(
        limited=any(status == 3 for status, _ in limits),
        tape=max([most for status, most in limits if status == 4], default=0),
    )


def _is_straight(program: Program) -> bool:
    """Whether elements of arrays are stored one by one: compilers may make vectors of these."""
    found = (s for s, path in statements(program.body) if not path and isinstance(s, Store))
    return sum(s.buffer.role != "scalar" for s in found) > 1


def _names(emitter: Emitter, each: Sequence[c.Uses]) -> tuple[list[str], set[str]]:
    """The texts of the functions that are called, and all names of functions, types and macros."""
    calls = dict.fromkeys(call for u in each for call in u.calls)
    functions, names = functions_of(calls, emitter.carrying, emitter.target)
    names.update(*(u.needs for u in each))
    names.update(function_name(name, dtype) for name, dtype, _ in calls)
    if names & {TEAM, TEAM_IN_ORDER}:
        names |= {TEAM, "SG_PARALLEL"}
    return functions, names


def data_source(source: Source) -> str:
    """C file that defines the captured arrays under the names that the header declares."""
    words = _Words(C99)
    arrays = [
        dict(name=name, type=C99.types[str(d.dtype)], size=d.size, values=words.literals(d))
        for name, d in zip(source.data_names, source.data, strict=True)
    ]
    template = environment(C99.name).get_template("data.c.jinja")
    return template.render(name=source.name, arrays=arrays)


def load_templates() -> None:
    """Have all templates at hand."""
    translate(C99.name)


def _part(
    body: Sequence[c.Statement],
    used: set[str],
    unit: int,
    arrays: Sequence[dict[str, Any]],
    parameters: Sequence[Buffer],
) -> dict[str, Any]:
    return dict(
        text="".join(f"{line}\n" for line in lines(body)),
        unit=unit,
        arrays=[a for a in arrays if a["name"] in used],
        parameters=[b.name for b in parameters if b.name in used],
    )


def _with_data(buffers: Iterable[Buffer]) -> list[tuple[Buffer, np.ndarray]]:
    return [(b, b.data) for b in buffers if b.data is not None]


@dataclass(frozen=True)
class _Words:
    """What templates are told of arrays, in the words of a language."""

    target: Target

    def types(self, *groups: Iterable[Buffer]) -> set[str]:
        return {self.target.types[b.dtype] for group in groups for b in group}

    def needed_by(self, constants: Sequence[tuple[Buffer, np.ndarray]]) -> set[str]:
        """The types of constants, and what stands in their literals."""
        found = (self.target.needed_by(v, b.dtype) for b, data in constants for v in np.ravel(data))
        return self.types(b for b, _ in constants).union(found)

    def literals(self, data: np.ndarray) -> list[str]:
        return [self.target.literal(v, str(data.dtype)) for v in data.reshape(-1)]

    def sized(self, b: Buffer, **more: Any) -> dict[str, Any]:
        return dict(name=b.name, type=self.target.types[b.dtype], size=b.size) | more

    def parameters(self, buffers: Sequence[Buffer], notes: Sequence[str]) -> list[dict[str, Any]]:
        every = [*notes, *[""] * (len(buffers) - len(notes))]
        shapes = ["".join(f"[{n}]" for n in b.shape) for b in buffers]
        return [
            self.sized(b, shape=shape, by_value=b.role == "in" and not b.shape, note=note)
            for b, shape, note in zip(buffers, shapes, every, strict=True)
        ]

    def array(self, b: Buffer, alone: bool) -> dict[str, Any]:
        more = dict(role=b.role, offset=b.offset // 8, alone=alone)
        return self.sized(b, **more) | dict(size=max(b.size, 1))


def _shared(arrays: Sequence[Buffer]) -> set[int]:
    """The arrays that lie in a part of the workspace where another one lies as well."""
    found: set[int] = set()
    reach, last = -1, -1  # the furthest end so far, and whose it is
    sizes = sorted((b.offset, b.offset + b.nbytes, b.number) for b in arrays if b.role == "work")
    for start, end, number in sizes:
        if start < reach and start < end:
            found |= {number, last}
        if end > reach:
            reach, last = end, number
    return found
