"""The kinds of kernels: each is one statement over an iteration space, and knows what it touches.

`kernels` makes them of a graph, `schedule` puts them into loops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any, Protocol

from symgrad.expr.node import FLOATS, Expr
from symgrad.forks import cached
from symgrad.lazy import dataclass
from symgrad.lower import product
from symgrad.lower.scalar import loads
from symgrad.lower.statement import Buffer, Statement
from symgrad.lower.statements import Best, Call, Check, Fail, Multiply, Store

Read = tuple[int, tuple[Expr | None, ...]]  # a buffer and an index; None runs inside the kernel


class Scope(Protocol):
    """Where a kernel becomes a statement: inside loops, perhaps for one block of a stream."""

    def renamed(self, kernel: Kernel, exprs: Sequence[Expr]) -> tuple[Expr, ...]:
        """`exprs` with the variables of the loops around in the place of the kernel's."""

    def body(self, kernels: Any) -> Sequence[Statement]:
        """The statements of kernels that are those of a body."""

    def product(self, kernel: Contract) -> Sequence[Statement]:
        """Those of a product of matrices."""


@dataclass(eq=False)
class Kernel:
    """One statement over `dims` (kept axes) and `reduce` (summed axes).

    target : the index in `buffer` that it writes to
    extents : of the loop variables
    start : whether it is the start value of an accumulation that follows
    in_order : a loop variable whose rounds have to come in order
    """

    buffer: Buffer
    target: tuple[Expr, ...]
    dims: tuple[Expr, ...]
    reduce: tuple[Expr, ...]
    extents: dict[Expr, int]
    start: bool = field(default=False, kw_only=True)
    in_order: Expr | None = field(default=None, kw_only=True)

    barrier = False  # whether nothing that stands behind it may come before
    fence = False  # whether it is a barrier that no other one may pass, or has one inside
    whole = False  # whether what it reads or writes has to be complete: it shares no loop

    @property
    def own(self) -> dict[Expr, int]:
        """Loop variables that no loop of the schedule takes the place of, with their extents."""
        return {}

    @property
    def variables(self) -> tuple[Expr, ...]:
        return (*self.dims, *self.reduce, *self.own)

    @property
    def made(self) -> tuple[Expr, ...]:
        """The loop variables of the elements that it makes."""
        return self.dims

    @property
    def is_empty(self) -> bool:
        """Whether it has no rounds. What stood in its loops would be read beyond empty arrays."""
        return not all(self.extents[i] for i in self.dims)

    @property
    def summed(self) -> tuple[Expr, ...]:
        """The loop variables that it makes one element over."""
        return self.reduce

    @property
    def adds_up(self) -> bool:
        """Whether it adds numbers to its target, in any order."""
        return False

    @property
    def work(self) -> int:
        """Multiply-adds of a product of matrices."""
        return 0

    @cached
    def reads(self) -> list[Read]:
        """Everything that it reads, its own accumulator included."""
        raise NotImplementedError

    def writes(self) -> list[Buffer]:
        """Everything that it writes, all at `target`."""
        return [self.buffer]

    def statements(self, scope: Scope) -> Sequence[Statement]:
        """What becomes of it."""
        raise NotImplementedError


def _loads(exprs: Sequence[Expr]) -> list[Read]:
    return [(n.attrs[0], n.args) for n in loads(tuple(exprs))]


@dataclass(eq=False)
class Elements(Kernel):
    """Sets elements, or combines them with what is there by `op`: see `Store`.

    saves : the buffer that it copies, where others store behind it
    replaces : whether another kernel copies first what is there
    """

    value: Expr
    op: str = "="
    order: tuple[Expr, Expr] | None = None
    saves: Buffer | None = None
    replaces: bool = False

    @property
    def is_empty(self) -> bool:
        return not all(self.extents[i] for i in self.variables)

    @property
    def adds_up(self) -> bool:
        return self.op == "+" and self.buffer.dtype in FLOATS

    @cached
    def reads(self) -> list[Read]:
        found = _loads((*self.target, self.value))
        alone = self.op == "=" and not self.replaces
        return found if alone else [*found, (self.buffer.number, self.target)]

    def writes(self) -> list[Buffer]:
        return [self.buffer] if self.saves is None else [self.buffer, self.saves]

    def statements(self, scope: Scope) -> Sequence[Statement]:
        *index, value = scope.renamed(self, [*self.target, self.value])
        order = None
        if self.order is not None:
            low, high = scope.renamed(self, self.order)
            order = low, high
        return [Store(self.buffer, tuple(index), value, self.op, order=order)]


