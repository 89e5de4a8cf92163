"""Graph to kernels: which nodes get a buffer, and the scalar expression of one element of each.

A kernel is one statement over an iteration space. Nodes that only move elements or are cheap are
folded into their readers; what is expensive and read more than once, or is a reduction, a scan, a
contraction or a call, gets a buffer. `schedule` fuses the kernels' loops afterwards and shrinks the
buffers again, often to a local variable.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from symgrad.expr.node import ARG, ARRAY, Expr, bind, const
from symgrad.expr.op import Kind
from symgrad.expr.walk import substitute, toposort, users
from symgrad.lower import control, product
from symgrad.lower.contract import split_contractions
from symgrad.lower.elements import ElementReader, Shared
from symgrad.lower.joins import Place, joined_in_place
from symgrad.lower.kernel import CallKernel, CheckValue, Contract, Elements, Extremum
from symgrad.lower.rereads import is_reread
from symgrad.lower.scalar import GUARD, load_of, unravel
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Multiply
from symgrad.lower.stream import with_carry
from symgrad.lower.tuning import Tuning
from symgrad.ops.checks import CHECK, apart
from symgrad.ops.einsum import sizes
from symgrad.ops.elementwise import convert, greater, less, less_equal, select
from symgrad.ops.linalg import CALLS
from symgrad.ops.linear import CONCAT, GATHER, SCATTER_ADD
from symgrad.ops.reduce import ARGMAX, ARGMIN

_OWN_KERNEL = (Kind.REDUCE, Kind.SCAN, Kind.CALL)
_NUMBERS = (Kind.SOURCE, Kind.ELEMENTWISE)  # what straight lines of numbers have


class Kernels(ElementReader):
    """Builds the kernels of a graph, or of a body in it.

    together : pairs of loop variables that had better be one loop although no data connects them
    begin : the number of the first buffer that is made here
    zeros : integers of the body around that are 0, since they say what was checked before a round
    """

    def __init__(self, blas: bool, tuning: Tuning, shared: Shared | None = None) -> None:
        super().__init__(Shared() if shared is None else shared)
        self.blas, self.tuning = blas, tuning
        self.begin = len(self.draft.buffers)
        self.together: list[tuple[Expr, Expr]] = []
        self.zeros: set[Expr] = set()

    def inside(self) -> Kernels:
        """Those of a body, none as yet."""
        return Kernels(self.blas, self.tuning, self.shared)

    def graph(
        self,
        args: Sequence[Expr],
        outs: Sequence[Expr],
        arg_names: Sequence[str],
        out_names: Sequence[str],
        behind: Sequence[Expr] = (),
    ) -> tuple[list[Buffer], list[Buffer]]:
        """Everything that a graph computes; its inputs and outputs.

        behind : checks that come last, of arrays that are computed beside the results
        """
        inputs = []
        for node, name in zip(args, arg_names, strict=True):
            buffer = self.draft.array(node.shape, node.dtype, "in", name)
            inputs.append(buffer)
            self.stored[node] = buffer
        bare, check = apart(outs)
        checks = [] if check is None else [check]
        outs = split_contractions([*bare, *checks], self.tuning)
        checks = [outs.pop() for _ in checks]
        outputs = [
            self.draft.array(o.shape, o.dtype, "out", name)
            for o, name in zip(outs, out_names, strict=True)
        ]
        first: dict[Expr, Buffer] = {}
        for node, buffer in zip(outs, outputs, strict=True):
            if node.op not in (ARG, ARRAY):
                first.setdefault(node, buffer)
        places: dict[Expr, control.Where] = {n: (b, ()) for n, b in first.items()}
        noted = [c.args[-1] for c in behind]
        self._compute_all([*checks, *outs, *noted, *behind], [*outs, *noted], first, places)
        for node, buffer in zip(outs, outputs, strict=True):
            if first.get(node) is not buffer:  # an argument, captured data, or the same value twice
                self.set(buffer, node)
        return inputs, outputs

    def values(
        self,
        outs: Sequence[Expr],
        places: Sequence[control.Where] = (),
        checks: Sequence[Expr] = (),
    ) -> list[Expr]:
        """Results of a body, of which `element` can then be asked; the first ones are stored.

        places : where these are
        checks : what is checked before
        """
        outs = split_contractions([*outs, *checks], self.tuning)
        checks = [outs.pop() for _ in checks][::-1]
        straight = _rows_of_parts(outs, places)
        arrays = [
            o for o in outs
            if o.ndim and o.op.kind not in (Kind.SOURCE, Kind.ITEM) and o not in straight
        ]  # fmt: skip
        first: dict[Expr, control.Where] = {}
        for node, place in zip(outs, places, strict=False):
            if node.op.kind is Kind.ITEM:  # what is inside puts it there
                first.setdefault(node, place)
        computed = [x for o in outs for x in (o.args if o in straight else (o,))]
        self._compute_all([*checks, *computed], arrays, {}, first)
        for node, (buffer, part) in zip(outs, places, strict=False):
            if node in straight:
                self._join(node, buffer, part)
            elif first.get(node) != (buffer, part):
                self.set(buffer, node, *part)
        return outs

    def _compute_all(
        self,
        outs: Sequence[Expr],
        kept: Sequence[Expr],
        first: Mapping[Expr, Buffer],
        inside: Mapping[Expr, control.Where],
    ) -> None:
        """Kernels of everything below `outs`, those in `kept` with a buffer, from `first`.

        inside : where results of branches and loops have to be in the end
        """
        nodes = toposort(outs)
        numbers = all([not n.shape and n.op.kind in _NUMBERS for n in nodes])
        readers = {} if numbers else users(nodes)
        self.needs_buffer: set[Expr] = {*kept}
        self.read_often: set[Expr] = set()  # by bodies
        self.in_place: set[Expr] = set()
        if not numbers:
            self._choose(nodes, readers)
        for node in nodes:
            if node.op is ARRAY:
                self._captured(node)
            elif node.op is CHECK:
                self._fail(node)
            elif node.op.kind is Kind.CONTROL:
                control.add(self, node, readers, outs, inside)
            elif node not in self.needs_buffer:
                if not node.shape and node.op.kind is Kind.ELEMENTWISE:
                    self.number(node)
            elif node not in self.stored:
                target = first.get(node) or self.work(node.shape, node.dtype)
                self._compute(node, target)
                self.stored[node] = target
                if node in self.read_often:  # what it is computed from is read no more
                    self.forget(node)

    # ---- what gets a buffer ------------------------------------------------------------------

    def _choose(self, nodes: list[Expr], readers: Mapping[Expr, Sequence[Expr]]) -> None:
        self.in_place = joined_in_place(nodes, readers, self.needs_buffer)
        inline_cost: dict[Expr, int] = {}
        # Of numbers that read one another it would grow exponentially.
        most = max(self.tuning.picked_cost, self.tuning.inline_cost)
        for node in nodes:
            kind = node.op.kind
            if kind is Kind.CHECK:
                inline_cost[node] = 0
                continue
            if node in self.in_place:
                inline_cost[node] = 0  # nobody reads it
                continue
            if kind in (Kind.CONTROL, Kind.ITEM):
                inline_cost[node] = 0
                if kind is Kind.CONTROL:
                    often = [a for a in control.read_often(node) if not self._is_view(a)]
                    self.needs_buffer.update(often)
                    self.read_often.update(often)
                continue
            alone = kind in _OWN_KERNEL or kind is Kind.LINEAR and node.op.element is None
            if alone or _sums(node):
                self.needs_buffer.add(node)
            if kind is Kind.CALL:
                self.needs_buffer.update(node.args)
            cost = 0
            for a in node.args:
                cost += 0 if a in self.needs_buffer else inline_cost[a]
            inline_cost[node] = min(cost + node.op.cost, most)
            if self._is_shared(node, readers[node], inline_cost[node]):
                self.needs_buffer.add(node)
        # a scalar array expression used by loops is hoisted by the emitter, not stored here

    def _is_shared(self, node: Expr, users: Sequence[Expr], cost: int) -> bool:
        """Whether elements of an array are read too often to be computed by each reader."""
        if not node.ndim or node in self.needs_buffer:
            return False
        picked = any(u.op is GATHER and u.size >= 2 * node.size for u in users)
        most = self.tuning.picked_cost if picked else self.tuning.inline_cost
        return cost >= most and is_reread(node, users, self.tuning.most_slices)

    def _is_view(self, node: Expr) -> bool:
        """Whether an element of a node is that of an array, or a number that is known."""
        while node.op.moves is not None and node not in self.needs_buffer:
            if len(node.args) != 1:
                return False
            (node,) = node.args
        return node.op.kind in (Kind.SOURCE, Kind.ITEM) or node in self.needs_buffer

    # ---- kernels -----------------------------------------------------------------------------

    def _compute(self, node: Expr, target: Buffer) -> None:
        kind, row = node.op.kind, node.op
        if kind is Kind.CALL:
            self._call(node, target)
        elif row in (ARGMAX, ARGMIN):
            self._best(node, target)
        elif row.combine is not None:
            self._reduce(node, target, *row.combine)
        elif _sums(node):
            self._contract(node, target)
        elif row is SCATTER_ADD:
            self._scatter(node, target)
        elif row is CONCAT or any(a in self.in_place for a in node.args):
            self._join(node, target)
        elif kind is Kind.SCAN:
            self._scan(node, target)
        else:
            self.set(target, node)

    def _reduce(self, node: Expr, target: Buffer, op: str, start: float) -> None:
        axes, x = node.attrs[0], node.args[0]
        index = self.dims(x.shape)
        kept = tuple(i for k, i in enumerate(index) if k not in axes)
        value = self.element(x, index)
        self._accumulate(target, kept, index, x.shape, op, const(start, node.dtype), value)

    def _contract(self, node: Expr, target: Buffer) -> None:
        inputs, output = node.attrs
        size = sizes(node.args, inputs)
        tiled = product.choose(inputs, output, size, node.dtype, self.tuning)
        if tiled is not None:
            self._tiles(node, target, tiled)
            return
        labels = [*output, *sorted(k for k in size if k not in output)]
        index = self.dims(tuple(size[k] for k in labels))
        at = dict(zip(labels, index, strict=True))
        value = self._product(node, at)
        kept = index[: len(output)]
        shape = tuple(size[k] for k in labels)
        self._accumulate(target, kept, index, shape, "+", const(0, node.dtype), value)
        exchanged = self._symmetry(node, size, at, value)
        made = self.kernels[-1]
        assert isinstance(made, Elements)
        made.order = exchanged or self._triangle(node, at)
        if exchanged:
            self._mirror(target, kept, *exchanged)

    def _accumulate(
        self, target: Buffer, kept: Any, index: Any, shape: Any, op: str, start: Expr, value: Expr
    ) -> None:
        zero = self.dims(tuple(n for i, n in zip(index, shape, strict=True) if i in kept))
        self._add(target, zero, "=", start, zero, (), start=True)
        summed = tuple(i for i in index if i not in kept)
        self._add(target, kept, op, value, kept, summed)

    def _product(self, node: Expr, at: dict[int, Expr]) -> Expr:
        result: Expr | None = None
        for factor, labels in zip(node.args, node.attrs[0], strict=True):
            value = self.element(factor, tuple(at[k] for k in labels))
            result = value if result is None else result * value
        assert result is not None
        return result

    def _symmetry(
        self, node: Expr, size: Mapping[int, int], at: Mapping[int, Expr], value: Expr
    ) -> tuple[Expr, Expr] | None:
        """Two axes of a contraction's result that may be exchanged, if half of it saves time."""
        output = node.attrs[1]
        points = math.prod(n for k, n in size.items() if k not in output)
        if points < self.tuning.triangle_from_points:
            return None
        for i, j in itertools.combinations(output, 2):
            if size[i] == size[j] >= self.tuning.triangle_from_rows:
                if product.is_exchangeable((value,), at[i], at[j]):
                    return at[i], at[j]
        return None

    def _triangle(self, node: Expr, at: Mapping[int, Expr]) -> tuple[Expr, Expr] | None:
        """Two axes of a factor that is 0 wherever the first index is greater than the second."""
        for factor, labels in zip(node.args, node.attrs[0], strict=True):
            computed = self._computed(factor, tuple(at[k] for k in labels))
            for i, j in itertools.permutations(labels, 2):
                if product.is_triangular(computed, at[i], at[j]):
                    return at[i], at[j]
        return None

    def _computed(self, node: Expr, index: tuple[Expr, ...]) -> Expr:
        """An element as it is computed, also where the node is stored."""
        if node.op.kind is not Kind.ELEMENTWISE:
            return self.element(node, index)
        return bind(node.op, *(self.element(a, index) for a in node.args), attrs=node.attrs)

    def _tiles(self, node: Expr, target: Buffer, labels: product.Labels) -> None:
        """A contraction as products of matrices, one for each index of the other labels."""
        inputs, output = node.attrs
        size = sizes(node.args, inputs)
        outer = [k for k in output if k not in (labels.row, labels.column)]
        dims = self.dims(tuple(size[k] for k in outer))
        shape = tuple(size[k] for k in labels.inner)
        extents = (size[labels.row], size[labels.column], math.prod(shape))
        row, column, inner = self.dims(extents)
        at = {labels.row: row, labels.column: column, **dict(zip(outer, dims, strict=True))}
        at.update(zip(labels.inner, unravel(inner, shape), strict=True))
        nodes, terms = list(node.args), list(inputs)
        if labels.swapped:
            nodes.reverse()
            terms.reverse()
        places = [tuple(at[k] for k in t) for t in terms]
        left, right = (self.element(f, place) for f, place in zip(nodes, places, strict=True))
        panels = self.work((), node.dtype), self.work((), node.dtype)
        triangular = product.is_triangular(self._computed(nodes[1], places[1]), inner, column)
        index, zero = tuple(at[k] for k in output), const(0, "int64")
        limits = const(extents[0], "int64"), const(extents[1], "int64"), const(extents[2], "int64")
        whole = Multiply(
            left, right, row, column, inner, extents, limits, (zero, zero, zero), target, index,
            None, index, (index.index(row), index.index(column)), zero,
            (panels[0].number, panels[1].number), triangular, False,
        )  # fmt: skip
        if self.blas and product.suits_blas(whole, self.tuning):
            whole = replace(whole, blas=True)
        elif product.needs_carry(extents, self.tuning):
            whole = replace(whole, carry=self.work(node.shape, node.dtype))
        self.add_kernel(Contract, target, index, dims, (), product=whole)
        self._finish(target, index, whole)

    def _finish(self, target: Buffer, index: tuple[Expr, ...], p: Multiply) -> None:
        """What is left to do with the sums of a product: what rounding took, the other triangle."""
        symmetric = product.is_symmetric(p)
        if p.carry is not None:
            at, row, column = self._again(index, p.row, p.column)
            value = with_carry(target, p.carry, at)
            if symmetric:
                value = bind(GUARD, less_equal(row, column), value)
            self._add(target, at, "=", value, at, ())
        if symmetric:
            self._mirror(target, index, p.row, p.column)

    def _mirror(self, target: Buffer, index: tuple[Expr, ...], row: Expr, column: Expr) -> None:
        """The triangle below the diagonal from the one above."""
        at, row, column = self._again(index, row, column)
        other = tuple(substitute(at, {row: column, column: row}))
        below = less(column, row)
        # Guards, since a selection reads both sides, and below the diagonal there may be nothing.
        mirrored = bind(GUARD, below, load_of(target, other))
        kept = bind(GUARD, less_equal(row, column), load_of(target, at))
        self._add(target, at, "=", select(below, mirrored, kept), at, ())

    def _again(
        self, index: tuple[Expr, ...], row: Expr, column: Expr
    ) -> tuple[tuple[Expr, ...], Expr, Expr]:
        """`index` with loop variables of its own, and the new ones of rows and columns."""
        new = dict(zip(index, self.dims([self.extent[i] for i in index]), strict=True))
        return tuple(substitute(index, new)), new[row], new[column]

    def _scatter(self, node: Expr, target: Buffer) -> None:
        ct, rows = node.args
        axis, size = node.attrs
        zero = self.dims(node.shape)
        self._add(target, zero, "=", const(0, node.dtype), zero, (), start=True)
        dims = self.dims(ct.shape)
        middle = dims[axis : axis + rows.ndim]
        self.check(rows, size)
        row = self._row(self.element(rows, middle), size)
        where = (*dims[:axis], row, *dims[axis + rows.ndim :])
        self._add(target, where, "+", self.element(ct, dims), dims, ())

    def _row(self, row: Expr, size: int) -> Expr:
        row = convert(row, "int64")
        zero = const(0, "int64")
        return select(less(row, zero), row + const(size, "int64"), row)

    def _join(self, root: Expr, target: Buffer, behind: tuple[Expr, ...] = ()) -> None:
        """The parts of a concat, and of concats among them, each straight to its place.

        behind : an index of the target, if only what is behind it is that of the concat
        """
        first: dict[tuple[Expr, int], Expr] = {}
        stack = [(root, Place.whole(root.ndim))]
        while stack:
            node, place = stack.pop()
            if node is not root and node not in self.in_place:
                self._part(node, target, place, first, behind)
            elif node.op is CONCAT:
                stack.extend(reversed(list(place.parts(node))))
            else:
                stack.append((node.args[0], place.below(node)))

    def _part(
        self,
        node: Expr,
        target: Buffer,
        place: Place,
        first: dict[tuple[Expr, int], Expr],
        behind: tuple[Expr, ...],
    ) -> None:
        """Stores one part. `first` has, for what parts have in common, the index of the first."""
        zero = const(0, "int64")
        wide = [k for k, n in enumerate(node.shape) if n != 1]
        # Where axes of the part lie within one axis of the target, the scheduler sees no difference
        # between their steps and takes the first for the outermost loop.
        wide.sort(key=lambda k: (place.axes[k][0], -place.axes[k][1]))
        dims = self.dims(tuple(node.shape[k] for k in wide))
        at = [zero] * node.ndim
        for k, i in zip(wide, dims, strict=True):
            at[k] = i
            common = place.loops[k]
            if common is not None and first.setdefault(common, i) is not i:
                self.together.append((first[common], i))
        where = (*behind, *place.index(at))
        self._add(target, where, "=", self.element(node, tuple(at)), dims, ())

    def _scan(self, node: Expr, target: Buffer) -> None:
        axis, reverse = node.attrs
        dims = self.dims(node.shape)
        step = dims[axis]
        n = node.shape[axis]
        here = const(n - 1, "int64") - step if reverse else step
        before = here + 1 if reverse else here - const(1, "int64")
        at = (*dims[:axis], here, *dims[axis + 1 :])
        previous = load_of(target, (*dims[:axis], before, *dims[axis + 1 :]))
        parts = [self.element(a, at) for a in node.args]
        carried = previous if len(parts) == 1 else previous * parts[0]
        carried = bind(GUARD, greater(step, 0), carried)
        self._add(target, at, "=", carried + parts[-1], dims, (), in_order=step)

    def _best(self, node: Expr, target: Buffer) -> None:
        x, axis = node.args[0], node.attrs[0]
        value = self.work(node.shape, x.dtype)
        start = self.dims(node.shape)
        self._add(target, start, "=", const(0, "int64"), start, ())
        first = (*start[:axis], const(0, "int64"), *start[axis:])
        self._add(value, start, "=", self.element(x, first), start, ())
        index = self.dims(x.shape)
        kept = (*index[:axis], *index[axis + 1 :])
        self.add_kernel(
            Extremum, target, kept, kept, (index[axis],),
            value=self.element(x, index), op=node.name, values=value,
        )  # fmt: skip

    def _call(self, node: Expr, target: Buffer) -> None:
        spec = CALLS[node.name]
        batch = node.shape[: node.ndim - spec.rank(node)]
        dims = self.dims(batch)
        operands = tuple((self.stored[a], dims) for a in node.args)
        self.add_kernel(
            CallKernel, target, dims, dims, (),
            template=spec.template, sizes=spec.dims(node.args, node.attrs),
            flags=spec.flags(node.attrs), operands=operands,
        )  # fmt: skip

    def _captured(self, node: Expr) -> None:
        shared = self.shared
        if node not in shared.stored:
            array = node.attrs[0].array
            role = "constant" if array.size <= self.tuning.constant_elements else "data"
            name = f"c{len(shared.data)}"
            buffer = self.draft.array(node.shape, node.dtype, role, name, data=array)
            shared.data.append(buffer)
            shared.stored[node] = buffer
        self.stored[node] = shared.stored[node]

    # ---- small parts -------------------------------------------------------------------------

    def set(self, buffer: Buffer, node: Expr, *before: Expr, **more: Any) -> None:
        """Every element of a buffer, or of its part at `before`, is that of a node."""
        dims = self.dims(node.shape)
        self._add(buffer, (*before, *dims), "=", self.element(node, dims), dims, (), **more)

    def put(self, buffer: Buffer, index: tuple[Expr, ...], value: Expr) -> None:
        """One element of a buffer."""
        self._add(buffer, index, "=", value, (), ())

    def taken(self, buffer: Buffer) -> Buffer:
        """A copy of a buffer, before anything is stored there."""
        copy, dims = self.work(buffer.shape, buffer.dtype), self.dims(buffer.shape)
        self._add(copy, dims, "=", load_of(buffer, dims), dims, (), saves=buffer)
        return copy

    def _add(
        self,
        buffer: Buffer,
        target: Sequence[Expr],
        op: str,
        value: Expr,
        dims: Sequence[Expr],
        reduce: Sequence[Expr],
        **more: Any,
    ) -> None:
        self.add_kernel(Elements, buffer, target, dims, reduce, value=value, op=op, **more)

    def be_zero(self, node: Expr) -> None:
        """Have an integer be 0 that only says what has been checked."""
        self.zeros.add(node)
        self.given[node] = lambda index: const(0, "int64")

    def _fail(self, node: Expr) -> None:
        """A check: the function is left where it fails, and behind it its value is known."""
        self.be_zero(node)
        bad, failure = node.args[-1], node.attrs[0]
        if failure is not None:
            dims = self.dims(bad.shape)
            status = self.shared.statuses[failure]
            value = self.element(bad, dims)
            self.add_kernel(CheckValue, self.barrier, (), dims, (), value=value, status=status)


def _sums(node: Expr) -> bool:
    """Whether a node is a contraction that adds up."""
    if node.op.kind is not Kind.EINSUM:
        return False
    inputs, output = node.attrs
    return not {k for t in inputs for k in t}.issubset(output)


def _rows_of_parts(outs: Sequence[Expr], places: Sequence[control.Where]) -> set[Expr]:
    """Concats that are nothing but a row of one array: their parts are stored there."""
    found = {
        o for o, (_, part) in zip(outs, places, strict=False)
        if o.op is CONCAT and part and outs.count(o) == 1
    }  # fmt: skip
    return found - {a for n in toposort(outs) for a in n.args} if found else found
