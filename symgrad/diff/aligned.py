"""A function of the elements of an array as one of each element alone, all others held.

The limit of c(r)/r where r = 0 is the derivative of c by r there. Of an array of roots this is
meant element by element: r_i is 0, and what c has of the other elements, a sum of all or the
element beside it, keeps its value. `alone` puts placeholders where the others are.

Every element of c has an owner, the element of r that it is divided by. Going down from c, the
owners of what a node computes are those of what is made of it, as long as it has one owner.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from symgrad.expr.node import ARRAY, CONST, Expr, arg, array
from symgrad.expr.op import Kind
from symgrad.expr.walk import rebuild, toposort
from symgrad.ops.einsum import EINSUM
from symgrad.ops.elementwise import select
from symgrad.ops.linear import (
    BROADCAST,
    CONCAT,
    GATHER,
    PAD,
    PERMUTE,
    RESHAPE,
    SCATTER_ADD,
    SLICE,
    SUM,
)

_THROUGH = frozenset({Kind.ELEMENTWISE, Kind.LINEAR, Kind.EINSUM})
_NOBODY = -1
_MOST_ELEMENTS = 1_000_000  # of views whose positions are looked at
_MOST_COPIES = 12  # of a node, for different owners, on average


@dataclass(frozen=True, eq=False)
class _Factor:
    """Owners along some axes of a node, as flat positions in some axes of the array of roots.

    sizes : of those axes of the array
    """

    axes: tuple[int, ...]
    base: tuple[int, ...]
    sizes: tuple[int, ...]
    owner: np.ndarray

    def key(self) -> tuple[object, ...]:
        return self.axes, self.base, self.owner.shape, self.owner.tobytes()

    def on(self, place: Callable[[int], int]) -> _Factor:
        return replace(self, axes=tuple([place(a) for a in self.axes]))

    def along(self, axis: int, change: Callable[[np.ndarray], np.ndarray]) -> _Factor:
        """Changed along one axis, which `change` gets as the first."""
        if axis not in self.axes:
            return self
        k = self.axes.index(axis)
        moved = change(np.moveaxis(self.owner, k, 0))
        return replace(self, owner=np.moveaxis(moved, 0, k))

    def without(self, gone: set[int]) -> _Factor | None:
        """Without axes along which the owner is the same; None if it is not."""
        lost = tuple([k for k, a in enumerate(self.axes) if a in gone])
        if not lost:
            return self
        most = self.owner.max(axis=lost, keepdims=True)
        if ((self.owner != most) & (self.owner != _NOBODY)).any():
            return None
        kept = [k for k in range(len(self.axes)) if k not in lost]
        owner = most.reshape([self.owner.shape[k] for k in kept])
        return replace(self, axes=tuple([self.axes[k] for k in kept]), owner=owner)


_Owners = tuple[_Factor, ...]


def alone(
    top: Expr, between: Sequence[Expr], base: Expr, root: Expr
) -> tuple[Expr, dict[Expr, Expr]] | None:
    """`top` with placeholders for what other elements of `base` are in, and what these stand for.

    None where it cannot be told, with little effort, which elements are whose.

    between : the nodes on the way from `base` to `top`, arguments first
    root : a view of `base`, of the shape of `top`: it says which element is whose
    """
    if not root.size:
        return top, {}
    owners = _of_view(root, base)
    if owners is None:
        return None
    reaching = {base, *between}
    held: dict[Expr, Expr] = {}
    done: dict[object, Expr] = {}

    def placeholder(node: Expr) -> Expr:
        if node not in held:
            held[node] = arg(len(held), node.shape, node.dtype, f"held {len(held)}")
        return held[node]

    start = _key(top, owners)
    stack = [(top, owners)]
    while stack:
        node, owners = stack[-1]
        key = _key(node, owners)
        if key in done:
            stack.pop()
        elif node is base:
            done[key] = _live(base, owners, placeholder)
        elif node.op.kind not in _THROUGH or not node.size:
            done[key] = placeholder(node)
        else:
            below = {k: _pulled(node, k, owners) for k, a in enumerate(node.args) if a in reaching}
            pairs = {k: (node.args[k], o) for k, o in below.items() if o is not None}
            waiting = [pair for pair in pairs.values() if _key(*pair) not in done]
            if waiting:
                stack += waiting
                continue
            args = list(node.args)
            for k in below:
                args[k] = done[_key(*pairs[k])] if k in pairs else placeholder(args[k])
            done[key] = rebuild(node, tuple(args))
        if len(done) > _MOST_COPIES * (len(between) + 1):
            return None
    return done[start], {new: node for node, new in held.items()}


def _key(node: Expr, owners: _Owners) -> object:
    return node, tuple([f.key() for f in owners])


def _own(base: Expr) -> _Owners:
    return tuple([
        _Factor((k,), (k,), (n,), np.arange(n)) for k, n in enumerate(base.shape) if n > 1
    ])  # fmt: skip


def _of_view(root: Expr, base: Expr) -> _Owners | None:
    chain = []
    while root is not base and root.op in (BROADCAST, PERMUTE, RESHAPE):
        chain.append(root)
        root = root.args[0]
    owners: _Owners | None = _own(base) if root is base else _of_positions(root, base)
    for view in reversed(chain):
        if owners is None:
            return None
        if view.op is BROADCAST:
            owners = tuple([f.on(view.attrs[1].__getitem__) for f in owners])
        elif view.op is PERMUTE:
            owners = tuple([f.on(view.attrs[0].index) for f in owners])
        else:
            owners = _reshaped(owners, view.args[0].shape, view.shape)
    return owners


def _of_positions(root: Expr, base: Expr) -> _Owners | None:
    """Those of a view of any kind, by what it makes of the positions in `base`."""
    if base.size == 1:
        return ()
    values = {base: np.arange(1.0, base.size + 1).reshape(base.shape)}
    nodes = toposort([root], (base,))
    if sum(n.size for n in nodes) > _MOST_ELEMENTS:
        return None
    for node in nodes:
        if node.op is CONST:  # in the place of parts that have no such root
            values[node] = np.zeros(node.shape)
        elif node.op is ARRAY:
            values[node] = node.attrs[0].array
        elif node is not base:
            values[node] = node.op.evaluate(*[values[a] for a in node.args], *node.attrs)
    owner = values[root].astype(np.int64) - 1  # of the elements of `base`: nobody is 0 - 1
    whole = _Factor(tuple(range(root.ndim)), tuple(range(base.ndim)), base.shape, owner)
    return (whole,) if (owner == _NOBODY).any() else _apart(owner, base.shape) or (whole,)


def _apart(owner: np.ndarray, sizes: tuple[int, ...]) -> _Owners | None:
    """Owners along each axis alone, where that is all that there is."""
    found = []
    for k, place in enumerate(np.unravel_index(owner, sizes)):
        if sizes[k] == 1:
            continue
        moving = [a for a in range(owner.ndim)
                  if (place != np.take(place, [0], axis=a)).any()]  # fmt: skip
        if len(moving) > 1:
            return None
        still = tuple([slice(None) if a in moving else 0 for a in range(owner.ndim)])
        found.append(_Factor(tuple(moving), (k,), (sizes[k],), place[still]))
    return tuple(found)


def _live(base: Expr, owners: _Owners, placeholder: Callable[[Expr], Expr]) -> Expr:
    """The elements that own themselves; placeholders for the others."""
    own = np.ones(base.shape, bool)
    for f in owners:
        mine = np.arange(math.prod(f.sizes)).reshape(f.sizes)
        own &= _spread(f.owner, f.axes, base.ndim) == _spread(mine, f.base, base.ndim)
    if own.all():
        return base
    return select(array(own), base, placeholder(base)) if own.any() else placeholder(base)


def _spread(values: np.ndarray, axes: tuple[int, ...], ndim: int) -> np.ndarray:
    order = sorted(range(len(axes)), key=axes.__getitem__)
    shape = [1] * ndim
    for k in order:
        shape[axes[k]] = values.shape[k]
    return np.transpose(values, order).reshape(shape)


def _pulled(node: Expr, k: int, owners: _Owners) -> _Owners | None:
    """The owners of operand k from those of the node; None where an element has several."""
    row, attrs, x = node.op, node.attrs, node.args[k]
    if row.kind is Kind.ELEMENTWISE or not owners:
        return owners
    if row is RESHAPE:
        return _reshaped(owners, node.shape, x.shape)
    if row is PERMUTE:
        return tuple([f.on(attrs[0].__getitem__) for f in owners])
    if row is SUM:
        kept = [a for a in range(x.ndim) if a not in attrs[0]]
        return tuple([f.on(kept.__getitem__) for f in owners])
    if row is BROADCAST:
        return _on(owners, {d: a for a, d in enumerate(attrs[1])}, node.ndim)
    if row is EINSUM:
        inputs, output = attrs
        if len(set(inputs[k])) < len(inputs[k]):
            return None
        return _on(owners, {d: inputs[k].index(n) for d, n in enumerate(output) if n in inputs[k]},
                   node.ndim)  # fmt: skip
    if row is CONCAT:
        begin = sum(a.shape[attrs[0]] for a in node.args[:k])
        end = begin + x.shape[attrs[0]]
        return tuple([f.along(attrs[0], lambda o: o[begin:end]) for f in owners])
    if row in (SLICE, PAD):
        return _windowed(node, x, owners)
    return _indexed(node, x, owners) if row in (GATHER, SCATTER_ADD) and k == 0 else None


def _on(owners: _Owners, place: dict[int, int], ndim: int) -> _Owners | None:
    """Owners on axes that have other places, without those that have none."""
    found = [f.without(set(range(ndim)) - place.keys()) for f in owners]
    if any(f is None for f in found):
        return None
    return tuple([f.on(place.__getitem__) for f in found if f is not None])


def _windowed(node: Expr, x: Expr, owners: _Owners) -> _Owners:
    is_slice = node.op is SLICE
    starts, steps = (node.attrs[0], node.attrs[2]) if is_slice else node.attrs[1:]
    for axis, (start, step) in enumerate(zip(starts, steps, strict=True)):
        size = x.shape[axis]
        places = start + step * np.arange(min(size, node.shape[axis]))

        def change(o: np.ndarray, size: int = size, places: np.ndarray = places) -> np.ndarray:
            return _put(o, places, size) if is_slice else o[places]

        owners = tuple([f.along(axis, change) for f in owners])
    return owners


def _indexed(node: Expr, x: Expr, owners: _Owners) -> _Owners | None:
    """Through a captured index of one axis."""
    axis, index = node.attrs[0], node.args[1]
    if index.op is not ARRAY or index.ndim != 1:
        return None
    positions = index.attrs[0].array
    if node.op is SCATTER_ADD:
        return tuple([f.along(axis, lambda o: o[positions]) for f in owners])
    found = []
    for f in owners:
        new = f.along(axis, lambda o: _put(o, positions, x.shape[axis]))
        again = new.along(axis, lambda o: o[positions])
        if (again.owner != f.owner).any():  # an element that is read twice, by two owners
            return None
        found.append(new)
    return tuple(found)


def _put(o: np.ndarray, positions: np.ndarray, size: int) -> np.ndarray:
    new: np.ndarray = np.full((size, *o.shape[1:]), _NOBODY)
    new[positions] = o
    return new


def _reshaped(owners: _Owners, before: tuple[int, ...], after: tuple[int, ...]) -> _Owners | None:
    """Owners of the same elements in another shape; factors of axes that are joined are joined."""
    short = {a for a, n in enumerate(before) if n == 1}
    left = [f for f in [f.without(short) for f in owners] if f is not None]
    if 0 in before:
        return None
    made: list[_Factor] = []
    for old, new in _groups(before, after):
        inside = [f for f in left if not set(f.axes).isdisjoint(old)]
        if any(not set(f.axes) <= set(old) for f in inside):
            return None
        if len(old) == len(new) == 1:
            made += [f.on(lambda a, n=new[0]: n) for f in inside]  # type: ignore[misc]
        elif inside:
            whole = _joined(inside, old, [before[a] for a in old])
            made.append(
                replace(whole, axes=new, owner=whole.owner.reshape([after[n] for n in new]))
            )
    return (*made, *[f for f in left if not f.axes])


def _joined(inside: Sequence[_Factor], axes: tuple[int, ...], shape: Sequence[int]) -> _Factor:
    owner = np.zeros(shape, np.int64)
    for f in inside:
        part = _spread(f.owner, tuple([axes.index(a) for a in f.axes]), len(axes))
        nobody = (owner == _NOBODY) | (part == _NOBODY)
        owner = np.where(nobody, _NOBODY, owner * math.prod(f.sizes) + part)
    base = tuple([k for f in inside for k in f.base])
    return _Factor(axes, base, tuple([n for f in inside for n in f.sizes]), owner)


def _groups(
    before: tuple[int, ...], after: tuple[int, ...]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Axes longer than 1 that become others, as few at a time as can be."""
    old = [a for a, n in enumerate(before) if n > 1]
    new = [a for a, n in enumerate(after) if n > 1]
    found = []
    while old:
        here, there = [old.pop(0)], [new.pop(0)]
        sizes = before[here[0]], after[there[0]]
        while sizes[0] != sizes[1]:
            if sizes[0] < sizes[1]:
                here.append(old.pop(0))
                sizes = sizes[0] * before[here[-1]], sizes[1]
            else:
                there.append(new.pop(0))
                sizes = sizes[0], sizes[1] * after[there[-1]]
        found.append((tuple(here), tuple(there)))
    return found
