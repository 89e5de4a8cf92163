"""Does a formula say what the graph computes? Both are evaluated at points, with spare digits.

In: a `Reading` and the graph that it was made of. Out: whether they agree. What is evaluated is the
tree that gets printed, not the polynomials behind it, so that every later mistake counts too. A
formula with notation that is not known here does not agree: it cannot be vouched for.

Vectors are columns while formulas are evaluated, so that every product is a product of matrices;
lines with index letters are evaluated with one axis for each letter.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from symgrad.expr.node import ARG, ARRAY, CONST, FLOATS, Expr, const_value
from symgrad.expr.op import OPS, Kind
from symgrad.expr.walk import expand_composites, toposort
from symgrad.inspect.elementwise import signs
from symgrad.inspect.formula import Formula
from symgrad.reader.reading import Condition, Reading

EXTENDED = np.longdouble
SPARE = float(np.finfo(EXTENDED).eps) < 1e-18  # Windows and arm64 macOS have no spare digits
BOUND = 1e-12 if SPARE else 1e-9  # of a value; ops without spare digits are good to 1e-16
NOISE = 1e-16 if SPARE else 1e-13  # of the largest intermediate value: what cancels may leave this
LARGEST = 1e8  # points with larger intermediate values say little
WANTED = 4  # random points at which the values were finite, and agreed
FEWEST = 3
TRIES = 40
MOST_WORK = 3e7  # multiplications of one evaluation


class Unknown(Exception):
    """Notation or an operation that cannot be evaluated here."""


def agrees(reading: Reading, args: Sequence[Expr], outs: Sequence[Expr]) -> bool:
    """Whether the formulas of `reading` have the values of `outs`, wherever its conditions hold.

    They are compared at random points and at special ones: zeros, ones, equal arguments. Where the
    graph has a finite value the formula must have it as well. At least three random points must
    be finite in all elements.
    """
    try:
        return _agrees(reading, args, outs, reading.conditions)
    except (Unknown, ValueError, TypeError, ZeroDivisionError, OverflowError, IndexError,
            KeyError, np.linalg.LinAlgError):  # fmt: skip
        return False


def needed(reading: Reading, args: Sequence[Expr], outs: Sequence[Expr]) -> tuple[Condition, ...]:
    """The conditions without which a formula fails at some special point.

    A condition that is not among them may be left out: no point was found where it matters.
    """
    kept = list(reading.conditions)
    for condition in reading.conditions:
        rest = tuple(c for c in kept if c is not condition)
        try:
            if all(_same_at(p, reading, args, outs, rest) is not False
                   for p in _special_points(args)):  # fmt: skip
                kept = list(rest)
        except (Unknown, ValueError, TypeError, ZeroDivisionError, OverflowError, IndexError,
                KeyError, np.linalg.LinAlgError):  # fmt: skip
            pass
    return tuple(kept)


Point = dict[Expr, np.ndarray]


def _agrees(
    reading: Reading, args: Sequence[Expr], outs: Sequence[Expr], conditions: Sequence[Condition]
) -> bool:
    lowered = expand_composites(outs)
    if _work(lowered) > MOST_WORK:
        raise Unknown("too large")
    good = 0
    for point in itertools.islice(_random_points(args), TRIES):
        same = _same_at(point, reading, args, lowered, conditions)
        if same is False:
            return False
        good += same is True
        if good == WANTED:
            break
    if good < FEWEST:
        return False
    return all(
        _same_at(p, reading, args, lowered, conditions) is not False for p in _special_points(args)
    )


def _work(outs: Sequence[Expr]) -> float:
    """Multiplications of contractions, elements of everything else."""
    total = 0.0
    for node in toposort(outs):
        if node.op.kind is Kind.EINSUM:
            sizes = {}
            for a, labels in zip(node.args, node.attrs[0], strict=True):
                sizes.update(zip(labels, a.shape, strict=True))
            total += float(np.prod(list(sizes.values()), dtype=float))
        else:
            total += node.size if isinstance(node.shape, tuple) else 1
    return total


def _same_at(
    point: Point,
    reading: Reading,
    args: Sequence[Expr],
    outs: Sequence[Expr],
    conditions: Sequence[Condition],
) -> bool | None:
    """Equal at a point? None if it says nothing: a condition is not met, or a value not finite."""
    with np.errstate(all="ignore"):
        formulas = Values(args, point)
        if not all(formulas.hold(c) for c in conditions):
            return None
        try:
            wanted, scale = extended(outs, point)
        except np.linalg.LinAlgError:
            return None
        if not scale < LARGEST:
            return None
        complete = True
        for line, want in zip(reading.lines, wanted, strict=True):
            finite = np.isfinite(want)
            complete &= bool(finite.all())
            if not finite.any():
                continue
            got = formulas.line(line.formula, line.labels, want.shape)
            allowed = BOUND * np.abs(want) + NOISE * max(scale, 1.0)
            if not (np.abs(got - want) <= allowed)[finite].all():
                return False
        return True if complete else None


# ---- points ----------------------------------------------------------------------------------

_DRAWS: tuple[Callable[[np.random.Generator, Any], Any], ...] = (
    lambda rng, shape: rng.normal(size=shape),
    lambda rng, shape: rng.uniform(0.2, 2.0, shape),
    lambda rng, shape: rng.uniform(0.1, 0.9, shape),
    lambda rng, shape: rng.uniform(2.0, 5.0, shape),
    lambda rng, shape: -rng.uniform(0.2, 2.0, shape),
)


def _random_points(args: Sequence[Expr]) -> Iterator[Point]:
    """All normal, all positive, all fractions; then a kind of its own for each argument."""
    rng = np.random.default_rng(20)
    for round_ in itertools.count():
        point = {}
        for a in args:
            # Matrices that are definite, where nothing else is finite.
            definite = round_ % 7 == 6 and a.ndim >= 2 and a.shape[-1] == a.shape[-2]
            kind = round_ if round_ < 3 else int(rng.integers(len(_DRAWS)))
            point[a] = _typed(a, _DRAWS[kind](rng, a.shape))
            if definite and a.dtype in FLOATS:
                m = point[a]
                point[a] = m @ np.swapaxes(m, -1, -2) + np.eye(a.shape[-1], dtype=EXTENDED)
        yield point


def _special_points(args: Sequence[Expr]) -> Iterator[Point]:
    """Zeros, ones, and equal arguments; one argument special and the others not."""
    rng = np.random.default_rng(21)

    def usual() -> Point:
        return {a: _typed(a, rng.uniform(0.2, 2.0, a.shape)) for a in args}

    for value in (0, 1, -1):
        yield {a: _typed(a, np.full(a.shape, float(value))) for a in args}
        for a in args if len(args) > 1 else ():
            yield usual() | {a: _typed(a, np.full(a.shape, float(value)))}
    for a in args:  # one element is special, which a guard for each element sees
        if a.size > 1:
            point = usual()
            point[a].flat[0] = 0
            point[a].flat[-1] = -1 if a.dtype in FLOATS else 0
            yield point
    shapes: dict[Any, list[Expr]] = {}
    for a in args:
        shapes.setdefault((a.shape, a.dtype), []).append(a)
    for alike in shapes.values():
        for a, b in itertools.islice(itertools.combinations(alike, 2), 3):
            point = usual()
            point[b] = point[a].copy()
            yield point


def _typed(a: Expr, value: Any) -> np.ndarray:
    """As an argument of that type: floats with spare digits, small integers, booleans."""
    if a.dtype in FLOATS:
        return np.asarray(value, EXTENDED)
    if a.dtype == "bool":
        return np.asarray(value) > 0.5
    return np.asarray(np.abs(np.rint(value)), a.dtype) % 3


# ---- the graph -------------------------------------------------------------------------------


def extended(outs: Sequence[Expr], point: Mapping[Expr, np.ndarray]) -> tuple[list[Any], float]:
    """The values of `outs`, and the largest intermediate value."""
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
            top = float(np.abs(value).max())
            largest = max(largest, top) if top == top else largest
    return [known[o] for o in outs], largest


def apply(op: Any, values: Sequence[Any], attrs: Sequence[Any] = ()) -> np.ndarray:
    """A row's own semantics, with the spare digits where it has them."""
    try:
        result = op.evaluate(*values, *attrs)
    except TypeError:  # NumPy's linear algebra, functions of math
        plain = [np.asarray(v, float) if v.dtype == EXTENDED else v for v in values]
        result = op.evaluate(*plain, *attrs)
    result = np.asarray(result)
    return result.astype(EXTENDED) if result.dtype.kind == "f" else result


