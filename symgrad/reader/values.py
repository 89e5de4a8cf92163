"""The values of formula trees and of graphs at one point, with spare digits.

Vectors are columns while formulas are evaluated, so that every product is a product of matrices;
lines with index letters are evaluated with one axis for each letter.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from symgrad.expr.node import ARG, ARRAY, CONST, FLOATS, Expr, const_value
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.inspect.formula import Formula
from symgrad.reader.functions import (
    EXTENDED,
    INFIX,
    Unknown,
    apply,
    called,
    column,
    exact,
    inverse,
    number,
)
from symgrad.reader.reading import Condition, Line, Piece
from symgrad.reader.smaller import shortened

# ---- the graph -------------------------------------------------------------------------------


def extended(outs: Sequence[Expr], point: Mapping[Expr, np.ndarray]) -> tuple[list[Any], float]:
    """The values of `outs`, and the largest finite intermediate value."""
    known: dict[Expr, Any] = {}
    largest = 0.0
    for node in toposort(outs):
        if node.op is ARG:
            known[node] = point[node]
        elif node.op is CONST and node.dtype in FLOATS:
            known[node] = np.full(node.shape, exact(const_value(node)))
        elif node.op.kind in (Kind.CONTROL, Kind.ITEM):
            raise Unknown(node.name)
        else:
            known[node] = apply(node.op, [known[a] for a in node.args], node.attrs)
            if node.dtype not in FLOATS:
                known[node] = known[node].astype(node.dtype)
        value = known[node]
        if value.size and value.dtype == EXTENDED:
            largest = max(largest, float(np.abs(value[np.isfinite(value)]).max(initial=0)))
    return [known[o] for o in outs], largest


# ---- formulas ---------------------------------------------------------------------------------


def _scalar(v: Any) -> Any:
    return v.reshape(()) if np.size(v) == 1 else v


class Values:
    """The values of formulas at one point; parts are evaluated once.

    point : arrays of the arguments, and of captured arrays that are not as they are in the graph
    sizes : of axes that are shorter here than the formula has them
    """

    def __init__(
        self, point: Mapping[Expr, np.ndarray], sizes: Mapping[int, int] | None = None
    ) -> None:
        self.point, self.sizes = point, sizes or {}
        self.parts: dict[Any, Any] = {}

    def hold(self, condition: Condition) -> bool:
        """Whether a side condition is met, in all elements."""
        value = np.asarray(self.matrix(condition.left, None))
        compare = INFIX[condition.sign]
        return bool(compare(value, 0).all())

    def result(self, line: Line, shape: tuple[int, ...]) -> Any:
        """The value of a result of that shape."""
        if line.pieces:
            return self.pieces(line.pieces, shape)
        return self.line(line.formula, line.labels, shape)

    def line(self, f: Formula, labels: Sequence[str], shape: tuple[int, ...]) -> Any:
        """The value of a result of that shape."""
        if labels:
            sizes = dict(zip(labels, shape, strict=True))
            return np.broadcast_to(self.elements(f, sizes), shape)
        return self._whole(f, shape)

    def pieces(self, pieces: Sequence[Piece], shape: tuple[int, ...]) -> Any:
        """The value of a result of that shape from formulas of some elements each."""
        result = np.zeros(shape, EXTENDED)
        for p in pieces:
            first, last = map(self._size, p.range) if p.letter else (0, 0)
            sizes = {p.letter: shape[0]} if p.letter else {}
            values = np.broadcast_to(self.elements(p.formula, sizes), tuple(sizes.values()))
            for i in range(first, last + 1):
                for place in p.places:
                    at = [_numbered(self._shortened(k), p.letter, i) for k in place]
                    result[tuple(at)] = values[i] if p.letter else values
        return result

    def _shortened(self, index: str) -> str:
        """An index in brackets; shifts of letters are short."""
        return re.sub(r"\d+", lambda found: str(self._size(int(found[0]))), index)

    def _whole(self, f: Formula, shape: tuple[int, ...]) -> Any:
        value = np.asarray(self.matrix(f, shape))
        if len(shape) == 1:
            return np.broadcast_to(_scalar(value) if value.size == 1 else value[:, 0], shape)
        return np.broadcast_to(_scalar(value), shape)

    # ---- matrix notation ---------------------------------------------------------------------

    def matrix(self, f: Formula, shape: tuple[int, ...] | None) -> Any:
        """The value of `f`; `shape` is what an identity matrix of no size is to fit."""
        method = getattr(self, "_" + f.kind, None)
        if method is None:
            raise Unknown(f.kind)
        return method(f, shape)

    def _all(self, f: Formula, shape: tuple[int, ...] | None) -> list[Any]:
        """The arguments' values; identity matrices fit the others."""
        values: list[Any] = [None] * len(f.args)
        later = [is_eye(a) for a in f.args]
        for k, a in enumerate(f.args):
            if not later[k]:
                values[k] = np.asarray(self.matrix(a, shape))
        fitting = next((v.shape for v in values if v is not None and v.ndim == 2), shape)
        for k, a in enumerate(f.args):
            if later[k]:
                values[k] = np.asarray(self.matrix(a, fitting))
        return values

    def _symbol(self, f: Formula, shape: Any) -> Any:
        if f.owner is None or f.owner.op is not ARG and f.owner.op is not ARRAY:
            if f.data[0] == "0":
                return EXTENDED(0)
            raise Unknown(f"the name {f.data[0]}")
        if f.owner.op is ARRAY and f.owner not in self.point:
            return column(apply(ARRAY, [], f.owner.attrs))
        value = self.point[f.owner]
        return column(value.astype(EXTENDED) if value.dtype.kind == "f" else value)

    def _part(self, f: Formula, shape: Any) -> Any:
        part = f.data
        if part not in self.parts:
            if part.labels:
                sizes = dict(zip(part.labels, self._lengths(part, shape), strict=True))
                self.parts[part] = column(self.elements(part.formula, sizes))
            else:
                self.parts[part] = self.matrix(part.formula, shape)
        return self.parts[part]

    def _lengths(self, part: Any, shape: tuple[int, ...] | None) -> list[int]:
        """The sizes of the free letters of a part, from where they stand, else from the result."""
        found: dict[str, int] = {}
        self._letters(part.formula, found)
        if shape is not None and len(shape) == len(part.labels):
            found = {**dict(zip(part.labels, shape, strict=True)), **found}
        return [found[k] for k in part.labels]

    def _number(self, f: Formula, shape: Any) -> Any:
        return number(f.data)

    def _ones(self, f: Formula, shape: Any) -> Any:
        return np.ones((self._size(f.data), 1), EXTENDED)

    def _size(self, n: int) -> int:
        """A size, or an index next to one end of an axis, as it is where axes are shorter."""
        return shortened(self.sizes, n)

    def _eye(self, f: Formula, shape: Any) -> Any:
        size = self._size(f.data) if f.data is not None else shape[0] if shape else None
        if size is None:
            raise Unknown("an identity matrix of no size")
        return np.eye(int(size), dtype=EXTENDED)

    def _neg(self, f: Formula, shape: Any) -> Any:
        return -self.matrix(f.args[0], shape)

    def _sum(self, f: Formula, shape: Any) -> Any:
        values = self._all(f, shape)
        return sum(values[1:], values[0])

    def _mul(self, f: Formula, shape: Any) -> Any:
        *scalars, last = self._all(f, shape)
        for s in scalars:
            if s.size != 1:
                raise Unknown("a product of arrays by juxtaposition")
            last = last * s.reshape(())
        return self._vanishing(f.args, last, shape)

    def _mat(self, f: Formula, shape: Any) -> Any:
        values = self._all(f, shape)
        result = values[0]
        for v in values[1:]:
            result = result * v if result.ndim == 0 or v.ndim == 0 else result @ v
        return _scalar(result)

    def _had(self, f: Formula, shape: Any) -> Any:
        values = self._all(f, shape)
        result = values[0]
        for v in values[1:]:
            result = result * v
        return self._vanishing(f.args, result, shape)

    def _vanishing(self, factors: Sequence[Formula], product: Any, shape: Any) -> Any:
        """The product with zeros where [P] is one, whatever stands beside it."""
        if np.isfinite(product).all():
            return product
        for f in factors:
            while f.kind in ("neg", "div"):
                f = f.args[0]
            if f.kind == "wrap" and f.data[0] == "[":
                product = np.where(self.matrix(f, shape) == 0, EXTENDED(0), product)
        return product

    def _div(self, f: Formula, shape: Any) -> Any:
        a, b = self._all(f, shape)
        if not f.data and b.size != 1:
            raise Unknown("a quotient by an array")
        return self._vanishing(f.args[:1], a / (b if f.data else b.reshape(())), shape)

    def _T(self, f: Formula, shape: Any) -> Any:  # noqa: N802
        value = self.matrix(f.args[0], shape and shape[::-1])
        if value.ndim > 2:
            raise Unknown("a transposed tensor")
        return value.T

    def _inverse(self, f: Formula, shape: Any) -> Any:
        result = inverse(self.matrix(f.args[0], shape))
        return result.T if f.data else result

    def _diag(self, f: Formula, shape: Any) -> Any:
        value = np.asarray(self.matrix(f.args[0], shape))
        if value.ndim == 0:
            raise Unknown("the diagonal matrix of a number")
        return np.diag(value.ravel())

    def _kron(self, f: Formula, shape: Any) -> Any:
        return np.kron(*[np.asarray(self.matrix(a, None)) for a in f.args])

    def _pow(self, f: Formula, shape: Any) -> Any:
        base, exponent = self._all(f, shape)
        if f.rank <= 1 and base.ndim == 2 and base.shape[1] > 1 and base.shape[0] > 1:
            raise Unknown("a power of a matrix")
        return base**exponent

    def _sqrt(self, f: Formula, shape: Any) -> Any:
        return np.sqrt(self.matrix(f.args[0], shape))

    def _infix(self, f: Formula, shape: Any) -> Any:
        a, b = self._all(f, shape)
        return np.asarray(INFIX[f.data[0]](a, b))

    def _cases(self, f: Formula, shape: Any) -> Any:
        values = self._all(f, shape)
        result = values[-1]
        for k in range(len(values) - 3, -1, -2):
            result = np.where(values[k + 1], values[k], result)
        return result

    def _wrap(self, f: Formula, shape: Any) -> Any:
        value = np.asarray(self.matrix(f.args[0], shape))
        match f.data[0]:
            case "‖":
                return np.sqrt((value * value).sum())
            case "|":
                return np.abs(value)
            case "[":
                return np.asarray(value, EXTENDED)
            case "⌊":
                return np.floor(value)
            case "⌈":
                return np.ceil(value)
        raise Unknown(f.data[0])

    def _index(self, f: Formula, shape: Any) -> Any:
        base = self.matrix(f.args[0], None)
        return column(_indexed(base, f.args[0].rank, self._shortened(f.data)))

    def _stack(self, f: Formula, shape: Any) -> Any:
        blocks = []
        for a in f.args:
            zeros = re.fullmatch(r"0(?:_\{(\d+)\})?", a.data[1]) if a.kind == "symbol" else None
            if zeros:
                blocks.append(np.zeros((self._size(int(zeros[1] or 1)), 1), EXTENDED))
            else:
                v = np.asarray(self.matrix(a, None))
                blocks.append(v.reshape(1, 1) if v.ndim == 0 else v)
        return np.concatenate(blocks)

    def _list(self, f: Formula, shape: Any) -> Any:
        values = [np.asarray(v).reshape(()) for v in self._all(f, shape)]
        return np.array(values, EXTENDED).reshape(-1, 1)

    def _call(self, f: Formula, shape: Any) -> Any:
        plain, words = list(f.args), {}
        while plain and plain[-1].kind == "symbol" and "=" in plain[-1].data[0]:
            key, _, word = plain.pop().data[0].partition("=")
            words[key] = word
        axes = tuple(int(k) for k in words["axis"].split(",")) if "axis" in words else None
        values = [np.asarray(v) for v in self._all(Formula(f.kind, tuple(plain)), shape)]
        return np.asarray(called(f.data[0], values, axes, "reverse" in words))

    def _sigma(self, f: Formula, shape: Any) -> Any:
        """With no free letter it is a number, in matrix notation too."""
        if set(itertools.chain(*f.data[1])) - set(f.data[0]):
            raise Unknown("free letters in matrix notation")
        return _scalar(self.elements(f, {}))

    # ---- index notation ----------------------------------------------------------------------

    def elements(self, f: Formula, sizes: Mapping[str, int]) -> Any:
        """The array of a formula with free letters: one axis for each, in the order of `sizes`."""
        every = dict(sizes)
        self._letters(f, every)
        axes = {letter: k for k, letter in enumerate(every)}
        value = np.asarray(self._element(f, axes, every))
        extra = value.ndim - len(sizes)
        if value.ndim and any(n != 1 for n in value.shape[len(sizes) :]):
            raise Unknown("a letter that nobody sums over")
        value = value.reshape(value.shape[: len(sizes)]) if extra > 0 else value
        return np.broadcast_to(value, tuple(sizes.values()))

    def _letters(self, f: Formula, found: dict[str, int]) -> None:
        """The size of every letter, from the arrays on which they stand."""
        if f.kind == "sigma":
            for a, letters in zip(f.args, f.data[1], strict=True):
                if letters and not (a.kind == "symbol" and a.data[0] == "δ"):
                    shape = _natural(self.matrix(a, None), len(letters)).shape
                    for letter, n in zip(letters, shape, strict=True):
                        if letter.isalpha():
                            found.setdefault(letter, n)
        elif f.kind == "index" and _with_letters(f.data):
            shape = _natural(self.matrix(f.args[0], None), f.data.count(",") + 1).shape
            for letter, n in zip(f.data.split(","), shape, strict=True):
                if letter.strip().isalpha():
                    found.setdefault(letter.strip(), n)
        if f.kind != "part":
            for a in f.args:
                self._letters(a, found)

    def _element(self, f: Formula, axes: Mapping[str, int], sizes: Mapping[str, int]) -> Any:
        if f.kind == "sigma":
            return self._summed(f, axes, sizes)
        if f.kind == "index" and _with_letters(f.data):
            return self._picked(f.args[0], [k.strip() for k in f.data.split(",")], axes, sizes)
        if f.kind in ("symbol", "part", "number", "ones") or not _has_letters(f):
            value = np.asarray(self.matrix(f, None))
            if value.size != 1:
                raise Unknown("an array without letters")
            return value.reshape(())
        values = [np.asarray(self._element(a, axes, sizes)) for a in f.args]
        match f.kind:
            case "neg":
                return -values[0]
            case "sum":
                return sum(values[1:], values[0])
            case "mul" | "had" | "mat":
                result = values[0]
                for v in values[1:]:
                    result = result * v
                return result
            case "div":
                return values[0] / values[1]
            case "pow":
                return values[0] ** values[1]
            case "sqrt":
                return np.sqrt(values[0])
            case "infix":
                return INFIX[f.data[0]](*values)
            case "cases":
                result = values[-1]
                for k in range(len(values) - 3, -1, -2):
                    result = np.where(values[k + 1], values[k], result)
                return result
            case "wrap" if f.data[0] in ("|", "["):
                return np.abs(values[0]) if f.data[0] == "|" else values[0].astype(EXTENDED)
            case "call" if f.data[0] not in ("tr", "det", "diag", "vec", "tril", "triu"):
                return called(f.data[0], values, None)
        raise Unknown(f.kind)

    def _summed(self, f: Formula, axes: Mapping[str, int], sizes: Mapping[str, int]) -> Any:
        summed, terms = f.data
        product: Any = EXTENDED(1)
        for a, letters in zip(f.args, terms, strict=True):
            if a.kind == "symbol" and a.data[0] == "δ":
                i, j = (_places(k, axes, sizes) for k in letters)
                product = product * (i == j)
            elif letters:
                product = product * self._picked(a, letters, axes, sizes)
            else:
                product = product * np.asarray(self._element(a, axes, sizes))
        for letter in summed:
            if np.ndim(product) == 0 or product.shape[axes[letter]] == 1:
                product = product * sizes[letter]
            else:
                product = product.sum(axis=axes[letter], keepdims=True)
        return product

    def _picked(
        self, f: Formula, letters: Sequence[str], axes: Mapping[str, int], sizes: Mapping[str, int]
    ) -> Any:
        """The elements of an array at letters, at letters with a shift, or at numbers."""
        value = _natural(self.matrix(f, None), len(letters))
        places = [_places(self._shortened(k), axes, sizes) for k in letters]
        inside: Any = True
        for at, n in zip(places, value.shape, strict=True):
            inside = inside & (at >= 0) & (at < n)
        safe = [np.clip(at, 0, n - 1) for at, n in zip(places, value.shape, strict=True)]
        return np.where(inside, value[tuple(safe)], np.nan)


