"""Graph to Polys. What an operation means to a reader is a column of its row, `Op.reads`.

The reader `r` that such a column is given has the functions below; Polys add, subtract and
multiply as they are. Whatever has no column is a function of its arguments if it is elementwise,
else opaque.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from symgrad.expr.node import ARG, ARRAY, CONST, EYE, Expr, const_value
from symgrad.expr.op import OPS, Kind, always
from symgrad.expr.walk import toposort
from symgrad.reader.arrays import Arrays
from symgrad.reader.branches import alike, is_limit
from symgrad.reader.constants import recognised
from symgrad.reader.folds import exponential, power
from symgrad.reader.heads import (
    Exponent,
    Factor,
    Head,
    Labels,
    NoMatrixForm,
    Shape,
    budget,
    exact,
    magnitude,
    note,
    spend,
)
from symgrad.reader.poly import Poly, apply, closed, gather, negative
from symgrad.reader.poly import number as rational
from symgrad.reader.quotient import reciprocal, simpler

_HALF = Fraction(1, 2)
_LARGEST = 3000  # of what a Poly stands for: nobody reads more
_DEEPEST = 30
_MOST_TERMS = 100


class Reader(Arrays):
    """Polys of the nodes of a graph.

    names       what arguments are called
    atoms       nodes whose sums are held together
    assumed     relations that hold
    apart       what is not 0
    conditions  (p, sign): the Polys agree with the graph where p ≠ 0, p > 0
    domain      (p, sign): an operation of the graph has a value where p ≠ 0, p > 0, p ≥ 0
    """

    def __init__(
        self, names: dict[Expr, str], atoms: frozenset[Expr] = frozenset(),
        assumed: frozenset[Head] = frozenset(), apart: frozenset[Poly] = frozenset(),
    ) -> None:  # fmt: skip
        self.names, self.atoms = names, atoms
        self.assumed, self.apart = assumed, apart
        self.sizes = budget().positive
        self.variables: set[Poly] = set()
        self.position = {node: k for k, node in enumerate(names)}
        self.known: dict[Expr, Poly] = {}
        self.joined = {}
        self.conditions: dict[tuple[Poly, str], None] = {}
        self.domain: dict[tuple[Poly, str], None] = {}
        self.logs: set[Poly] = set()
        self.wanted: set[Head] = set()  # relations that have to hold for the result to be a number

    def read(self, outs: Sequence[Expr]) -> list[Poly]:
        """The Polys of `outs`."""
        for node in toposort(outs, self.known):
            spend()
            p = self._make(node)
            held = node in self.atoms or p in self.variables or -p in self.variables
            self.known[node] = closed(p) if held else p
            if p.size > _LARGEST or p.depth > _DEEPEST or len(p.terms) > _MOST_TERMS:
                raise NoMatrixForm
        return [self.known[o] for o in outs]

    def _make(self, node: Expr) -> Poly:
        if node.op is CONST:
            return self.number(const_value(node), node.shape)
        if node.op is EYE:
            return self.factor(Head("delta", node.shape[0], (), node.shape, True, True), node.shape)
        if node.op is ARG or node.op is ARRAY:
            known = None if node.op is ARG else self._constant(node)
            if known is not None:
                return known
            if node.op is ARG:
                payload: Any = (self.names[node], self.position[node])
            else:
                payload = triangle(node) or ("C", repr(node.attrs[0]))
            head = Head("sym", payload, (), node.shape, nonneg=node in self.sizes, node=node)
            return self.factor(head, node.shape)
        args = [self.known[a] for a in node.args]
        if node.op.reads is not None:
            found: Poly | None = node.op.reads(self, node, *args)
            if found is not None:
                return found
        if node.op.kind is Kind.ELEMENTWISE:
            return self.function(node.name, *args, nonneg=node.op.nonnegative is always)
        return self.opaque(node)

    def _constant(self, node: Expr) -> Poly | None:
        """A captured array that is a multiple of I, or has one value: that value."""
        values = node.attrs[0].array
        if values.dtype.kind not in "fi" or not values.size:
            return None
        if (values == values.flat[0]).all():
            return self.number(values.flat[0], node.shape)
        if values.ndim == 2 and values.shape[0] == values.shape[1]:
            if (values == values[0, 0] * np.eye(len(values))).all():
                eye = Head("delta", len(values), (), node.shape, True, True)
                return self.factor(eye, node.shape) * self.number(values[0, 0], node.shape)
        return None

    # ---- making --------------------------------------------------------------------------------

    def factor(self, head: Head, shape: Shape) -> Poly:
        """A head on the axes of an array."""
        return gather(shape, [(1, [(head, tuple(range(len(head.shape))), 1)], {})])

    def number(self, value: Any, shape: Shape = ()) -> Poly:
        """A constant, exactly if it is one that people write: 1/3, √2, 2/√π, log 2."""
        if not isinstance(value, np.generic):
            value = np.float64(value)
        if value.dtype.kind in "bi":
            return rational(int(value), shape)
        if not np.isfinite(value):
            name = "nan" if value != value else "∞"
            p = gather(shape, [(1, [(Head("num", name), (), 1)], {})])
            return -p if value < 0 else p
        c, factors = recognised(value)
        if factors and factors[0][0].kind == "fn":
            note("logarithm-of-constant")
        return gather(shape, [(c, factors, {})])

    def rational(self, c: Exponent, shape: Shape) -> Poly:
        return rational(c, shape)

    def opaque(self, node: Expr) -> Poly:
        """The node as it is, of arguments that are written as formulas."""
        attrs = repr(node.attrs)
        args = tuple(self.known[a] for a in node.args)
        head = Head("opaque", (node.name, attrs), args, node.shape, node=node,
                    nonneg=node.op.nonnegative is always)  # fmt: skip
        return self.factor(head, node.shape)

    def shares(self, node: Expr, axes: Labels) -> Poly:
        """The node as it is; its elements along the one of `axes` have the sum 1."""
        p = self.opaque(node)
        if len(axes) == 1:
            ((head, labels, _),) = next(iter(p.terms))
            head.sums_to_one = labels.index(axes[0])
        return p

    # ---- functions -----------------------------------------------------------------------------

    def function(self, name: str, *args: Poly, nonneg: bool = False) -> Poly:
        """An elementwise function."""
        factor = apply("fn", name, [simpler(a) for a in args], nonneg)
        return Poly({(factor,): 1}, args[0].shape)

    def odd(self, name: str, x: Poly) -> Poly:
        """f(-x) = -f(x)."""
        x = simpler(x)
        if not x.terms:
            return x
        if negative(x):
            note("odd-function")
            return -self.odd(name, -x)
        p = self.function(name, x)
        next(iter(p.factors()))[0].odd = True
        return p

    def even(self, name: str, x: Poly, nonneg: bool = False) -> Poly:
        """f(-x) = f(x)."""
        x = simpler(x)
        return self.function(name, -x if negative(x) else x, nonneg=nonneg)

    def absolute(self, x: Poly) -> Poly:
        """|x|: of a product, of each factor that can be negative."""
        x = simpler(x)
        if len(x.terms) == 1:
            ((term, c),) = x.terms.items()
            rest = [f for f in term if not f[0].nonneg and f[2] % 2]
            if not rest:
                return x if c > 0 else -x
            if len(rest) < len(term) or abs(c) != 1:
                good = [f for f in term if f not in rest]
                outer = gather(x.shape, [(magnitude(c), good, {})])
                return outer * self.absolute(gather(x.shape, [(1, rest, {})]))
        return self.even("absolute", x, nonneg=True)

    def sign(self, x: Poly) -> Poly:
        """sign(x): of a product, of each factor that can be negative."""
        x = simpler(x)
        if len(x.terms) == 1:
            ((term, c),) = x.terms.items()
            rest = [f for f in term if not f[0].nonneg and f[2] % 2]
            if len(rest) < len(term) or abs(c) != 1:
                s = 1 if c > 0 else -1
                if not rest:
                    return rational(s, x.shape)
                return self.sign(gather(x.shape, [(1, rest, {})])).scale(s)
        return self.odd("sign", x)

    def exp(self, x: Poly) -> Poly:
        x = simpler(x)
        return exponential(x) if x.terms else rational(1, x.shape)

    def log(self, x: Poly) -> Poly:
        """log x; logarithms of what is positive in a product stand by themselves."""
        x = simpler(x)
        self.logs.add(x)
        self.domain[x, ">"] = None
        shape = x.shape
        if x.constant == 1:
            return rational(0, shape)
        if len(x.terms) == 1:
            ((term, c),) = x.terms.items()
            if not term and c in (10, 2):
                return self.function("log", x)
            if c > 0:
                out = [f for f in term if f[0].nonneg]
                if len(out) == len(term) or (out and c == 1):
                    return self._split_log(term, c, out, shape)
        return self.function("log", x)

    def _split_log(self, term: Any, c: Exponent, out: list[Factor], shape: Shape) -> Poly:
        total = rational(0, shape)
        rest = [f for f in term if f not in out]
        for head, labels, e in out:
            if (head.kind, head.payload) == ("fn", "exp"):
                inner = head.args[0].relabel(labels, shape)
            else:
                inner = self.function("log", gather(shape, [(1, [(head, labels, 1)], {})]))
            total = total + inner.scale(e)
        if rest:
            total = total + self.function("log", gather(shape, [(1, rest, {})]))
        if c != 1:
            total = total + self.function("log", rational(c, shape))
        return total

    def power(self, x: Poly, y: Poly) -> Poly:
        """xʸ; of exponents that are no numbers, exp(y log x)."""
        e = y.constant
        if e is not None:
            return self.to_the(x, e)
        return self.exp(y * self.log(x))

    def to_the(self, x: Poly, e: Exponent) -> Poly:
        e = exact(e)
        if not x.terms and e > 0:
            return x
        if isinstance(e, Fraction):
            self.domain[x, "≥"] = None
        if e < 0:
            self.domain.update({(q, "≠"): None for q in self.zeros(x)})
        if isinstance(e, int) and 0 < e <= 4:
            result = x
            for _ in range(e - 1):
                result = result * x
            return result
        return reciprocal(x, e) if e < 0 else power(simpler(x), e)

    def root(self, x: Poly) -> Poly:
        return self.to_the(x, _HALF)

    def divide(self, x: Poly, y: Poly) -> Poly:
        if not x.terms:
            return x
        self.domain.update({(q, "≠"): None for q in self.zeros(y)})
        return x * reciprocal(y)

    def guarded(self, x: Poly, y: Poly) -> Poly:
        """x / y, which the graph takes for 0 where y is."""
        if x.terms:
            self.unless_zero(y)
        return self.divide(x, y)

    def unless_zero(self, p: Poly) -> None:
        """What is read is right where p ≠ 0."""
        for q in self.zeros(p):
            self.conditions[q, "≠"] = None
            note("guard")

    def zeros(self, p: Poly) -> Iterator[Poly]:
        """Where p is 0, one of these is."""
        if len(p.terms) != 1 or p.is_raw:
            if p.terms:
                yield -p if negative(p) else p
            return
        ((term, _),) = p.terms.items()
        for head, labels, _ in term:
            if (
                head.kind == "num"
                or head.node in self.sizes
                or head.payload in ("exp", "cosh", "sigmoid", "Φ")
            ):
                continue
            if head.kind == "paren" or head.payload == "absolute":
                yield from self.zeros(head.args[0] if head.args[0].is_raw or not labels
                                      else head.args[0].relabel(labels, p.shape))  # fmt: skip
            else:
                yield gather(p.shape, [(1, [(head, labels, 1)], {})])

    def unless_negative(self, p: Poly) -> None:
        """What is read is right where p > 0."""
        self.conditions[p, ">"] = None
        note("guard")

    def sigmoid(self, x: Poly) -> Poly:
        """σ(-x) = 1 - σ(x)."""
        x = simpler(x)
        if not x.terms:
            return rational(_HALF, x.shape)
        if negative(x):
            note("sigmoid-mirror")
            return rational(1, x.shape) - self.sigmoid(-x)
        return self.function("sigmoid", x, nonneg=True)

    def normal_cdf(self, x: Poly) -> Poly:
        """Φ(-x) = 1 - Φ(x)."""
        x = simpler(x)
        if not x.terms:
            return rational(_HALF, x.shape)
        if negative(x):
            note("normal-mirror")
            return rational(1, x.shape) - self.normal_cdf(-x)
        return self.function("Φ", x, nonneg=True)

    def erf(self, x: Poly) -> Poly:
        """2 Φ(√2 x) - 1 where that is rid of a root, else erf x."""
        x = simpler(x)
        if self._has_root_of_two(x):
            note("erf-as-normal")
            scaled = x * self.number(math.sqrt(2), x.shape)
            return self.normal_cdf(scaled).scale(2) - rational(1, x.shape)
        return self.odd("erf", x)

    def erfc(self, x: Poly) -> Poly:
        return rational(1, x.shape) - self.erf(x)

    def _has_root_of_two(self, x: Poly) -> bool:
        return bool(x.terms) and all(
            any(h.kind == "num" and h.payload == 2 for h, _, _ in t) for t in x.terms
        )

    # ---- decisions -----------------------------------------------------------------------------

    def positive(self, d: Poly) -> Poly:
        """1 where d > 0, else 0."""
        return self._relation(d, ">")

    def not_negative(self, d: Poly) -> Poly:
        """1 where d ≥ 0, else 0."""
        return self._relation(d, "≥")

    def zero(self, d: Poly) -> Poly:
        """1 where d = 0, else 0."""
        c = d.constant
        if c is not None:
            return rational(int(c == 0), d.shape)
        if len(d.terms) == 1 and all(f[0].kind in ("delta", "ind") for f in d.factors()):
            ((term, _),) = d.terms.items()
            return rational(1, d.shape) - Poly({term: 1}, d.shape)
        if len(d.terms) == 2 and () in d.terms:  # c [u > v] + k
            ((term, v),) = [(t, v) for t, v in d.terms.items() if t]
            if all(f[0].kind in ("delta", "ind") for f in term) and not Poly({term: v}, ()).is_raw:
                on = Poly({term: 1}, d.shape)
                one = rational(1, d.shape)
                k = d.terms[()]
                return on.scale(int(v + k == 0)) + (one - on).scale(int(k == 0))
        if self.apart and any(isinstance(e, Fraction) for _, _, e in d.factors()):
            if all(q in self.apart for q in self.zeros(d)):  # a root that is not 0 where this holds
                return rational(0, d.shape)
        return self._indicator(-d if negative(d) else d, "=")

    def _relation(self, d: Poly, sign: str) -> Poly:
        c = d.constant
        if c is not None:
            return rational(int(c > 0 or c == 0 and sign == "≥"), d.shape)
        if negative(d):
            return rational(1, d.shape) - self._relation(-d, "≥" if sign == ">" else ">")
        return self._indicator(d, ">" if d in self.apart else sign)

    def _indicator(self, d: Poly, sign: str) -> Poly:
        inner = d
        if len(d.terms) == 1:
            inner = d.scale(1 / Fraction(magnitude(d.sorted()[0][1])))
        factor = apply("ind", sign, [inner], True)
        return Poly({(factor,): 1}, d.shape)

    def select(self, node: Expr, c: Poly, a: Poly, b: Poly) -> Poly:
        """a where c, else b. Where floats are equal is a condition, not a case."""
        for value, other, truth in ((b, a, True), (a, b, False)):
            if _is_nan(value) and c.constant is None and self._holds(c, truth):
                return other
        if not self._is_case(node, c, a, b):
            c = self.decided(c)
        if c.constant is not None:
            return a if c.constant else b
        if a == b:
            return a
        same = self._same_function(node)
        if same is not None:
            return same
        return c * (a - b) + b

    def _is_case(self, node: Expr, c: Poly, a: Poly, b: Poly) -> bool:
        """Whether a selection by one equality has a value there that is no limit and no guard's."""
        side, other = (a, b) if len(c.terms) == 1 else (b, a)
        one = (c if side is a else rational(1, c.shape) - c).terms
        if len(one) != 1:
            return False
        ((term, v),) = one.items()
        if v != 1 or len(term) != 1 or (term[0][0].kind, term[0][0].payload) != ("ind", "="):
            return False
        if not side.terms or side.constant == _HALF and not other.terms:
            return False
        d = term[0][0].args[0]
        linear = [(t[0][0].node, k) for t, k in d.terms.items()
                  if len(t) == 1 and t[0][2] == 1 and t[0][0].node is not None]  # fmt: skip
        if len(linear) != 1 or len(d.terms) - len(linear) != (() in d.terms):
            return True
        x, k = linear[0]
        return x.op is not ARG or not is_limit(node, x, float(-d.terms.get((), 0) / k))

    def decided(self, c: Poly) -> Poly:
        """A truth value with what is assumed; where floats are equal is a condition."""
        c = self._drop_ties(c)
        if self.assumed and any(f[0] in self.assumed for f in c.factors()):
            items: list[Any] = []
            for t, v in c.terms.items():
                items.append((v, [f for f in t if f[0] not in self.assumed], {}))
            c = gather(c.shape, items)
        return c

    def _holds(self, c: Poly, truth: bool) -> bool:
        """Make c, or its opposite, a condition, if that is u > 0 or u ≠ 0."""
        for p in (c, rational(1, c.shape) - c):
            if len(p.terms) != 1:
                continue
            ((term, v),) = p.terms.items()
            if v == 1 and len(term) == 1 and term[0][0].kind == "ind":
                head, labels, _ = term[0]
                d = head.args[0].relabel(labels, p.shape)
                if head.payload == "=":
                    if (p is c) == truth:
                        return False
                    self.domain.update({(q, "≠"): None for q in self.zeros(d)})
                    return True
                if (p is c) != truth:
                    continue
                self.unless_negative(d)
                self.wanted.add(head)
                return True
        return False

    def _same_function(self, node: Expr) -> Poly | None:
        """Two ways to compute one function, each where it is accurate: the shorter one."""
        sides = alike(node)
        if sides is None:
            return None
        note("two-ways")
        polys = self.read(sides)
        return min(polys, key=lambda p: (len(p.terms), p.size, p.digest))

    def _drop_ties(self, c: Poly) -> Poly:
        ties = {f[0]: f for f in c.factors() if f[0].kind == "ind" and f[0].payload == "="}
        for head, (_, labels, _) in ties.items():
            d = head.args[0]
            left = Poly({t: v for t, v in c.terms.items()
                         if all(f[0] != head for f in t)}, c.shape)  # fmt: skip
            inside = self._drop_ties(d)
            if inside != d:  # a count of ties
                found = gather(c.shape, [(v, [f for f in t if f[0] != head], {}) for t, v
                                         in c.terms.items() if t not in left.terms])  # fmt: skip
                c = left + found * self.zero(inside.relabel(labels, c.shape))
            elif not all(_is_discrete(f[0]) for f in d.factors()):
                self.unless_zero(d.relabel(labels, c.shape))
                c = left
        return c


def _is_discrete(head: Head) -> bool:
    """Whether a value is one of few, so that two of them are equal more often than never."""
    if head.kind == "fn":
        row = OPS.get(head.payload)
        return row is not None and row.partials is not None and not any(row.partials)
    if head.node is not None:
        return not head.node.dtype.startswith("float")
    return head.kind in ("num", "ind", "delta")


def _is_nan(p: Poly) -> bool:
    return any(h.kind == "num" and h.payload == "nan" for h, _, _ in p.factors())


def triangle(node: Expr) -> tuple[str, str] | None:
    """Whether a captured array is 1 on and below the diagonal, or on and above it, else 0."""
    values = node.attrs[0].array
    if values.ndim == 2 and values.shape[0] == values.shape[1] > 1:
        ones = np.ones(values.shape)
        if (values == np.tril(ones)).all():
            return "tri", "lower"
        if (values == np.triu(ones)).all():
            return "tri", "upper"
    return None
