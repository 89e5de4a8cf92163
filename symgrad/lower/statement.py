"""What statements have in common: buffers, which part of one is touched, and how they are copied.

`statements` has those of any program, `cpu` those that passes for a CPU make.
"""

from __future__ import annotations

import enum
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from symgrad.expr.node import CONST, Expr, const, const_value
from symgrad.forks import cached
from symgrad.lazy import dataclass
from symgrad.lower.scalar import guarded_loads, unravel
from symgrad.ops.elementwise import equal, not_equal

_ALIGNMENT = 64  # of parts of the workspace


@dataclass(frozen=True, eq=False)
class Buffer:
    """Storage of one array, whose number says which one. One that changes is another value.

    role is "in", "out", "constant" (data in the C file), "data" (captured array handed in by the
    caller), "scalar" (a local variable), "local" (a small array on the stack) or "work" (a part of
    the workspace, at `offset` bytes), "own" (an array on the stack that every round of a loop
    shared by threads, or every chunk of it, has), "member" (a part of the workspace that each
    of these threads has, at `offset` bytes of it), or "block" (an array on the stack that every
    block of lanes has, in the body that sets it first).
    """

    number: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    role: str
    data: np.ndarray | None = None
    kept_axes: tuple[int, ...] = None  # type: ignore[assignment]  # None: all
    offset: int = 0
    home: Expr | None = None  # the variable of the loop whose rounds each have one
    lanes: int = 0  # length of an additional last axis: the points of a block

    def __post_init__(self) -> None:
        if self.kept_axes is None:
            object.__setattr__(self, "kept_axes", tuple(range(len(self.shape))))

    def reshaped(self, *shape: int) -> Buffer:
        """One that keeps all axes of another shape."""
        return replace(self, shape=shape, kept_axes=tuple(range(len(shape))))

    @property
    def kept_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[a] for a in self.kept_axes)

    @property
    def size(self) -> int:
        return math.prod(self.kept_shape) * max(self.lanes, 1)

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def room(self) -> int:
        """The bytes that it takes of the workspace."""
        return -(-self.nbytes // _ALIGNMENT) * _ALIGNMENT


class Mode(enum.Enum):
    """READ; WRITE, which needs no old value; ADD, which changes what is there."""

    READ = "read"
    WRITE = "write"
    ADD = "add to"


@dataclass(frozen=True, slots=True)
class Access:
    """Elements that one execution of a statement may touch: all that it touches are among these.

    buffer : its number
    index : the first element, one entry for each axis of `Buffer.shape`. Axes that the buffer does
        not keep (`Buffer.kept_axes`) have an entry as well, which means nothing in memory.
    box : (axis, count) for each axis along which it goes on from there, `count` elements; axes that
        are not in it have the one element at `index`. Counts are integers or index expressions.
        The axis after the last of `shape` is that of the lanes: (len(shape), n) are the lanes
        0, 1, … n - 1. Without it, in a buffer with lanes, it is the lane of the point that the
        statement stands for.
    run : if not None, so many elements from `index` on as they lie in memory; there is no box then
    when : conditions that all hold whenever the elements are touched (`guard`, or the first round
        of sums). A `select` evaluates both sides, so it is not one. What an `If` around the
        statement says is not among them.
    """

    buffer: int
    mode: Mode
    index: tuple[Expr, ...]
    box: tuple[tuple[int, Expr | int], ...] = ()
    run: int | None = None
    when: tuple[Expr, ...] = ()

    @property
    def writes(self) -> bool:
        return self.mode is not Mode.READ

    @property
    def fixed(self) -> dict[int, Expr]:
        """The index of each axis on which it is one element."""
        if self.run is not None:
            return {}
        along = {axis for axis, _ in self.box}
        return {a: i for a, i in enumerate(self.index) if a not in along}


@dataclass(frozen=True)
class Matrix:
    """A part of a buffer: elements from `first` on, rows and columns along two of its axes."""

    buffer: Buffer
    first: tuple[Expr, ...]
    axes: tuple[int, int]


class Statement:
    """What all statements have: their fields say what they read, write and hold.

    They never change; a statement stands in one place of a program.

    aside : names of fields whose expressions are not evaluated where the statement stands
    inside : names of those that are bodies
    holders : names of those that may have buffers
    of_points : whether it may stand in a loop over points that is cut into lanes
    """

    aside: ClassVar[tuple[str, ...]] = ()
    inside: ClassVar[tuple[str, ...]] = ()
    of_points: ClassVar[bool] = False
    holders: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        types = cls.__annotations__.items()
        cls.holders = tuple(n for n, kind in types if "Buffer" in kind or "Matrix" in kind)

    def __post_init__(self) -> None:
        for name in self.inside:
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def exprs(self) -> tuple[Expr, ...]:
        """The scalar expressions that it reads, as they come in its fields."""
        found: list[Expr] = []
        for name, value in self.__dict__.items():
            if name not in self.aside:
                found += _exprs(value)
        return tuple(found)

    def touches(self) -> list[Access]:
        """Elements that it touches apart from the loads in its expressions."""
        return []

    @cached
    def reads(self) -> tuple[Access, ...]:
        """The loads in its expressions, index expressions included, each under its guards."""
        return self.reads_beside(())

    def reads_beside(self, known: Iterable[Expr]) -> tuple[Access, ...]:
        """The same without what is read only for values that are known."""
        found = guarded_loads(self.exprs(), known)
        return tuple([Access(n.attrs[0], Mode.READ, n.args, when=when) for n, when in found])

    @cached
    def accesses(self) -> tuple[Access, ...]:
        """All that it touches but for what stands inside: what its expressions read comes first.

        Whatever reads comes before whatever writes, as far as it is said here.
        """
        return (*self.reads, *self.touches())

    def named(self) -> Iterator[Buffer]:
        """The buffers in its fields."""
        for name in self.holders:
            value = getattr(self, name)
            if value is not None:
                yield value if isinstance(value, Buffer) else value.buffer

    def bodies(self) -> tuple[Body, ...]:
        """The statements that stand inside of it, in the order of the text."""
        return tuple([getattr(self, name) for name in self.inside])

    def with_bodies(self, bodies: Sequence[Body]) -> Self:
        """The same with other statements inside."""
        if all(map(_is_same, bodies, self.bodies())):
            return self
        return self._with(dict(zip(self.inside, bodies, strict=True)))

    def with_buffers(self, buffers: Mapping[int, Buffer]) -> Self:
        """The same with these buffers, by their numbers, in its fields."""
        new: dict[str, Any] = {}
        for name in self.holders:
            value = getattr(self, name)
            if isinstance(value, Matrix):
                new[name] = replace(value, buffer=buffers[value.buffer.number])
            elif value is not None and buffers[value.number] is not value:
                new[name] = buffers[value.number]
        return self._with(new) if new else self

    def with_exprs(self, change: Callable[[Sequence[Expr]], Sequence[Expr]]) -> Self:
        """The same with other expressions in all its fields, those that are not evaluated too."""
        old = [e for value in self.__dict__.values() for e in _exprs(value)]
        new = dict(zip(old, change(old), strict=True))
        if all(a is b for a, b in new.items()):
            return self
        names = (f.name for f in fields(self))  # type: ignore[arg-type]  # it is a dataclass
        made = {name: _mapped(getattr(self, name), new) for name in names}
        return replace(self, **made)  # type: ignore[type-var]

    def _with(self, fields: Mapping[str, Any]) -> Self:
        """What `dataclasses.replace` gives, in a tenth of the time, for what has no expressions."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.__dict__.pop("accesses", None)  # axes that buffers keep may differ; loads do not
        new.__dict__.update(fields)
        return new


Body = tuple[Statement, ...]


def _is_same(a: Body, b: Body) -> bool:
    return len(a) == len(b) and all(map(operator.is_, a, b))


def _exprs(value: Any) -> Iterator[Expr]:
    if isinstance(value, Expr):
        yield value
    elif isinstance(value, Matrix):
        yield from value.first
    elif isinstance(value, tuple):
        for item in value:
            yield from _exprs(item)


def _mapped(value: Any, new: Mapping[Expr, Expr]) -> Any:
    if isinstance(value, Expr):
        return new[value]
    if isinstance(value, Matrix):
        return replace(value, first=tuple(new[e] for e in value.first))
    return tuple(_mapped(v, new) for v in value) if isinstance(value, tuple) else value


def begun(write: Access, begin: Expr) -> list[Access]:
    """Sums that begin where `begin` is 0 and go on elsewhere."""
    result = []
    for mode, when in ((Mode.WRITE, equal(begin, 0)), (Mode.ADD, not_equal(begin, 0))):
        if when.op is not CONST:
            result.append(replace(write, mode=mode, when=(when,)))
        elif const_value(when):
            result.append(replace(write, mode=mode))
    return result


def part_of(buffer: Buffer, mode: Mode, index: Sequence[Expr]) -> Access:
    """The part of a buffer at `index` of its first axes, in all lanes."""
    given, ndim = len(index), len(buffer.shape)
    first = (*index, *[const(0, "int64")] * (ndim - given))
    box = [(a, buffer.shape[a]) for a in buffer.kept_axes if a >= given]
    if buffer.lanes:
        box.append(all_lanes(buffer))
    return Access(buffer.number, mode, first, tuple(box))


def all_lanes(buffer: Buffer) -> tuple[int, int]:
    return len(buffer.shape), buffer.lanes


def is_flat(buffer: Buffer, index: tuple[Expr, ...], position: Expr) -> bool:
    """Whether an index is that of the element which stands at `position` in memory."""
    whole = len(buffer.kept_axes) == len(buffer.shape) and math.prod(buffer.shape) > 1
    return whole and index == tuple(unravel(position, buffer.shape))


def row_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides of a shape, in elements."""
    strides = [1] * len(shape)
    for k in range(len(shape) - 2, -1, -1):
        strides[k] = strides[k + 1] * shape[k + 1]
    return tuple(strides)