def exact(value: Any) -> np.longdouble:
    """The number that a float stands for: 0.333… is 1/3, 0.707… is √½, 0.1 is a tenth.

    Formulas print such numbers, and a comparison should not stop at the float's own error.
    """
    if not np.isfinite(value) or value == 0:
        return EXTENDED(value)
    v, ulp = float(abs(value)), float(np.spacing(abs(value)))
    sign = 1 if value > 0 else -1
    pi = EXTENDED("3.14159265358979323846264338327950288")
    for unit, squared in ((EXTENDED(1), False), (pi, False), (EXTENDED(1), True), (pi, True)):
        ratio = v * v / float(unit) if squared else v / float(unit)
        near = Fraction(ratio).limit_denominator(1000)
        allowed = (4 if squared else 2) * ulp / v * ratio
        if near and abs(float(near) - ratio) <= allowed:
            found = EXTENDED(near.numerator) / EXTENDED(near.denominator) * unit
            return EXTENDED(sign) * (np.sqrt(found) if squared else found)
    return EXTENDED(str(value))


# ---- formulas --------------------------------------------------------------------------------


def _column(v: Any) -> Any:
    v = np.asarray(v)
    return v.reshape(-1, 1) if v.ndim == 1 else v


def _scalar(v: Any) -> Any:
    return v.reshape(()) if np.size(v) == 1 else v


