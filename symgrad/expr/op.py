"""Rows: what symgrad knows about one primitive operation, and the registry of all rows.

Stages below the tables (diff, simplify, lower, emit) look at a row's *kind* and columns, never at
its name, so that a new operation of a known kind is one row in one file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Kind(Enum):
    """The contract between the op tables and every later stage."""

    SOURCE = "source"  # argument, constant, identity matrix, index ramp
    ELEMENTWISE = "elementwise"  # same shape in and out; `partials`
    LINEAR = "linear"  # linear in the first argument; `transpose`; an index map
    EINSUM = "einsum"  # multilinear contraction over labels
    REDUCE = "reduce"  # non-linear reduction over axes; `vjp` and `jvp`
    SCAN = "scan"  # sequential along one axis, same shape in and out
    COMPOSITE = "composite"  # kept whole for calculus and formulas; `expand`ed before lowering
    CALL = "call"  # opaque C kernel with a template of its own
    LOWERED = "lowered"  # only inside loop programs: loads, loop indices, guards


@dataclass(frozen=True, eq=False, slots=True)
class Op:
    """One primitive. Columns that a kind does not use stay None.

    name         as NumPy names it where NumPy has it
    infer        (arg types..., *attrs) -> (shape, dtype); raises ShapeError
    evaluate     (arrays..., *attrs) -> array: the reference semantics
    attr_names   names of `attrs`, for printing
    partials     per argument: (*args, out) -> Expr, 1, -1, or None for a structural zero
    transpose    (cotangent, args, attrs) -> cotangent of args[0]
    vjp          (cotangent, out, args, attrs) -> one cotangent or None per argument
    jvp          (tangents or None per argument, out, args, attrs) -> tangent
    batch        (args, which are batched, attrs, size) -> Expr with a new leading axis
    expand       (args, attrs) -> Expr made of lower operations
    normalize    (args, attrs) -> simpler Expr or None; run whenever a node is bound
    support      (args, attrs, supports) -> bool Expr, false where the value is 0 whatever the
                 values of the args are, given the same of each argument; None: nowhere
    nonnegative  (args, attrs, which args are) -> whether no value of the leaves makes it negative
    element      generator (index, args, attrs): yields (arg, index) to read, returns the scalar
    combine      how a reduction accumulates: "+", "*", "max", …, and its start value
    c            C spelling: a function name, or a template over {0}, {1}, …
    c_int        the same for integer operands where it differs
    sympy        SymPy spelling over a, b, c
    cost         flops-equivalents per element
    domain       per argument (low, high): where tests sample it
    """

    name: str
    kind: Kind
    infer: Callable[..., tuple[tuple[int, ...], str]]
    evaluate: Callable[..., Any]
    attr_names: tuple[str, ...] = ()
    partials: tuple[Callable[..., Any] | None, ...] | None = None
    transpose: Callable[..., Any] | None = None
    vjp: Callable[..., Any] | None = None
    jvp: Callable[..., Any] | None = None
    batch: Callable[..., Any] | None = None
    expand: Callable[..., Any] | None = None
    normalize: Callable[..., Any] | None = None
    support: Callable[..., Any] | None = None
    nonnegative: Callable[..., bool] | None = None
    element: Callable[..., Any] | None = None
    combine: tuple[str, Any] | None = None
    c: str | None = None
    c_int: str | None = None
    sympy: str | None = None
    cost: int = 1
    domain: tuple[tuple[float, float], ...] = ()
    commutative: bool = False
    identity: float | None = None
    numpy: tuple[Any, ...] = ()
    stable_id: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stable_id", zlib.crc32(self.name.encode()))

    def __repr__(self) -> str:
        return f"Op({self.name})"

    def __reduce__(self) -> tuple[Any, ...]:
        return lookup, (self.name,)


def always(args: Any, attrs: Any, which: Any) -> bool:
    """For the column `nonnegative`: whatever the arguments are."""
    return True


def if_all(args: Any, attrs: Any, which: Any) -> bool:
    """For the column `nonnegative`: if all arguments are."""
    return all(which)


def if_first(args: Any, attrs: Any, which: Any) -> bool:
    """For the column `nonnegative`: if the first argument is."""
    return bool(which[0])


OPS: dict[str, Op] = {}


def register(op: Op) -> Op:
    """Add a row; a second row of the same name is a programming error."""
    if op.name in OPS:
        raise KeyError(f"op {op.name!r} is registered twice")
    OPS[op.name] = op
    return op


def lookup(name: str) -> Op:
    """The row of that name."""
    return OPS[name]
