"""How elementwise operations are spelled in matrix notation; see `spelling`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from symgrad.expr.node import Expr
from symgrad.inspect import algebra as F
from symgrad.inspect.formula import Formula
from symgrad.inspect.naming import SUPERSCRIPT

if TYPE_CHECKING:
    from symgrad.inspect.matrix import Notation


Maker = Callable[["Notation", Expr], Formula | None]

# fmt: off
_CALLS = {
    "sin": ("sin", r"\sin"), "cos": ("cos", r"\cos"), "tan": ("tan", r"\tan"),
    "sinh": ("sinh", r"\sinh"), "cosh": ("cosh", r"\cosh"), "tanh": ("tanh", r"\tanh"),
    "arcsin": ("arcsin", r"\arcsin"), "arccos": ("arccos", r"\arccos"),
    "arctan": ("arctan", r"\arctan"), "exp": ("exp", r"\exp"), "log": ("log", r"\log"),
    "log2": ("log₂", r"\log_{2}"), "log10": ("log₁₀", r"\log_{10}"), "sigmoid": ("σ", r"\sigma"),
    "sign": ("sign", r"\operatorname{sign}"), "digamma": ("ψ", r"\psi"),
    "maximum": ("max", r"\max"), "minimum": ("min", r"\min"), "max": ("max", r"\max"),
    "min": ("min", r"\min"), "det": ("det", r"\det"), "cofactor": ("cof", r"\operatorname{cof}"),
    "cholesky": ("chol", r"\operatorname{chol}"), "cbrt": ("cbrt", r"\operatorname{cbrt}"),
}
_INFIX = {
    "less": ("<", "<"), "less_equal": ("≤", r"\le"), "greater": (">", ">"),
    "greater_equal": ("≥", r"\ge"), "equal": ("=", "="), "not_equal": ("≠", r"\ne"),
    "logical_and": ("∧", r"\land"), "logical_or": ("∨", r"\lor"), "logical_xor": ("⊻", r"\veebar"),
    "mod": ("mod", r"\bmod"),
}
# fmt: on


def calls(name: str) -> tuple[str, str]:
    """The function sign of an operation, in text and in LaTeX."""
    escaped = name.replace("_", r"\_")
    return _CALLS.get(name, (name, rf"\operatorname{{{escaped}}}"))


def signs() -> dict[str, str]:
    """The operation behind each function sign of text formulas."""
    return {text: name for name, (text, _) in _CALLS.items()}


def _one() -> Formula:
    return F.number(np.int64(1))


def _two() -> Formula:
    return F.number(np.int64(2))


def _rank(*formulas: Formula) -> int:
    return max(f.rank for f in formulas)


def _operands(self: Notation, node: Expr) -> list[Formula]:
    """Of a sum; a number beside I or diag(x) is a matrix of ones, not a multiple of I."""
    formulas = [self.known[x] for x in node.args]
    if node.ndim == 2 and any(map(F.is_diagonal, formulas)):
        return [self.full(x) for x in node.args]
    return formulas


def _add(self: Notation, node: Expr) -> Formula:
    return F.add(_operands(self, node), reorder=True)


def _subtract(self: Notation, node: Expr) -> Formula:
    a, b = _operands(self, node)
    if F.is_number(a, "0"):
        return F.neg(b)
    terms = b.args if b.kind == "sum" else (b,)
    return F.add([a, *(F.neg(t) for t in terms)], reorder=False)


def _multiply(self: Notation, node: Expr) -> Formula:
    a, b = node.args
    for x, other in ((a, b), (b, a)):
        if _spread(x) and self.known[other].rank == 2 and not _spread(other):
            scale = _diag(self, x.args[0])
            pair = [scale, self.known[other]]
            return F.matmul(pair if x.attrs[1] == (0,) else pair[::-1], 2)
    return F.hadamard([self.known[a], self.known[b]])


def _spread(node: Expr) -> bool:
    """A vector repeated along the rows or columns of a matrix."""
    return node.name == "broadcast" and node.ndim == 2 and node.args[0].ndim == 1


def _diag(self: Notation, vector: Expr) -> Formula:
    """diag(v), with a name for a large v."""
    f = self.known[vector]
    if f.rank == 0:
        return f
    return F.diagonal(f, lambda large: self.cut(large, vector, "d"))


def _divide(self: Notation, node: Expr) -> Formula:
    a, b = (self.known[x] for x in node.args)
    return F.divide(a, b)


def _slope(self: Notation, node: Expr) -> Formula:
    """a / b, and 0 where b is."""
    a, b = (self.known[x] for x in node.args)
    zero = F.number(np.int64(0))
    whether = Formula("infix", (b, zero), _INFIX["equal"], b.rank)
    return Formula("cases", (zero, whether, F.divide(a, b)), None, _rank(a, b))


def _power(self: Notation, node: Expr) -> Formula:
    a, b = (self.known[x] for x in node.args)
    return F.power(a, b, _rank(a, b))


def _of(make: Callable[[Formula], Formula]) -> Maker:
    """A maker from what it does with the formula of the only argument."""
    return lambda self, node: make(self.known[node.args[0]])


def _wrapped(*data: str) -> Maker:
    return _of(lambda f: Formula("wrap", (f,), data, f.rank))


def named(name: str, f: Formula) -> Formula:
    return F.call(*calls(name), [f], f.rank)


def _infix(self: Notation, node: Expr) -> Formula:
    pair = tuple(self.known[x] for x in node.args)
    return Formula("infix", pair, _INFIX[node.name], _rank(*pair))


def _negated(f: Formula) -> Formula:
    opposite = {"<": "≥", "≥": "<", ">": "≤", "≤": ">", "=": "≠", "≠": "="}
    if f.kind == "infix" and f.data[0] in ("=", "≠"):  # the others differ for NaN
        wanted = opposite[f.data[0]]
        return Formula("infix", f.args, next(v for v in _INFIX.values() if v[0] == wanted), f.rank)
    return F.call("¬", r"\lnot", [f], f.rank)


def _select(self: Notation, node: Expr) -> Formula:
    condition, a, b = (self.known[x] for x in node.args)
    rest = b.args if b.kind == "cases" else (b,)
    parts = (a, condition, *rest)
    return Formula("cases", parts, None, _rank(*parts))


def _convert(self: Notation, node: Expr) -> Formula | None:
    x, f = node.args[0], self.known[node.args[0]]
    if x.dtype == "bool":
        return Formula("wrap", (f,), ("[", "]", r"\left[", r"\right]"), f.rank)
    if node.dtype == "bool":
        return Formula("infix", (f, F.number(np.int64(0))), _INFIX["not_equal"], f.rank)
    if x.dtype.startswith("float") and node.dtype.startswith("int"):
        return named("trunc", f)
    return f


def _softplus(f: Formula) -> Formula:
    return named("log", F.add([_one(), named("exp", f)], reorder=False))


def _hypot(self: Notation, node: Expr) -> Formula:
    a, b = (self.known[x] for x in node.args)
    rank = _rank(a, b)
    inside = F.add([F.power(a, _two(), a.rank), F.power(b, _two(), b.rank)], reorder=False)
    return Formula("sqrt", (inside,), None, rank)


def _logaddexp(self: Notation, node: Expr) -> Formula:
    terms = [self.known[x] for x in node.args]
    powers = [_one() if F.is_number(f, "0") else named("exp", f) for f in terms]
    return named("log", F.add(powers, reorder=False))


def _xlogy(self: Notation, node: Expr) -> Formula:
    a, b = (self.known[x] for x in node.args)
    return F.hadamard([a, named("log", b)])


def _xlog1py(self: Notation, node: Expr) -> Formula:
    a, b = (self.known[x] for x in node.args)
    return F.hadamard([a, named("log", F.add([_one(), b], reorder=False))])


def _rel_entr(self: Notation, node: Expr) -> Formula:
    a, b = (self.known[x] for x in node.args)
    return F.hadamard([a, named("log", F.divide(a, b))])


def _betaln(self: Notation, node: Expr) -> Formula:
    a, b = (self.known[x] for x in node.args)
    return named("log", F.call("B", r"\mathrm{B}", [a, b], _rank(a, b)))


def _polygamma_step(self: Notation, node: Expr) -> Formula | None:
    order, x, d = (self.known[a] for a in node.args)
    after, before = _psi(order, F.add([x, d], reorder=False)), _psi(order, x)
    return after and before and F.add([after, F.neg(before)], reorder=False)


def _polygamma(self: Notation, node: Expr) -> Formula | None:
    order, x = (self.known[a] for a in node.args)
    return _psi(order, x)


def _psi(order: Formula, x: Formula) -> Formula | None:
    if F.is_number(order, "0"):
        return named("digamma", x)
    if order.kind != "number" or not order.data.isdigit():
        return None
    raised = order.data.translate(SUPERSCRIPT)
    return F.call(f"ψ⁽{raised}⁾", rf"\psi^{{({order.data})}}", [x], x.rank)


BARS = ("|", "|", r"\left\lvert ", r"\right\rvert")
_LATEX_FLOOR = (r"\left\lfloor ", r"\right\rfloor")
_LATEX_CEIL = (r"\left\lceil ", r"\right\rceil")


ELEMENTWISE: dict[str, Maker] = {
    "add": _add,
    "subtract": _subtract,
    "multiply": _multiply,
    "divide": _divide,
    "power": _power,
    "negative": _of(F.neg),
    "absolute": _wrapped(*BARS),
    "floor": _wrapped("⌊", "⌋", *_LATEX_FLOOR),
    "ceil": _wrapped("⌈", "⌉", *_LATEX_CEIL),
    "sqrt": _of(lambda f: Formula("sqrt", (f,), None, f.rank)),
    "square": _of(lambda f: F.power(f, _two(), f.rank)),
    "reciprocal": _of(lambda f: F.divide(_one(), f)),
    "exp2": _of(lambda f: F.power(_two(), f, f.rank)),
    "expm1": _of(lambda f: F.add([named("exp", f), F.neg(_one())], reorder=False)),
    "log1p": _of(lambda f: named("log", F.add([_one(), f], reorder=False))),
    "softplus": _of(_softplus),
    "gammaln": _of(lambda f: named("log", F.call("Γ", r"\Gamma", [f], f.rank))),
    "hypot": _hypot,
    "logaddexp": _logaddexp,
    "gap": _subtract,
    "slope": _slope,
    "xlogy": _xlogy,
    "xlog1py": _xlog1py,
    "rel_entr": _rel_entr,
    "betaln": _betaln,
    "polygamma": _polygamma,
    "polygamma_step": _polygamma_step,
    "logical_not": _of(_negated),
    "select": _select,
    "convert": _convert,
    **dict.fromkeys(_INFIX, _infix),
}