def _product(a: Any, b: Any) -> Any:
    """Juxtaposition: a scalar scales, anything else is a matrix."""
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    return a @ b


def _inverse(a: Any) -> Any:
    """By elimination: NumPy has none with spare digits."""
    n = len(a)
    m = np.concatenate([np.array(a, EXTENDED), np.eye(n, dtype=EXTENDED)], axis=1)
    for k in range(n):
        p = k + int(np.argmax(np.abs(m[k:, k])))
        m[[k, p]] = m[[p, k]]
        m[k] /= m[k, k]
        for i in range(n):
            if i != k:
                m[i] -= m[i, k] * m[k]
    return m[:, n:]


def _determinant(a: Any) -> Any:
    m, n, result = np.array(a, EXTENDED), len(a), EXTENDED(1)
    for k in range(n):
        p = k + int(np.argmax(np.abs(m[k:, k])))
        if m[p, k] == 0:
            return EXTENDED(0)
        if p != k:
            m[[k, p]] = m[[p, k]]
            result = -result
        result *= m[k, k]
        for i in range(k + 1, n):
            m[i] -= m[i, k] / m[k, k] * m[k]
    return result


def _row(name: str) -> Callable[..., Any]:
    return lambda *args: apply(OPS[name], np.broadcast_arrays(*args))


def _reduction(name: str) -> Callable[..., Any]:
    def reduced(x: Any, axes: tuple[int, ...] | None) -> Any:
        column = x.ndim == 2 and x.shape[1] == 1 and axes is None
        plain = x.reshape(-1) if column else x
        axes = tuple(range(plain.ndim)) if axes is None else axes
        row = OPS[name]
        result = apply(row, [plain], (axes,)) if row.expand is None else _expanded(row, plain, axes)
        return result.reshape(x.shape) if result.shape == plain.shape else _column(result)

    return reduced


def _expanded(row: Any, x: Any, axes: tuple[int, ...]) -> Any:
    largest = np.max(x, axis=axes, keepdims=True)
    if row.name == "softmax":
        powers = np.exp(x - largest)
        return powers / powers.sum(axis=axes, keepdims=True)
    if row.name == "logsumexp":
        return np.log(np.exp(x - largest).sum(axis=axes)) + largest.reshape(
            np.sum(x, axis=axes).shape
        )
    return apply(row, [x], (axes,))


def _phi(x: Any) -> Any:
    return np.exp(-x * x / 2) / np.sqrt(2 * exact(np.float64(np.pi)))


def _ndtr(x: Any) -> Any:
    half = EXTENDED(1) / 2
    return half * apply(OPS["erfc"], [-x * np.sqrt(half)])


def _diag(v: Any) -> Any:
    if v.ndim == 2 and v.shape[1] == 1:
        return np.diag(v.ravel())
    return _column(np.diagonal(v))


def _kronecker(a: Any, b: Any) -> Any:
    return np.kron(a, b)


