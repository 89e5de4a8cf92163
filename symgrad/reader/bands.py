"""Formulas of the elements of a result, by where they stand: G[i] = … for 0 < i < 4, G[0] = ….

For results of differences and other windows, which in matrix notation are pads of pads. Every
element is computed as a graph of the elements of the arguments; those that are the same function of
the elements around them share a formula.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.expr.node import ARG, ARRAY, CONST, EYE, IOTA, Expr, arg, bind, const, const_value
from symgrad.expr.op import Kind, Moves
from symgrad.expr.walk import toposort
from symgrad.inspect.formula import Formula
from symgrad.reader.convert import Reader
from symgrad.reader.cost import cost
from symgrad.reader.heads import FIRST, Term, tick
from symgrad.reader.notation import integer
from symgrad.reader.poly import Poly, gather
from symgrad.reader.reading import Line, Piece
from symgrad.reader.write import Writer

MOST_ELEMENTS = 20_000  # of all nodes
MOST_RESULTS = 200
MOST_BY_NUMBER = 16  # elements of a result that has no run of equal ones
MOST_PIECES = 16
MOST_SINGLES = 40  # in a matrix half of whose elements are 0
THIN = 2  # one of so many
SHORT = 330  # costs of a vector whose elements stand on one line
MOST_TERMS = 12  # an element with more is no local one


class NotLocal(Exception):
    """Elements that are no short functions of their neighbours."""


def is_padded(node: Expr) -> bool:
    """Whether a node puts an array among zeros, or some side by side."""
    row = node.op
    if row.moves is Moves.JOINED:
        return node.size <= MOST_RESULTS
    return (
        row.kind is Kind.LINEAR and row.moves is None and not row.reduces
        and (row.element is not None or row.indices is not None)
        and node.shape != node.args[0].shape
    )  # fmt: skip


def lines(
    args: Sequence[Expr], outs: Sequence[Expr], names: dict[Expr, str], labels: Sequence[str]
) -> list[Line] | None:
    """Each result in pieces; None if one of them is not local."""
    try:
        elements = _Elements(names)
        return [_line(elements, o, name) for o, name in zip(outs, labels, strict=True)]
    except NotLocal:
        return None


def _is_known(elements: Any) -> bool:
    """Whether all elements are numbers."""
    return all(e.op is CONST for e in elements.flat)


def _is_zero(e: Expr) -> bool:
    return e.op is CONST and const_value(e) == 0


@dataclass(frozen=True)
class _Place:
    """An element of an argument."""

    array: Expr
    index: tuple[int, ...]


class _Elements:
    """Nodes as arrays of scalar nodes over elements of the arguments."""

    def __init__(self, names: dict[Expr, str]) -> None:
        self.names = names
        self.places: dict[Expr, _Place] = {}
        self.known: dict[Expr, Any] = {}
        taken = set(names.values())
        self.letter = next(ch for ch in "ijklabc" if ch not in taken)

    def of(self, out: Expr) -> Any:
        nodes = toposort([out])
        if sum(n.size for n in nodes) > MOST_ELEMENTS or out.size > MOST_RESULTS:
            raise NotLocal
        for node in nodes:
            if node not in self.known:
                tick()
                self.known[node] = self._make(node)
        return self.known[out]

    def _make(self, node: Expr) -> Any:
        result = np.empty(node.shape, dtype=object)
        given = [self.known[a] for a in node.args]
        row = node.op
        if row is ARG:
            for at in np.ndindex(node.shape):
                e = arg(len(self.places), (), node.dtype) if node.shape else node
                self.places[e] = _Place(node, at)
                result[at] = e
        elif row in (CONST, ARRAY, EYE, IOTA):
            values = np.full(node.shape, const_value(node)) if row is CONST else (
                row.evaluate(*node.attrs))  # fmt: skip
            for at in np.ndindex(node.shape):
                result[at] = const(values[at], node.dtype)
        elif row.kind is Kind.ELEMENTWISE or row.kind is Kind.LINEAR and not row.reduces and (
            node.args[0].shape == node.shape and row.moves is None
        ):  # fmt: skip
            for at in np.ndindex(node.shape):
                result[at] = bind(row, *[g[at] for g in given], attrs=node.attrs)
        elif row.kind is Kind.LINEAR and not row.reduces and row.indices is None:
            result = self._moved(node, given)
        elif row.indices is not None and row.kind is Kind.LINEAR and _is_known(given[row.indices]):
            result = self._at_known(node, given)
        elif row.kind is Kind.LINEAR and row.reduces:
            result = np.asarray(given[0].sum(axis=node.attrs[0]), dtype=object)
        elif row.kind is Kind.EINSUM:
            result = self._contracted(node, given)
        else:
            raise NotLocal
        return result

    def _moved(self, node: Expr, given: Sequence[Any]) -> Any:
        """Rows that only move elements, by moving their numbers; 0 is where none went."""
        flat: list[Any] = [const(0, node.dtype)]
        numbers = []
        for g in given:
            numbers.append(np.arange(len(flat), len(flat) + g.size).reshape(g.shape))
            flat += g.ravel().tolist()
        where = np.asarray(node.op.evaluate(*numbers, *node.attrs))
        result = np.empty(node.shape, dtype=object)
        for at in np.ndindex(node.shape):
            result[at] = flat[int(where[at])]
        return result

    def _at_known(self, node: Expr, given: Sequence[Any]) -> Any:
        """Elements at indices that are numbers, taken or added up."""
        numbers = np.array([int(const_value(e)) for e in given[1].flat]).reshape(given[1].shape)
        axis = node.attrs[0]
        if node.op.moves is Moves.SOME:
            return np.take(given[0], numbers, axis=axis)
        result = np.full(node.shape, const(0, node.dtype), dtype=object)
        where = np.take(np.arange(node.size).reshape(node.shape), numbers, axis=axis)
        flat = result.reshape(-1)
        for k, e in zip(where.flat, given[0].flat, strict=True):
            flat[k] = e if _is_zero(flat[k]) else flat[k] + e
        return result

    def _contracted(self, node: Expr, given: Sequence[Any]) -> Any:
        inputs, output = node.attrs
        sizes: dict[int, int] = {}
        for g, labels in zip(given, inputs, strict=True):
            sizes.update(zip(labels, g.shape, strict=True))
        summed = [k for k in sizes if k not in output]
        if np.prod(list(sizes.values()), dtype=float) > MOST_ELEMENTS:
            raise NotLocal
        result = np.empty(node.shape, dtype=object)
        for at in np.ndindex(node.shape):
            total = const(0, node.dtype)
            for rest in itertools.product(*[range(sizes[k]) for k in summed]):
                index = dict(zip(output, at, strict=True)) | dict(zip(summed, rest, strict=True))
                factors = [g[tuple(index[k] for k in w)]
                           for g, w in zip(given, inputs, strict=True)]  # fmt: skip
                if any(map(_is_zero, factors)):
                    continue
                product = factors[0]
                for f in factors[1:]:
                    product = product * f
                total = product if _is_zero(total) else total + product
            result[at] = total
        return result

    def texts(self, base: int | None) -> dict[Expr, str]:
        """What elements of arguments are called, seen from index `base`, or by their numbers."""
        return {
            e: f"{self.names[p.array]}[{','.join(self._index(k, base) for k in p.index)}]"
            if p.index else self.names[p.array]
            for e, p in self.places.items()
        }  # fmt: skip

    def _index(self, k: int, base: int | None) -> str:
        return str(k) if base is None else shifted(self.letter, k - base)

    def poly(self, e: Expr, base: int | None) -> Poly:
        """An element, the same Poly wherever it is the same function of its neighbours."""
        reader = Reader(self.texts(base))
        reader.position = dict.fromkeys(reader.position, 0)
        (p,) = reader.read([e])
        if reader.conditions or len(p.terms) > MOST_TERMS:
            raise NotLocal
        return p

    def formula(self, e: Expr, base: int | None) -> Formula:
        names = self.texts(base)
        p = self.poly(e, base)
        if base is None:
            p = self._whole(p)
            names = {**names, **{a: self.names[a] for a in self._arrays()}}
        writer = Writer(names)
        for node, place in self.places.items():
            if place.index:
                index = names[node].partition("[")[2].rstrip("]")
                writer.spelling.indexed[node] = place.array, self.names[place.array], index
        return writer.write(p)

    def _arrays(self) -> list[Expr]:
        return list(dict.fromkeys(p.array for p in self.places.values() if p.index))

    def _whole(self, p: Poly) -> Poly:
        """With ‖x‖², 1ᵀ x and tr(A) for sums of all squares, elements, elements of a diagonal."""
        for array in self._arrays():
            found = {q.index: e for e, q in self.places.items() if q.array is array}
            if array.ndim > 2 or len(set(array.shape)) > 1:
                continue
            wanted = [(k,) * array.ndim for k in range(array.shape[0])]
            labels = (FIRST,) * array.ndim
            (one,) = Reader({array: self.names[array]}).read([array])
            (head,) = [h for h, _, _ in one.factors()]
            for power in (2, 1)[array.ndim - 1 :]:
                terms = [self._term(found[k], power) for k in wanted]
                counts = {p.terms.get(t, 0) for t in terms}
                if len(terms) < 4 - power or len(counts) > 1 or counts == {0}:
                    continue
                rest = Poly({t: c for t, c in p.terms.items() if t not in terms}, p.shape)
                p = rest + gather((), [(counts.pop(), [(head, labels, power)],
                                        {FIRST: array.shape[0]})])  # fmt: skip
        return p

    def _term(self, e: Expr, power: int) -> Term:
        ((term, _),) = self.poly(e, None).terms.items()
        return ((*term[0][:2], power),)


def shifted(letter: str, k: int) -> str:
    """i, i+1, i−2"""
    return letter if k == 0 else f"{letter}{'+' if k > 0 else '−'}{abs(k)}"


def _line(elements: _Elements, out: Expr, name: str) -> Line:
    if not 1 <= out.ndim <= 2:
        raise NotLocal
    found = elements.of(out)
    if len(set(out.shape)) > 1:
        return _by_number(elements, [(at, found[at]) for at in np.ndindex(out.shape)], out, name)
    groups: dict[tuple[int, ...], dict[int, tuple[Expr, Poly]]] = {}
    for at in np.ndindex(out.shape):
        base = min(at)
        p = elements.poly(found[at], base)
        if p.terms:
            groups.setdefault(tuple(k - base for k in at), {})[base] = found[at], p
    pieces: list[Piece] = []
    singles: list[tuple[tuple[int, ...], Expr]] = []
    last = out.shape[0]
    done: set[tuple[int, ...]] = set()
    for offset, rows in sorted(groups.items(), key=lambda item: sum(item[0])):
        if offset in done:
            continue
        mirrored = offset[::-1]
        both = mirrored != offset and _same(groups.get(mirrored), rows)
        offsets = [offset, mirrored] if both else [offset]
        done.update(offsets)
        _pieces(elements, rows, offsets, last - max(offset), pieces, singles)
    if not pieces and out.size <= MOST_BY_NUMBER:
        return _by_number(elements, sorted(singles), out, name)
    pieces += _joined(elements, sorted(singles))
    by_number = all(p.letter is None for p in pieces)
    if not 0 < len(pieces) <= (_most_by_number(pieces, out) if by_number else MOST_PIECES):
        raise NotLocal
    return Line(name, pieces[0].formula, (), tuple(pieces))


def _most_by_number(pieces: Sequence[Piece], out: Expr) -> int:
    if out.size <= MOST_BY_NUMBER:
        return MOST_PIECES
    thin = out.ndim == 2 and THIN * sum(len(p.places) for p in pieces) <= out.size
    return MOST_SINGLES if thin else 0


def _by_number(
    elements: _Elements, rows: Sequence[tuple[tuple[int, ...], Expr]], out: Expr, name: str
) -> Line:
    """Row by row; a short vector on one line."""
    pieces = _joined(elements, [(at, e) for at, e in rows if elements.poly(e, None).terms])
    if not 0 < len(pieces) <= _most_by_number(pieces, out):
        raise NotLocal
    if out.ndim == 1 and sum(cost(p.formula) for p in pieces) <= SHORT:
        known = {at: p.formula for p in pieces for at in p.places}
        each = [known.get((str(k),), integer(0)) for k in range(out.size)]
        return Line(name, Formula("stack", tuple(each), None, 1))
    return Line(name, pieces[0].formula, (), tuple(pieces))


def _same(a: Any, b: Any) -> bool:
    return a is not None and {k: p for k, (_, p) in a.items()} == {k: p for k, (_, p) in b.items()}


def _pieces(
    elements: _Elements, rows: dict[int, tuple[Expr, Poly]], offsets: Sequence[tuple[int, ...]],
    size: int, pieces: list[Piece], singles: list[tuple[tuple[int, ...], Expr]],
) -> None:  # fmt: skip
    """The longest run of one function under a letter, the others by number."""
    counts = Counter(p for _, p in rows.values())
    common = max(counts, key=lambda p: (counts[p], -min(b for b, r in rows.items() if r[1] == p)))
    run = sorted(b for b, (_, p) in rows.items() if p == common)
    if len(run) > 1 and run == list(range(run[0], run[-1] + 1)):
        places = tuple(tuple(shifted(elements.letter, k) for k in o) for o in offsets)
        bounds = None if len(run) == size else (run[0], run[-1])
        f = elements.formula(rows[run[0]][0], run[0])
        pieces.append(Piece(places, f, elements.letter, (run[0], run[-1]), bounds is not None))
    else:
        run = []
    for base, (e, _) in sorted(rows.items()):
        if base not in run:
            singles += [(tuple(base + k for k in o), e) for o in offsets]


def _joined(elements: _Elements, singles: Sequence[tuple[tuple[int, ...], Expr]]) -> list[Piece]:
    """Elements by number; equal ones together."""
    found: dict[Poly, list[tuple[tuple[int, ...], Expr]]] = {}
    for at, e in singles:
        found.setdefault(elements.poly(e, None), []).append((at, e))
    return [
        Piece(
            tuple(tuple(map(str, at)) for at, _ in rows),
            elements.formula(rows[0][1], None), None, (0, 0), False,
        )
        for rows in found.values()
    ]  # fmt: skip


def price(found: Sequence[Line]) -> int:
    """What the pieces of lines cost."""
    return sum(
        cost(p.formula) + 10 + 6 * len(p.places) + 20 * p.bounded
        for line in found for p in line.pieces
    ) + sum([cost(line.formula) for line in found if not line.pieces])  # fmt: skip