@dataclass(eq=False)
class Extremum(Kernel):
    """The position of the greatest or least element in `buffer`, and the element in `values`."""

    value: Expr
    op: str
    values: Buffer

    @cached
    def reads(self) -> list[Read]:
        mine: list[Read] = [(b.number, self.target) for b in self.writes()]
        return [*_loads((*self.target, self.value)), *mine]

    def writes(self) -> list[Buffer]:
        return [self.buffer, self.values]

    def statements(self, scope: Scope) -> Sequence[Statement]:
        exprs = [*self.target, self.value, self.reduce[0]]
        *index, value, position = scope.renamed(self, exprs)
        return [Best(self.buffer, self.values, tuple(index), value, position, self.op)]


@dataclass(eq=False)
class Checks(Kernel):
    """Looks at `value`, and may leave the function: nothing behind it comes before."""

    value: Expr

    barrier = whole = True

    @cached
    def reads(self) -> list[Read]:
        return _loads((self.value,))

    def writes(self) -> list[Buffer]:
        return []


@dataclass(eq=False)
class CheckIndex(Checks):
    """Leaves the function unless an index is inside its axis."""

    size: int

    def statements(self, scope: Scope) -> Sequence[Statement]:
        return [Check(scope.renamed(self, (self.value,))[0], self.size)]


@dataclass(eq=False)
class CheckValue(Checks):
    """Leaves the function with a status where `value` holds."""

    status: int

    fence = True

    def statements(self, scope: Scope) -> Sequence[Statement]:
        return [Fail(scope.renamed(self, (self.value,))[0], self.status)]


@dataclass(eq=False)
class CallKernel(Kernel):
    """A C function on whole arrays, for each index of a batch."""

    template: str
    sizes: tuple[int, ...]
    flags: tuple[Any, ...]
    operands: tuple[tuple[Buffer, tuple[Expr, ...]], ...]

    whole = True

    @cached
    def reads(self) -> list[Read]:
        return [(b.number, (*i, *[None] * (len(b.shape) - len(i)))) for b, i in self.operands]

    def statements(self, scope: Scope) -> Sequence[Statement]:
        operands = tuple((b, scope.renamed(self, i)) for b, i in self.operands)
        target = self.buffer, scope.renamed(self, self.target)
        return [Call(self.template, self.sizes, self.flags, operands, target)]


@dataclass(eq=False)
class Control(Kernel):
    """A branch or a loop, with the kernels of its bodies.

    bodies : a `Kernels` for each
    build : its statements, from those of each body
    uses : what it reads of all that is there before
    results : what it writes
    """

    bodies: tuple[Any, ...]
    build: Callable[..., Sequence[Statement]]
    uses: Sequence[Buffer]
    results: Sequence[Buffer]

    whole = True

    @property
    def fence(self) -> bool:  # type: ignore[override]
        return any(k.fence for kernels in self.bodies for k in kernels.kernels)

    @property
    def barrier(self) -> bool:  # type: ignore[override]
        return self.fence

    @cached
    def reads(self) -> list[Read]:
        return [(b.number, (None,) * len(b.shape)) for b in self.uses]

    def writes(self) -> list[Buffer]:
        return list(self.results)

    def statements(self, scope: Scope) -> Sequence[Statement]:
        return self.build(*(scope.body(kernels) for kernels in self.bodies))


@dataclass(eq=False)
class Contract(Kernel):
    """A product of matrices for each index of a batch; its loops depend on those around."""

    product: Multiply

    @property
    def own(self) -> dict[Expr, int]:
        return dict(zip(self.product.own, self.product.extents, strict=True))

    @property
    def made(self) -> tuple[Expr, ...]:
        return (*self.dims, self.product.row, self.product.column)

    @property
    def summed(self) -> tuple[Expr, ...]:
        return (*self.reduce, self.product.inner)

    @property
    def adds_up(self) -> bool:
        return self.buffer.dtype in FLOATS

    @property
    def work(self) -> int:
        each = math.prod(self.product.extents) * math.prod(self.extents[i] for i in self.dims)
        return each // 2 if product.is_symmetric(self.product) else each

    @cached
    def reads(self) -> list[Read]:
        return _loads((self.product.left, self.product.right))

    def writes(self) -> list[Buffer]:
        carry = self.product.carry
        return [self.buffer] if carry is None else [self.buffer, carry]

    def statements(self, scope: Scope) -> Sequence[Statement]:
        return scope.product(self)