_CALLS: dict[str, Callable[..., Any]] = {
    "tr": np.trace, "diag": _diag, "det": _determinant, "vec": lambda v: v.T.reshape(-1, 1),
    "Φ": _ndtr, "φ": _phi, "tril": np.tril, "triu": np.triu, "kron": _kronecker,
    "clip": lambda x, low, high: np.clip(x, low, high),
    "lower": np.tril, "upper": np.triu,
    "Γ": _row("gamma"), "B": lambda a, b: np.exp(apply(OPS["betaln"], [a, b])),
    "logit": lambda p: np.log(p / (1 - p)), "¬": np.logical_not, "relu": lambda x: np.maximum(x, 0),
    "sech": lambda x: 1 / np.cosh(x), "trunc": np.trunc,
    "cof": lambda a: _determinant(a) * _inverse(a).T,
}  # fmt: skip
_INFIX: dict[str, Callable[..., Any]] = {
    "<": np.less, "≤": np.less_equal, ">": np.greater, "≥": np.greater_equal, "=": np.equal,
    "≠": np.not_equal, "∧": np.logical_and, "∨": np.logical_or, "⊻": np.logical_xor,
    "mod": np.mod, "⊗": _kronecker,
}  # fmt: skip
_BOTH: dict[str, str] = {"max": "maximum", "min": "minimum"}  # of one array, or of several
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def _number(text: str) -> Any:
    """A number as formulas spell it: 2, 0.5, 1e-3, 1/7, ½, π, 2π, √2, inf."""
    halves = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅙": "1/6",
              "⅛": "1/8"}  # fmt: skip
    text = halves.get(text, text).replace("−", "-")
    if "/" in text:
        top, bottom = text.split("/")
        return _number(top) / _number(bottom)
    if text.startswith("√"):
        return np.sqrt(_number(text[1:]))
    if text.endswith("π"):
        return _number(text[:-1] or "1") * exact(np.float64(np.pi))
    if text in ("true", "false"):
        return np.asarray(text == "true")
    return EXTENDED(text)


