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
    CONTROL = "control"  # bodies in `attrs`, run or not, once or often; several results
    ITEM = "item"  # one result of a control node
    CHECK = "check"  # says where a call fails; see `ops/checks`
    LOWERED = "lowered"  # only inside loop programs: loads, loop indices, guards


class Moves(Enum):
    """How a row that only moves elements of its arguments, of any type, takes them."""

    ONCE = "once"  # each element once: in another order or shape
    SOME = "some"  # not every element, or some more than once
    REPEATED = "repeated"  # each element at least once
    JOINED = "joined"  # each element of several arrays once


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
    interval     (intervals of the args...) -> interval of the value, of integers (`ops/interval`)
    negation     the comparison of integers that is true where this one is not
    inequalities (sign, shift) of each sign (b - a) - shift >= 0 that a comparison of integers says
    moves        how it takes elements of its arguments, if it computes nothing; see `Moves`
    indices      which argument holds indices, known when C runs, along the axis `attrs[0]`
    reduces      whether each element of the argument goes into one of the result, over the axes
                 `attrs[0]`
    radicand     (args, attrs) -> what it is the square root of
    of_decay     (x, exp(-|x|)) -> the same value, made of the decay that x and -x have in common
    rereads      whether elements of an argument are read more than once, or under a guard
    element      generator (index, args, attrs): yields (arg, index) to read, returns the scalar
    combine      how a reduction accumulates: "+", "*", "max", …, and its start value
    accumulates  the same code, for the elementwise row that takes one more value
    c            C spelling: a function name, or a template over {0}, {1}, …
    c_int        the same for integer operands where it differs
    vectorized   whether C libraries have the function that `c` calls for vectors (glibc 2.35)
    sympy        SymPy spelling over a, b, c
    reads        (reader, node, a Poly per argument) -> what it means to a reader, or None if it
                 stands as it is; see `ops/readings.py`
    cost         flops-equivalents per element
    flops        (args, attrs) -> those of one evaluation, where they are not for each element
    results      (args, attrs) -> (shape, dtype) of each result of a control node
    rounds       (attrs) -> how often a loop runs its bodies at most, None if there is no limit;
                 of other control nodes one body runs once
    domain       per argument (low, high): where tests sample it
    numpy        names of the ufuncs of NumPy or SciPy that are this row

    Control nodes have several results. Their rules take and give lists, and get the calculus for
    their bodies (`diff.modes.Calculus`):

    jvp          (tangents or None per argument, node, calculus) -> one or None per result
    vjp          (cotangents or None per result, node, which arguments need one, calculus)
                 -> one or None per argument
    batch        (args, which are batched, node, size, calculus) -> results, which are batched
    support      (node, supports of the args, calculus) -> as above, one or None per result
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
    interval: Callable[..., tuple[float, float]] | None = None
    negation: str | None = None
    inequalities: tuple[tuple[int, int], ...] | None = None
    moves: Moves | None = None
    indices: int | None = None
    reduces: bool = False
    radicand: Callable[..., Any] | None = None
    of_decay: Callable[..., Any] | None = None
    rereads: bool = False
    element: Callable[..., Any] | None = None
    combine: tuple[str, Any] | None = None
    accumulates: str | None = None
    c: str | None = None
    c_int: str | None = None
    vectorized: bool = False
    sympy: str | None = None
    reads: Callable[..., Any] | None = None
    cost: int = 1
    flops: Callable[..., int] | None = None
    results: Callable[..., tuple[Any, ...]] | None = None
    rounds: Callable[..., int | None] | None = None
    domain: tuple[tuple[float, float], ...] = ()
    commutative: bool = False
    identity: float | None = None
    numpy: tuple[str, ...] = ()
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
UFUNCS: dict[str, Op] = {}  # elementwise rows by the names of the ufuncs that they are


def register(op: Op) -> Op:
    """Add a row; a second row of the same name, or for the same ufunc, is a programming error.

    A row that is added later, from outside, is traced and differentiated as any other.
    """
    names = op.numpy if op.kind is Kind.ELEMENTWISE else ()
    if op.name in OPS:
        raise KeyError(f"op {op.name!r} is registered twice")
    for name in names:
        if name in UFUNCS:
            raise KeyError(f"op {op.name!r}: np.{name} is {UFUNCS[name].name!r} already")
    OPS[op.name] = op
    UFUNCS.update(dict.fromkeys(names, op))
    return op


def unregister(op: Op) -> None:
    """Take a row out again; graphs that have it stay as they are, but can't be checked."""
    if OPS.get(op.name) is not op:
        raise KeyError(f"op {op.name!r} is not registered")
    del OPS[op.name]
    for name in op.numpy:
        if UFUNCS.get(name) is op:
            del UFUNCS[name]


def lookup(name: str) -> Op:
    """The row of that name."""
    return OPS[name]