def is_eye(f: Formula) -> bool:
    """Whether it is an identity matrix without a size, perhaps with factors in front."""
    while f.kind in ("neg", "mul", "div"):
        f = f.args[0 if f.kind == "div" else -1]
    return f.kind == "eye" and f.data is None


def _with_letters(index: str) -> bool:
    return re.search(r"[a-zA-Z]", index) is not None


def _has_letters(f: Formula) -> bool:
    if f.kind == "sigma":
        return bool(set(itertools.chain(*f.data[1])) - set(f.data[0])) or any(
            _has_letters(a) for a in f.args
        )
    if f.kind == "index" and _with_letters(f.data):
        return True
    return f.kind != "part" and any(_has_letters(a) for a in f.args)


def _places(letter: str, axes: Mapping[str, int], sizes: Mapping[str, int]) -> Any:
    """Where a letter, with or without a shift, points: integers along its axis."""
    found = re.fullmatch(r"([a-zA-Z])(?:\s*([+−-])\s*(\d+))?", letter.strip())
    if found is None:
        return np.asarray(int(letter.replace("−", "-")))
    shape = [1] * len(axes)
    shape[axes[found[1]]] = sizes[found[1]]
    shift = int(found[3] or 0) * (1 if found[2] == "+" else -1)
    return np.arange(sizes[found[1]]).reshape(shape) + shift


def _numbered(place: str, letter: str | None, value: int) -> int:
    """The index that a place such as i+1 stands for."""
    if letter is None or not place.startswith(letter):
        return int(place)
    return value + int(place[len(letter) :].replace("−", "-") or 0)


def _natural(value: Any, ndim: int) -> Any:
    """A column as the vector that it is, if one letter stands on it."""
    value = np.asarray(value)
    return value[:, 0] if ndim == 1 and value.ndim == 2 and value.shape[1] == 1 else value


def _indexed(base: Any, rank: int, text: str) -> Any:
    """x[1:], A[0, 2:]: integers and slices only."""
    parts: list[Any] = []
    for part in text.replace("−", "-").split(","):
        if not re.fullmatch(r"\s*-?\d*\s*(:\s*-?\d*\s*){0,2}", part):
            raise Unknown(text)
        numbers = [int(n) if n.strip() else None for n in part.split(":")]
        parts.append(numbers[0] if len(numbers) == 1 else slice(*numbers))
    natural = base[:, 0] if rank == 1 and base.ndim == 2 and base.shape[1] == 1 else base
    return natural[tuple(parts)]