class Values:
    """The values of formulas at one point; parts are evaluated once."""

    def __init__(self, args: Sequence[Expr], point: Mapping[Expr, np.ndarray]) -> None:
        self.point = point
        self.parts: dict[Any, Any] = {}

    def hold(self, condition: Condition) -> bool:
        """Whether a side condition is met, in all elements."""
        value = np.asarray(self.matrix(condition.left, None))
        compare = _INFIX[condition.sign]
        return bool(compare(value, 0).all())

    def line(self, f: Formula, labels: Sequence[str], shape: tuple[int, ...]) -> Any:
        """The value of a result of that shape."""
        if labels:
            sizes = dict(zip(labels, shape, strict=True))
            return np.broadcast_to(self.elements(f, sizes), shape)
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
        later = [_is_eye(a) for a in f.args]
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
        if f.owner.op is ARRAY:
            return _column(apply(ARRAY, [], f.owner.attrs))
        return _column(self.point[f.owner])

    def _part(self, f: Formula, shape: Any) -> Any:
        part = f.data
        if part not in self.parts:
            if part.labels:
                sizes = dict(zip(part.labels, self._sizes(part), strict=True))
                self.parts[part] = _column(self.elements(part.formula, sizes))
            else:
                self.parts[part] = self.matrix(part.formula, shape)
        return self.parts[part]

    def _sizes(self, part: Any) -> list[int]:
        """The sizes of the free letters of a part, from where they stand."""
        found: dict[str, int] = {}
        self._letters(part.formula, found)
        return [found[k] for k in part.labels]

    def _number(self, f: Formula, shape: Any) -> Any:
        return _number(f.data)

    def _ones(self, f: Formula, shape: Any) -> Any:
        return np.ones((f.data, 1), EXTENDED)

    def _eye(self, f: Formula, shape: Any) -> Any:
        size = f.data if f.data is not None else shape[0] if shape else None
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
        return last

    def _mat(self, f: Formula, shape: Any) -> Any:
        values = self._all(f, shape)
        result = values[0]
        for v in values[1:]:
            result = _product(result, v)
        return _scalar(result)

    def _had(self, f: Formula, shape: Any) -> Any:
        values = self._all(f, shape)
        result = values[0]
        for v in values[1:]:
            result = result * v
        return result

    def _div(self, f: Formula, shape: Any) -> Any:
        a, b = self._all(f, shape)
        if not f.data and b.size != 1:
            raise Unknown("a quotient by an array")
        return a / (b if f.data else b.reshape(()))

    def _T(self, f: Formula, shape: Any) -> Any:  # noqa: N802
        value = self.matrix(f.args[0], shape and shape[::-1])
        if value.ndim > 2:
            raise Unknown("a transposed tensor")
        return value.T

    def _inverse(self, f: Formula, shape: Any) -> Any:
        result = _inverse(self.matrix(f.args[0], shape))
        return result.T if f.data else result

    def _diag(self, f: Formula, shape: Any) -> Any:
        value = np.asarray(self.matrix(f.args[0], shape))
        if value.ndim == 0:
            raise Unknown("the diagonal matrix of a number")
        return np.diag(value.ravel())

    def _pow(self, f: Formula, shape: Any) -> Any:
        base, exponent = self._all(f, shape)
        if f.rank <= 1 and base.ndim == 2 and base.shape[1] > 1 and base.shape[0] > 1:
            raise Unknown("a power of a matrix")
        return base**exponent

    def _sqrt(self, f: Formula, shape: Any) -> Any:
        return np.sqrt(self.matrix(f.args[0], shape))

    def _infix(self, f: Formula, shape: Any) -> Any:
        a, b = self._all(f, shape)
        return np.asarray(_INFIX[f.data[0]](a, b))

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
        return _column(_indexed(base, f.args[0].rank, f.data))

    def _stack(self, f: Formula, shape: Any) -> Any:
        blocks = []
        for a in f.args:
            zeros = re.fullmatch(r"0(?:_\{(\d+)\})?", a.data[1]) if a.kind == "symbol" else None
            if zeros:
                blocks.append(np.zeros((int(zeros[1] or 1), 1), EXTENDED))
            else:
                v = np.asarray(self.matrix(a, None))
                blocks.append(v.reshape(1, 1) if v.ndim == 0 else v)
        return np.concatenate(blocks)

    def _list(self, f: Formula, shape: Any) -> Any:
        values = [np.asarray(v).reshape(()) for v in self._all(f, shape)]
        return np.array(values, EXTENDED).reshape(-1, 1)

    def _call(self, f: Formula, shape: Any) -> Any:
        plain, axes = list(f.args), None
        if plain and plain[-1].kind == "symbol" and plain[-1].data[0].startswith("axis="):
            axes = tuple(int(k) for k in plain.pop().data[0][5:].split(","))
        values = [np.asarray(v) for v in self._all(Formula(f.kind, tuple(plain)), shape)]
        return np.asarray(_called(f.data[0], values, axes))

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
                return _INFIX[f.data[0]](*values)
            case "cases":
                result = values[-1]
                for k in range(len(values) - 3, -1, -2):
                    result = np.where(values[k + 1], values[k], result)
                return result
            case "wrap" if f.data[0] in ("|", "["):
                return np.abs(values[0]) if f.data[0] == "|" else values[0].astype(EXTENDED)
            case "call" if f.data[0] not in ("tr", "det", "diag", "vec", "tril", "triu"):
                return _called(f.data[0], values, None)
        raise Unknown(f.kind)

    def _picked(
        self, f: Formula, letters: Sequence[str], axes: Mapping[str, int], sizes: Mapping[str, int]
    ) -> Any:
        """The elements of an array at letters, at letters with a shift, or at numbers."""
        value = _natural(self.matrix(f, None), len(letters))
        places = [_places(k, axes, sizes) for k in letters]
        inside: Any = True
        for at, n in zip(places, value.shape, strict=True):
            inside = inside & (at >= 0) & (at < n)
        safe = [np.clip(at, 0, n - 1) for at, n in zip(places, value.shape, strict=True)]
        return np.where(inside, value[tuple(safe)], np.nan)


def _is_eye(f: Formula) -> bool:
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


def _called(name: str, values: list[Any], axes: tuple[int, ...] | None) -> Any:
    """A function by the sign with which formulas write it."""
    derivative = re.fullmatch(r"ψ⁽([⁰¹²³⁴⁵⁶⁷⁸⁹]+)⁾", name)
    if derivative:
        order = EXTENDED(derivative[1].translate(_DIGITS))
        return apply(OPS["polygamma"], np.broadcast_arrays(order, *values))
    if name in _CALLS:
        return _CALLS[name](*values)
    if name in _BOTH and len(values) > 1:
        result = values[0]
        for v in values[1:]:
            result = apply(OPS[_BOTH[name]], np.broadcast_arrays(result, v))
        return result
    row = OPS.get(signs().get(name, name))
    if row is None:
        raise Unknown(name)
    if row.kind is Kind.ELEMENTWISE and axes is None:
        return apply(row, np.broadcast_arrays(*values))
    if row.kind in (Kind.REDUCE, Kind.COMPOSITE) and len(values) == 1 and row.attr_names[:1]:
        return _reduction(row.name)(values[0], axes)
    raise Unknown(name)
