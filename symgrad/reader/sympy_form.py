"""A reading as SymPy expressions, with a `MatrixSymbol` for each vector and matrix.

Vectors are columns. Elementwise functions are `applyfunc`, scalars of products are traces. What
SymPy has no matrix expression for raises `Unknown`; the code's form, element by element, is there
for that. SymPy is imported when asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from symgrad.errors import UnsupportedError
from symgrad.expr.node import ARG, Expr
from symgrad.inspect.elementwise import signs
from symgrad.inspect.formula import Formula
from symgrad.inspect.sympy_form import assumptions, spelling
from symgrad.reader.functions import Unknown
from symgrad.reader.reading import Reading
from symgrad.reader.values import is_eye

_HALVES = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅙": "1/6",
           "⅛": "1/8"}  # fmt: skip
_RELATIONS = {"<": "Lt", "≤": "Le", ">": "Gt", "≥": "Ge", "=": "Eq", "≠": "Ne"}
_EXTREMES = {"max": "Max", "min": "Min"}


def to_sympy(reading: Reading, outs: Sequence[Expr]) -> list[Any]:
    """An expression for each result. Raises Unknown."""
    maker = _Maker()
    found = []
    for line, node in zip(reading.lines, outs, strict=True):
        if line.labels or line.pieces or node.ndim > 2:
            raise Unknown("elements")
        shape = (*node.shape, 1)[:2] if node.ndim else None
        found.append(maker.fitted(maker.of(line.formula, shape), shape))
    return found


class _Maker:
    """SymPy expressions of formula trees; `shape` is what an identity matrix is to fit."""

    def __init__(self) -> None:
        import sympy

        self.sp = sympy
        self.parts: dict[Any, Any] = {}

    def of(self, f: Formula, shape: Any) -> Any:
        method = getattr(self, "_" + f.kind, None)
        if method is None:
            raise Unknown(f.kind)
        return method(f, shape)

    def fitted(self, value: Any, shape: Any) -> Any:
        """A number as a matrix of that shape."""
        if shape is None or self._is_matrix(value):
            return value
        return value * self.sp.OneMatrix(*shape) if value != 0 else self.sp.ZeroMatrix(*shape)

    def _is_matrix(self, value: Any) -> bool:
        return isinstance(value, self.sp.MatrixExpr | self.sp.MatrixBase)

    def _scalar(self, value: Any) -> Any:
        """What is 1 × 1 as a number."""
        if self._is_matrix(value) and value.shape == (1, 1):
            return self.sp.Trace(value)
        return value

    def _all(self, f: Formula, shape: Any) -> list[Any]:
        values = [None if is_eye(a) else self.of(a, shape) for a in f.args]
        fit = next((v.shape for v in values if v is not None and self._is_matrix(v)), shape)
        return [self.of(a, fit) if v is None else v for a, v in zip(f.args, values, strict=True)]

    def _map(self, f: Any, values: Sequence[Any]) -> Any:
        """A function of numbers on arrays of one shape, if there is but one."""
        matrices = [v for v in values if self._is_matrix(v)]
        if not matrices:
            return f(*values)
        if len(matrices) > 1:
            raise Unknown("a function of several arrays")
        x = self.sp.Dummy("x", real=True)
        body = f(*[x if v is matrices[0] else v for v in values])
        return matrices[0].applyfunc(self.sp.Lambda(x, body))

    # ---- leaves --------------------------------------------------------------------------------

    def _symbol(self, f: Formula, shape: Any) -> Any:
        node = f.owner
        if node is None or node.op is not ARG:
            if f.data[0] == "0":
                return self.sp.Integer(0)
            raise Unknown(f"the name {f.data[0]}")
        name = f.data[0]
        if node.ndim == 0:
            return self.sp.Symbol(name, **assumptions(node))
        if node.ndim > 2:
            raise Unknown("a tensor")
        return self.sp.MatrixSymbol(name, *(*node.shape, 1)[:2])

    def _part(self, f: Formula, shape: Any) -> Any:
        if f.data.labels:
            raise Unknown("elements")
        if f.data not in self.parts:
            self.parts[f.data] = self.of(f.data.formula, None)
        return self.parts[f.data]

    def _number(self, f: Formula, shape: Any) -> Any:
        text = _HALVES.get(f.data, f.data).replace("−", "-")
        if text.endswith("π"):
            return self.sp.Rational(text[:-1] or "1") * self.sp.pi
        if not text[-1].isdigit():
            raise Unknown(text)
        return self.sp.Rational(Fraction(text))

    def _ones(self, f: Formula, shape: Any) -> Any:
        return self.sp.OneMatrix(f.data, 1)

    def _eye(self, f: Formula, shape: Any) -> Any:
        size = f.data if f.data is not None else shape[0] if shape else None
        if size is None:
            raise Unknown("an identity matrix of no size")
        return self.sp.Identity(size)

    # ---- arithmetic ----------------------------------------------------------------------------

    def _neg(self, f: Formula, shape: Any) -> Any:
        return -self.of(f.args[0], shape)

    def _sum(self, f: Formula, shape: Any) -> Any:
        values = self._all(f, shape)
        fit = next((v.shape for v in values if self._is_matrix(v)), None)
        values = [self.fitted(v, fit) for v in values]
        return functools.reduce(lambda a, b: a + b, values)

    def _mul(self, f: Formula, shape: Any) -> Any:
        return functools.reduce(lambda a, b: a * b, map(self._scalar, self._all(f, shape)))

    def _mat(self, f: Formula, shape: Any) -> Any:
        return self._scalar(functools.reduce(lambda a, b: a * b, self._all(f, shape)))

    def _had(self, f: Formula, shape: Any) -> Any:
        values = self._all(f, shape)
        scalars = [v for v in values if not self._is_matrix(v)]
        arrays = [v for v in values if self._is_matrix(v)]
        if len({v.shape for v in arrays}) > 1:
            raise Unknown("broadcasting")
        body = self.sp.HadamardProduct(*arrays) if len(arrays) > 1 else arrays[0] if arrays else 1
        return self.sp.Mul(*scalars) * body

    def _div(self, f: Formula, shape: Any) -> Any:
        a, b = self._all(f, shape)
        b = self._scalar(b)
        if not self._is_matrix(b):
            return self._scalar(a) / b
        below = self.sp.HadamardPower(b, -1)
        a = self._scalar(a)
        if not self._is_matrix(a):
            return a * below
        if a.shape != b.shape:
            raise Unknown("broadcasting")
        return self.sp.HadamardProduct(a, below)

    def _pow(self, f: Formula, shape: Any) -> Any:
        base, exponent = map(self._scalar, self._all(f, shape))
        if self._is_matrix(exponent):
            raise Unknown("a power to an array")
        return self.sp.HadamardPower(base, exponent) if self._is_matrix(base) else base**exponent

    def _sqrt(self, f: Formula, shape: Any) -> Any:
        value = self._scalar(self.of(f.args[0], shape))
        half = self.sp.Rational(1, 2)
        return self.sp.HadamardPower(value, half) if self._is_matrix(value) else value**half

    # ---- matrices ------------------------------------------------------------------------------

    def _T(self, f: Formula, shape: Any) -> Any:  # noqa: N802
        value = self.of(f.args[0], shape and shape[::-1])
        return value.T if self._is_matrix(value) else value

    def _inverse(self, f: Formula, shape: Any) -> Any:
        value = self.sp.Inverse(self.of(f.args[0], shape))
        return value.T if f.data else value

    def _diag(self, f: Formula, shape: Any) -> Any:
        return self.sp.DiagMatrix(self.of(f.args[0], None))

    def _kron(self, f: Formula, shape: Any) -> Any:
        return self.sp.KroneckerProduct(*[self.of(a, None) for a in f.args])

    # ---- functions -----------------------------------------------------------------------------

    def _wrap(self, f: Formula, shape: Any) -> Any:
        value = self.of(f.args[0], shape)
        sp = self.sp
        match f.data[0]:
            case "‖":
                return sp.sqrt(sp.Trace(value.T * value)) if self._is_matrix(value) else abs(value)
            case "|":
                return self._map(sp.Abs, [value])
            case "[":
                return sp.Piecewise((1, value), (0, True))
            case "⌊":
                return self._map(sp.floor, [value])
            case "⌈":
                return self._map(sp.ceiling, [value])
        raise Unknown(f.data[0])

    def _infix(self, f: Formula, shape: Any) -> Any:
        name = _RELATIONS.get(f.data[0])
        values = self._all(f, shape)
        if name is None or any(map(self._is_matrix, values)):
            raise Unknown(f.data[0])
        return getattr(self.sp, name)(*values)

    def _cases(self, f: Formula, shape: Any) -> Any:
        values = self._all(f, shape)
        if any(map(self._is_matrix, values)):
            raise Unknown("cases of arrays")
        pairs = list(zip(values[:-1:2], values[1::2], strict=True))
        return self.sp.Piecewise(*pairs, (values[-1], True))

    def _index(self, f: Formula, shape: Any) -> Any:
        base = self.of(f.args[0], None)
        at = [k.strip() for k in f.data.split(",")]
        if not all(k.isdigit() for k in at) or not self._is_matrix(base):
            raise Unknown("elements")
        return base[tuple([*map(int, at), 0][:2])]

    def _list(self, f: Formula, shape: Any) -> Any:
        return self.sp.ImmutableDenseMatrix([self._scalar(v) for v in self._all(f, None)])

    def _call(self, f: Formula, shape: Any) -> Any:
        sp = self.sp
        name = f.data[0]
        values = [self._scalar(v) for v in self._all(f, None)]
        match name:
            case "tr":
                return sp.Trace(*values)
            case "det":
                return sp.Determinant(*values)
            case "diag":
                return sp.DiagonalMatrix(*values) * sp.OneMatrix(values[0].shape[0], 1)
            case "softmax" if len(values) == 1 and self._is_matrix(values[0]):
                e = values[0].applyfunc(sp.exp)
                return e / sp.Trace(sp.OneMatrix(1, e.shape[0]) * e)
            case "Φ" | "φ":
                return self._map(_normal(sp, name), values)
            case "max" | "min" if len(values) > 1:
                return self._map(getattr(sp, _EXTREMES[name]), values)
            case "clip":
                return self._map(lambda x, a, b: sp.Min(sp.Max(x, a), b), values)
        try:
            body, variables = spelling(signs().get(name, name))
        except (KeyError, UnsupportedError):
            raise Unknown(name) from None
        if len(values) > len(variables):
            raise Unknown(name)
        return self._map(lambda *v: body.xreplace(dict(zip(variables, v, strict=False))), values)


def _normal(sp: Any, name: str) -> Any:
    """Φ and φ."""
    if name == "Φ":
        return lambda x: (1 + sp.erf(x / sp.sqrt(2))) / 2
    return lambda x: sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)
