"""Which axes a program runs over in blocks of points: where that saves reading memory again."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.expr.node import Expr
from symgrad.lower.axes import AxisClasses
from symgrad.lower.kernel import Contract, Kernel
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Multiply
from symgrad.lower.tiles import block_of_summands
from symgrad.lower.tuning import Tuning


def choose_streams(
    classes: AxisClasses, kernels: Sequence[Kernel], buffers: Sequence[Buffer], tuning: Tuning
) -> dict[Expr, int]:
    """Axes that the program runs over in blocks of points, for all kernels that have them.

    The result has the points of a block.
    Products of matrices want many points at once, but what they make for all points need not
    fit the cache, or the memory: between a product and its readers a block of it is enough.
    And where a product adds up over the points, data that others read as well is read once.
    """
    result = {}
    for axis, block in _blocks(classes, kernels, tuning).items():
        extent = classes.extent[axis]
        if extent < 2 * block:
            continue
        members = [k for k in classes.members[axis] if k in classes.reads]
        if any(k.whole or k.in_order in classes.axes(k, axis) for k in members):
            continue
        private = classes.private(members, axis, buffers)
        stored = [k for k in members if k.buffer.number in private]
        products = [k for k in stored if isinstance(k, Contract)]
        sums = [k for k in members if not set(classes.axes(k, axis)) & set(k.target)]
        saved = 2 * sum(k.buffer.nbytes for k in products)
        saved += _read_again(classes, members, axis, buffers)
        added = tuning.added_share * sum(k.buffer.nbytes for k in sums)
        # Every block adds to the sums: the larger they are, the fewer blocks.
        while saved <= added * -(-extent // block) and extent > 4 * block:
            block *= 2
        if saved > max(added * -(-extent // block), tuning.stream_from_bytes):
            result[axis] = block
    return result


def _blocks(classes: AxisClasses, kernels: Sequence[Kernel], tuning: Tuning) -> dict[Expr, int]:
    """The axes of products, with how many points of each a block would have."""
    every = [k.product for k in kernels if isinstance(k, Contract)]
    blocks: dict[Expr, int] = {}
    for p in every:
        axis = classes.find(p.row)
        blocks[axis] = max(blocks.get(axis, 0), _points_of_block(p, tuning))
    for p in every:
        axis = classes.find(p.inner)
        if p.blas:
            blocks[axis] = max(blocks.get(axis, 0), tuning.blas_block)
        else:
            blocks.setdefault(axis, block_of_summands(p.extents[2], tuning))
    return blocks


def _read_again(
    classes: AxisClasses, members: Sequence[Kernel], axis: Expr, buffers: Sequence[Buffer]
) -> int:
    """Bytes that products which add up over the points read, and other members as well."""
    data: dict[bool, set[int]] = {True: set(), False: set()}
    for k in members:
        adds = isinstance(k, Contract) and classes.find(k.product.inner) is axis
        data[adds].update(n for n, _ in classes.reads[k] if n not in classes.writers)
    return sum(buffers[n].nbytes for n in data[True] & data[False])


def _points_of_block(p: Multiply, tuning: Tuning) -> int:
    """Rows of a product that are worth a copy of the other factor, which every block makes."""
    if p.blas:
        return tuning.blas_block
    return tuning.stream_points if p.extents[2] < tuning.many_summands else 4 * tuning.stream_points
