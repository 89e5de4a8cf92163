"""The scalar expression of one element of a node, in terms of arrays and of the loops around.

Nodes that have no buffer are folded into whatever reads them. An index that the data give is
checked before it is used: that is a kernel, so kernels are kept here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from symgrad.errors import OutOfRangeError, at_user_line
from symgrad.expr.node import ARRAY, CONST, EYE, IOTA, Expr, bind, const, const_value, moved
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.lazy import dataclass
from symgrad.lower.bounds import INTEGERS
from symgrad.lower.kernel import CheckIndex, Kernel
from symgrad.lower.program import Draft
from symgrad.lower.scalar import INDEX, load_of
from symgrad.lower.statement import Buffer
from symgrad.ops.elementwise import SELECT, convert, equal, less, select
from symgrad.ops.interval import ANY, Interval


@dataclass
class Shared:
    """What the kernels of a graph and of all bodies in it have in common.

    draft : the buffers and loop variables
    data : captured arrays
    stored : where these are
    rounds : of variables that count the rounds of loops in order, the most of them
    statuses : what a function returns where one of its checks fails
    """

    draft: Draft = field(default_factory=Draft)
    data: list[Buffer] = field(default_factory=list)
    stored: dict[Expr, Buffer] = field(default_factory=dict)
    rounds: dict[Expr, float] = field(default_factory=dict)
    statuses: Mapping[Any, int] = field(default_factory=dict)


class ElementReader:
    """Tells what an element of a node is, and keeps the kernels that this needs.

    kernels : those that are kept
    stored : of nodes that have a buffer, that
    given : of parameters of a body, and results inside, that have none, what an element is
    """

    def __init__(self, shared: Shared) -> None:
        self.shared, self.draft = shared, shared.draft
        self.kernels: list[Kernel] = []
        self.stored: dict[Expr, Buffer] = {}
        self.given: dict[Expr, Callable[[tuple[Expr, ...]], Expr]] = {}
        self.barrier = Buffer(-1, "barrier", (), "bool", "none")
        self.extent: dict[Expr, int] = {}  # of loop variables
        self._memo: dict[tuple[Expr, tuple[Expr, ...]], Expr] = {}
        self._checked: set[tuple[Expr, int]] = set()

    def fresh(self) -> Expr:
        """A loop variable that nobody has yet."""
        return self.draft.fresh()

    def work(self, shape: tuple[int, ...], dtype: str) -> Buffer:
        """A buffer of the workspace."""
        return self.draft.array(shape, dtype)

    def dims(self, shape: Sequence[int]) -> tuple[Expr, ...]:
        """Loop variables of the kernels that are made next."""
        result = []
        for n in shape:
            index = self.fresh()
            self.extent[index] = n
            result.append(index)
        return tuple(result)

    def add_kernel(
        self,
        kind: type[Kernel],
        buffer: Buffer,
        target: Sequence[Expr],
        dims: Sequence[Expr],
        reduce: Sequence[Expr],
        **more: Any,
    ) -> None:
        extents = {i: self.extent[i] for i in (*dims, *reduce)}
        made = kind(buffer, tuple(target), tuple(dims), tuple(reduce), extents, **more)
        self.kernels.append(made)

    def forget(self, node: Expr) -> None:
        """What a number is computed from is read no more."""
        self._memo.pop((node, ()), None)

    def number(self, node: Expr) -> None:
        """Find the expression of an elementwise number now, if those of its operands are known.

        So most of a long straight line needs no stack, and nothing is looked at twice. An operand
        of which an element has to be asked is left to `element`: it may need a kernel.
        """
        memo, values = self._memo, []
        for a in node.args:
            value = memo.get((a, ()))
            if value is None:
                if a in self.stored and not a.shape:
                    value = load_of(self.stored[a], ())
                elif a.op is CONST:
                    value = a
                else:
                    return
                memo[a, ()] = value
            if value.op is CONST and a.op is not CONST:
                return
            values.append(value)
        memo[node, ()] = moved(node, tuple(values))

    def element(self, node: Expr, index: tuple[Expr, ...]) -> Expr:
        """The scalar expression of `node` at `index`, with an explicit stack."""
        memo = self._memo
        root = (node, index)
        stack: list[tuple[tuple[Expr, tuple[Expr, ...]], Any]] = []
        if root not in memo:
            stack.append((root, self._reader(node, index)))
        answer: Expr | None = None
        while stack:
            key, generator = stack[-1]
            if generator is None:  # an elementwise node: its operands at the same index
                node, index = key
                values = []
                for a in node.args:
                    answer = memo.get((a, index))
                    if answer is None:
                        stack.append(((a, index), self._reader(a, index)))
                        break
                    values.append(answer)
                else:
                    memo[key] = answer = bind(node.op, *values, attrs=node.attrs)
                    stack.pop()
                continue
            try:
                wanted = generator.send(answer) if answer is not None else next(generator)
            except StopIteration as stop:
                memo[key] = answer = stop.value
                stack.pop()
                continue
            answer = memo.get(wanted)
            if answer is None:
                stack.append((wanted, self._reader(*wanted)))
        return memo[root]

    def _reader(self, node: Expr, index: tuple[Expr, ...]) -> Any:
        """What makes the element: a generator of what it needs, None for an elementwise node."""
        signed = any([i.op is SELECT for i in index])
        if signed:
            index = tuple([self._not_below_zero(i) for i in index])
        if node in self.stored:
            return _constant(load_of(self.stored[node], index))
        if node in self.given:
            return _constant(self.given[node](index))
        if node.op.element is not None:
            if node.op.indices is not None:
                self.check(node.args[node.op.indices], node.args[0].shape[node.attrs[0]])
            return node.op.element(index, node.args, node.attrs)
        if node.op.kind is Kind.ELEMENTWISE and not signed:
            return None
        return self._generic(node, index)

    def _generic(self, node: Expr, index: tuple[Expr, ...]) -> Any:
        op = node.op
        if op is CONST:
            return const(const_value(node), node.dtype)
        if op is EYE:
            if index[0] is index[1]:
                return const(1, node.dtype)
            same = equal(index[0], index[1])
            return select(same, const(1, node.dtype), 0)
        if op is IOTA:
            return index[0]
        if op.kind is Kind.EINSUM:
            at = dict(zip(node.attrs[1], index, strict=True))
            result: Expr | None = None
            deltas: list[Expr] = []
            for factor, labels in zip(node.args, node.attrs[0], strict=True):
                if factor.op is EYE and labels[0] != labels[1]:
                    row, column = (at[k] for k in labels)
                    if row is not column:  # else it is on the diagonal
                        deltas.append(equal(row, column))
                    continue
                value = yield factor, tuple(at[k] for k in labels)
                result = value if result is None else result * value
            # A delta chooses: 0 beside the diagonal, also where the other factors are infinite.
            result = const(1, node.dtype) if result is None else result
            for same in deltas:
                result = select(same, result, 0)
            return result
        values = []
        for a in node.args:
            values.append((yield a, index))
        return bind(op, *values, attrs=node.attrs)

    def _not_below_zero(self, i: Expr) -> Expr:
        """An index that is given from the end where it is negative, if it never is."""
        if i.op is not SELECT or i.args[0] is not less(i.args[2], 0):
            return i
        return i.args[2] if self._span(i.args[2])[0] >= 0 else i

    def _span(self, value: Expr) -> Interval:
        """Between which numbers an integer lies, as far as loop variables tell."""
        known: dict[Expr, Interval] = {}
        for n in toposort([value]):
            known[n] = ANY
            if n.op is CONST and n.dtype in INTEGERS:
                known[n] = int(const_value(n)), int(const_value(n))
            elif n.op is INDEX:
                most = self.shared.rounds.get(n, self.extent.get(n, math.inf))
                known[n] = 0, max(most - 1, 0)
            elif n.op.interval is not None and all(a.dtype in INTEGERS for a in n.args):
                known[n] = n.op.interval(*[known[a] for a in n.args])
        return known[value]

    def check(self, rows: Expr, size: int) -> None:
        """No element is ever read or written outside its array: status 1 instead."""
        if rows.op is ARRAY:
            data = rows.attrs[0].array
            if data.size and not (-size <= int(data.min()) and int(data.max()) < size):
                raise OutOfRangeError(
                    at_user_line(f"index out of range for an axis of {size}", rows.site)
                )
            return
        if (rows, size) not in self._checked:
            self._checked.add((rows, size))
            dims = self.dims(rows.shape)
            row = convert(self.element(rows, dims), "int64")
            low, high = self._span(row)
            if -size <= low and high < size:
                return
            self.add_kernel(CheckIndex, self.barrier, (), dims, (), value=row, size=size)


def _constant(value: Expr) -> Any:
    return value
    yield  # a reader is a generator even when it reads nothing
