"""Products of matrices in register tiles: a pass from `Multiply` to panels and tiles, or to a BLAS.

Both factors are copied, block by block: `PANEL_ROWS` rows of the left one and 64 bytes' worth of
columns of the right one make a panel, with the summed index outside.
`templates/c99/call/product.c.jinja` multiplies panels with all sums of a tile in vector registers,
in an order that depends neither on the compiler nor on the width of vectors, fused where the
processor has fused multiply-add: only that changes the last bits. What a factor computes is
computed while it is copied, so that X^T D X stores no D X.
The blocks are those of Goto and van de Geijn, Anatomy of high-performance matrix multiplication,
ACM TOMS 34 (2008).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from symgrad.expr.node import CONST, Expr, bind, const, const_value
from symgrad.expr.walk import substitute, toposort
from symgrad.lazy import dataclass
from symgrad.lower.cpu import PANEL_ROWS, Gemm, Panels, Tiles
from symgrad.lower.product import fits_blas, is_symmetric, panel_columns
from symgrad.lower.program import Draft, Program, replaced, walk
from symgrad.lower.scalar import INDEX_DIV, LOAD, loads
from symgrad.lower.statement import Buffer, Matrix, Statement
from symgrad.lower.statements import Loop, Multiply, Store, nested
from symgrad.lower.tuning import Tuning
from symgrad.ops.elementwise import ADD, minimum


def multiply_in_tiles(program: Program, threads: int, tuning: Tuning) -> Program:
    """Products of matrices in panels and register tiles, or by a BLAS where that was asked for.

    Threads may share the blocks of rows of one that stands in no loop whose rounds come in order,
    no branch, and no loop that threads share already. It changes no bit: no two write to the same
    sums.
    """
    draft = Draft(program)
    made: dict[int, Sequence[Statement]] = {}
    for s, _, around in walk(program.body):
        if not isinstance(s, Multiply):
            continue
        free = all(isinstance(o, Loop) and not (o.serial or o.members) for o, _ in around)
        shared = threads > 1 and free and math.prod(s.extents) >= tuning.share_from_work
        made[id(s)] = _by_blas(s, draft) if s.blas else _in_tiles(s, draft, shared, tuning)
    return draft.of(program, replaced(program.body, made)) if made else program


def block_of_summands(n: int, tuning: Tuning) -> int:
    """How many of n summands are taken at once."""
    return _cut(n, tuning.block_summands, 1).size


def _in_tiles(p: Multiply, draft: Draft, shared: bool, tuning: Tuning) -> list[Statement]:
    """The statements of a product, the blocks of whose rows threads may share if `shared`."""
    dtype = p.buffer.dtype
    cuts = _blocks(p.extents, dtype, shared, tuning)
    shared = shared and cuts[0].count > 1
    rows, columns, inner = (_Axis(b, n, draft.fresh) for b, n in zip(cuts, p.limits, strict=True))
    left, right = (draft.buffers[n] for n in p.panels)

    # Of a symmetric product the upper triangle is computed: few tiles have the first columns.
    symmetric = is_symmetric(p)
    skip = -p.extents[1] % panel_columns(dtype) if symmetric and not columns.cut else 0

    # Rows that lie in memory as rows are copied as they are, where few columns would repay turning.
    in_rows = (
        p.extents[1] <= tuning.few_columns
        and _is_contiguous(p.left, p.inner)
        and not _is_contiguous(p.left, p.row)
    )
    # Of a triangle, the summands behind the last column of a panel are zero.
    first_row, first_column, first = (
        origin + axis.begin for origin, axis in zip(p.origins, (rows, columns, inner), strict=True)
    )
    reach = first_column - first if p.triangular else const(cuts[2].size, "int64")
    diagonal = first_row - first_column if symmetric else const(-rows.block.size, "int64")
    left = _as_panels(left, rows, inner, 0 if in_rows else PANEL_ROWS, draft)
    right = _as_panels(right, columns, inner, panel_columns(dtype), draft)
    of_rows, of_columns, of_inner = zip(p.own, (rows, columns, inner), strict=True)
    copies = _copies(left, p.left, of_rows, of_inner, 0, draft)
    first_of_target, first_of_carry = (
        tuple(substitute(i, {p.row: rows.begin, p.column: columns.begin}))
        for i in (p.index, p.carry_index)
    )
    tiles = Tiles(
        left, right, skip, p.buffer, first_of_target, p.axes, rows.left, columns.left, inner.left,
        p.added + inner.begin, diagonal, reach, p.carry, first_of_carry,
    )  # fmt: skip
    if shared:
        draft.change(left.number, role="own")
    body = rows.loop([*copies, tiles], shared)
    body = [*_copies(right, p.right, of_columns, of_inner, skip, draft), *body]
    return columns.loop(inner.loop(body))


def _copies(
    panels: Buffer,
    factor: Expr,
    along: tuple[Expr, _Axis],
    summed: tuple[Expr, _Axis],
    skip: int,
    draft: Draft,
) -> list[Statement]:
    """What fills panels, or rows that take their place, with a block of a factor.

    along, summed : two of its loop variables, with the blocks of what they run over
    """
    (moved, axis), (k_old, inner) = along, summed
    in_rows = len(panels.shape) == 2
    size, length = axis.block.size, inner.block.size
    width = PANEL_ROWS if in_rows else panels.shape[2]
    plain = _plain_axes(factor, moved, k_old, draft.buffers)
    if plain is not None:
        corner = substitute(factor.args, {moved: axis.begin, k_old: inner.begin})
        source = draft.buffers[factor.attrs[0]]
        return [Panels(panels, source, tuple(corner), plain, axis.left, inner.left, skip)]
    result: list[Statement] = []
    for (first, last), start, stop, is_pad in axis.panels(width, skip):
        if first is last:
            continue
        panel, k, lane = draft.fresh(), draft.fresh(), draft.fresh()
        place = panel * const(width, "int64") + lane
        at = axis.begin + (place - const(skip, "int64") if skip else place)
        value = substitute((factor,), {moved: at, k_old: inner.begin + k})[0]
        index = (place, k) if in_rows else (panel, k, lane)
        body: list[Statement] = [Store(panels, index, const(0, panels.dtype) if is_pad else value)]
        of_panel = Loop(panel, size // width, start=first, stop=last)
        of_k = Loop(k, length, stop=inner.left)
        of_lane = Loop(lane, width, start=start, stop=stop)
        if in_rows:
            nest = [of_panel, of_lane, of_k]
        elif _is_contiguous(factor, moved):
            nest = [of_k, of_panel, of_lane]
        else:
            nest = [of_panel, of_k, of_lane]
        nest[-1] = replace(nest[-1], simd=True)
        result += nested(nest, body)
    return result


def _as_panels(buffer: Buffer, axis: _Axis, inner: _Axis, width: int, draft: Draft) -> Buffer:
    """The array for a block of a factor in panels of so many rows or columns; in rows if 0."""
    size, length = axis.block.size, inner.block.size
    shape = (size // width, length, width) if width else (size, length)
    return draft.change(buffer.number, shape=shape, kept_axes=tuple(range(len(shape))))


def _by_blas(p: Multiply, draft: Draft) -> list[Statement]:
    """The statements of a product that a BLAS computes.

    Factors that are computed, or have no axis along which elements are neighbours, are copied.
    """
    zero = const(0, "int64")
    body: list[Statement] = []

    def matrix(factor: Expr, along: Expr, copy: Buffer, extent: int, limit: Expr) -> Matrix:
        """Along `along`, then along the summands."""
        plain = _plain_axes(factor, along, p.inner, draft.buffers)
        if plain is not None:
            source = draft.buffers[factor.attrs[0]]
            if len(source.shape) - 1 in plain and fits_blas(math.prod(source.shape)):
                first = tuple(substitute(factor.args, {along: zero, p.inner: zero}))
                return Matrix(source, first, plain)
        i, k = draft.fresh(), draft.fresh()
        value = substitute((factor,), {along: i, p.inner: k})[0]
        nest = [Loop(i, extent, stop=limit), Loop(k, p.extents[2], stop=p.limits[2])]
        axes = (0, 1)
        if _is_contiguous(factor, along) and not _is_contiguous(factor, p.inner):
            nest.reverse()
            axes = (1, 0)
        shape = tuple(loop.extent for loop in nest)
        copy = draft.change(copy.number, shape=shape, kept_axes=(0, 1))
        store = Store(copy, tuple(loop.index for loop in nest), value)
        body.extend(nested([nest[0], replace(nest[1], simd=True)], [store]))
        return Matrix(copy, (zero, zero), axes)

    left, right = (
        matrix(factor, along, copy, extent, limit)
        for factor, along, copy, extent, limit in zip(
            (p.left, p.right),
            p.own[:2],
            [draft.buffers[n] for n in p.panels],
            p.extents[:2],
            p.limits[:2],
            strict=True,
        )
    )
    first = tuple(substitute(p.index, {p.row: zero, p.column: zero}))
    to = Matrix(p.buffer, first, p.axes)
    rows, columns, inner = p.limits
    if p.axes[0] == len(p.buffer.shape) - 1:  # its columns are neighbours: transpose all
        left, right, rows, columns = right, left, columns, rows
        to = Matrix(p.buffer, first, (p.axes[1], p.axes[0]))
    right = Matrix(right.buffer, right.first, (right.axes[1], right.axes[0]))
    return [*body, Gemm(left, right, to, rows, columns, inner, p.added)]


@dataclass(frozen=True)
class _Blocks:
    """An axis of `total` elements in `count` blocks of `size`, the last one perhaps not full."""

    total: int
    count: int
    size: int


_Lanes = tuple[tuple[Expr, Expr], Expr | None, Expr | None, bool]  # panels, start, stop, padding


class _Axis:
    """An axis in blocks, with the block of one round of its loop.

    limit : its extent; begin : where the block begins; left : the extent of the block
    """

    def __init__(self, block: _Blocks, limit: Expr, fresh: Callable[[], Expr]) -> None:
        self.block, self.limit = block, limit
        size = const(block.size, "int64")
        self.number = fresh()
        self.begin = const(0, "int64") if block.count == 1 else self.number * size
        if limit.op is CONST and int(const_value(limit)) == block.size * block.count:
            self.left = size
        else:
            self.left = minimum(limit - self.begin, size)

    def loop(self, body: list[Statement], shared: bool = False) -> list[Statement]:
        """A loop over the blocks."""
        if self.block.count == 1:
            return body
        stop = None
        if self.limit.op is not CONST:
            size = const(self.block.size, "int64")
            stop = bind(INDEX_DIV, self.limit + const(self.block.size - 1, "int64"), size)
        return [Loop(self.number, self.block.count, body, stop=stop, shared=shared)]

    @property
    def cut(self) -> bool:
        return self.block.count > 1 or self.limit.op is not CONST

    def panels(self, width: int, skip: int) -> list[_Lanes]:
        """Lanes of panels and whether they are padding; the first has `skip`, or else the last."""
        wide, zero, one = const(width, "int64"), const(0, "int64"), const(1, "int64")
        end = bind(INDEX_DIV, self.left + const(width - 1, "int64"), wide)
        if skip:
            used = const(skip, "int64")
            part = (zero, one)
            whole = (one, end)
            return [(whole, None, None, False), (part, used, wide, False), (part, zero, used, True)]
        full = bind(INDEX_DIV, self.left, wide)
        used = self.left - full * wide
        part = (full, end)
        ragged: list[_Lanes] = [(part, zero, used, False), (part, used, wide, True)]
        if self.block.total < width:
            return ragged
        return [((zero, full), None, None, False), *ragged]


def _blocks(
    extents: tuple[int, int, int], dtype: str, shared: bool, tuning: Tuning
) -> tuple[_Blocks, _Blocks, _Blocks]:
    """Of rows, columns and summands. Threads share rows: several blocks each, but no tiny ones."""
    m, n, k = extents
    inner = _cut(k, tuning.block_summands, 1)
    rows = m if m <= tuning.most_rows else tuning.block_rows
    if shared:
        fitting = tuning.shared_block_bytes // (inner.size * np.dtype(dtype).itemsize)
        most = min(fitting, tuning.block_rows, -(-m // tuning.shared_blocks))
        rows = max(most // PANEL_ROWS, 2) * PANEL_ROWS
    columns = _cut(n, tuning.block_columns, panel_columns(dtype))
    return _cut(m, rows, PANEL_ROWS), columns, inner


def _cut(n: int, most: int, multiple: int) -> _Blocks:
    """Equal blocks if there are such of at least half the size; multiples of `multiple`."""
    count = -(-n // most)
    for c in range(count, 2 * count + 1):
        if n % (c * multiple) == 0:
            return _Blocks(n, c, n // c)
    size = -(-n // (count * multiple)) * multiple
    return _Blocks(n, -(-n // size), size)


def _plain_axes(
    value: Expr, along: Expr, inner: Expr, buffers: Sequence[Buffer]
) -> tuple[int, int] | None:
    """The axes on which two indices move, if a value is an element of an array, each on one."""
    if value.op is not LOAD or buffers[value.attrs[0]].lanes:
        return None
    moved = []
    for index in (along, inner):
        axes = [a for a, entry in enumerate(value.args) if index in toposort([entry])]
        if len(axes) != 1:
            return None
        entry = value.args[axes[0]]
        others = [a for a in entry.args if a is not index] if entry.op is ADD else []
        alone = entry is index or len(others) == 1 and index not in toposort(others)
        if not alone:
            return None
        moved += axes
    return (moved[0], moved[1]) if moved[0] != moved[1] else None


def _is_contiguous(value: Expr, index: Expr) -> bool:
    """Whether some array is read along its last axis when `index` moves."""
    return any(n.args and index in toposort([n.args[-1]]) for n in loads((value,)))
