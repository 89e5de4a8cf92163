"""One term of a Poly in matrix notation, and the heads that factors are made of."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from symgrad.expr.node import ARRAY, Expr
from symgrad.inspect import algebra as F
from symgrad.inspect.contract import Contraction, trace
from symgrad.inspect.elementwise import ELEMENTWISE, calls
from symgrad.inspect.formula import Formula
from symgrad.inspect.matrix import Notation
from symgrad.inspect.naming import latex_name, plain_name, short_number
from symgrad.inspect.spelling import MAKERS
from symgrad.reader.cost import cost
from symgrad.reader.folds import power
from symgrad.reader.heads import (
    FIRST,
    Exponent,
    Factor,
    Head,
    Labels,
    NoMatrixForm,
    Shape,
    budget,
    exact,
    is_decimal,
    key,
    magnitude,
)
from symgrad.reader.poly import Poly
from symgrad.reader.reading import Condition, Part

Write = Callable[[Poly], Formula]
_SIGNS = {
    ">": (">", ">"), "≥": ("≥", r"\ge"), "=": ("=", "="), "≠": ("≠", r"\ne"),
    "<": ("<", "<"), "≤": ("≤", r"\le"),
}  # fmt: skip


# ---- numbers -----------------------------------------------------------------------------------


def integer(n: int) -> Formula:
    return F.number(np.int64(n)) if abs(n) < 2**62 else F.number(np.float64(n))


def rational(c: Exponent) -> Formula:
    """A number that stands alone: 2, 0.5, 1/3."""
    c = Fraction(c)
    if c.denominator == 1:
        return integer(c.numerator)
    if is_decimal(c.denominator) or c.denominator in (2, 4, 5, 8):
        return F.number(np.float64(float(c)))
    return F.divide(integer(c.numerator), integer(c.denominator))


def numbers(c: Exponent, factors: Sequence[Factor]) -> tuple[list[Formula], list[Formula]]:
    """A positive coefficient with powers of primes and of π: above and below the bar."""
    c = Fraction(c)
    up, down = c.numerator, c.denominator
    roots = [1, 1]
    pi = [False, False]
    above: list[Formula] = []
    below: list[Formula] = []
    for head, _, e in factors:
        base = head.payload
        if base == "π":
            whole, half = int(e), Fraction(e) - int(e)
            if abs(half) == Fraction(1, 2):
                pi[half < 0] = True
            elif half:
                above.append(F.power(_pi(), rational(half), 0))
            if whole:
                side = above if whole > 0 else below
                side.append(F.power(_pi(), integer(abs(whole)), 0))
        elif not isinstance(base, int):
            above.append(F.symbol(str(base), r"\infty" if base == "∞" else r"\mathrm{nan}"))
        elif e == Fraction(1, 2):
            if down % base == 0:
                down //= base
                roots[1] *= base
            else:
                roots[0] *= base
        else:
            above.append(F.power(integer(base), rational(e), 0))
    for side, n, has_pi in ((above, roots[0], pi[0]), (below, roots[1], pi[1])):
        inside = ([integer(n)] if n != 1 else []) + ([_pi()] if has_pi else [])
        if inside:
            side.append(Formula("sqrt", (F.hadamard(inside),), None, 0))
    lengths = budget().lengths
    if lengths:
        up, down, more = _lengths(up, down, lengths)
        below += more
    if is_decimal(down):
        above.insert(0, F.number(np.float64(float(Fraction(up, down)))))
        up = down = 1
    if up != 1:
        above.insert(0, integer(up))
    if down != 1:
        below.insert(0, integer(down))
    return above, below


def _lengths(up: int, down: int, lengths: Mapping[int, Formula]) -> tuple[int, int, list[Formula]]:
    """up / down as a / b, and lengths below that; 1/3 is 2/6, but 1/2 is no multiple of 1/6."""
    found: list[Formula] = []
    for n, name in lengths.items():
        count = 0
        while down % n == 0:
            down, count = down // n, count + 1
        if count:
            found.append(F.power(name, integer(count), 0))
    for n, name in lengths.items() if not found else ():
        prime = _largest_prime(n)
        c = Fraction(up * n, down)
        if prime > 2 and down % prime == 0 and c.denominator < down:
            return c.numerator, c.denominator, [name]
    return up, down, found


def _largest_prime(n: int) -> int:
    prime = 2
    while prime * prime <= n:
        if n % prime:
            prime += 1
        else:
            n //= prime
    return n


def _pi() -> Formula:
    return Formula("number", (), "π")


# ---- heads -------------------------------------------------------------------------------------


class Known(Notation):
    """What the spellings of operations ask a notation, for arguments that are written already."""

    def __init__(self, known: dict[Any, Formula], letters: Sequence[str]) -> None:
        self.known, self.names = known, dict(enumerate(letters))  # type: ignore[arg-type]
        self.parts: list[Any] = []

    def cut(self, f: Formula, node: Expr, hint: str = "", labels: tuple[str, ...] = ()) -> Formula:
        if labels:
            raise NoMatrixForm
        return f


class _Call:
    """A stand-in for a node of an elementwise operation."""

    def __init__(self, name: str, args: tuple[int, ...]) -> None:
        self.name, self.args, self.attrs, self.dtype = name, args, (), "float64"


class Spelling:
    """Formulas of heads; `write` makes those of their arguments."""

    def __init__(self, names: dict[Expr, str], write: Write) -> None:
        self.names, self.write = names, write
        self.made: dict[Head, Formula] = {}
        self.indexed: dict[Expr, tuple[Expr, str, str]] = {}  # scalars: array, its name, index
        self.captured: list[Part] = []

    def head(self, head: Head) -> Formula:
        """The formula of a head on its own labels."""
        f = self.made.get(head)
        if f is None:
            f = self.made[head] = self._make(head)
        return f

    def turned(self, head: Head) -> list[Formula]:
        """The transpose of a function, or of a sum of few matrices, made of transposes."""
        if head.kind != "fn" and (head.kind != "paren" or head.args[0].is_raw or _is_long(head)):
            return []
        turned = tuple([a.relabel((1, 0), a.shape[::-1]) for a in head.args])
        return [self._make(Head(head.kind, head.payload, turned, head.shape[::-1]))]

    def _make(self, head: Head) -> Formula:
        match head.kind:
            case "sym":
                return self._symbol(head)
            case "paren":
                return self.write(head.args[0])
            case "inv":
                f = self.write(head.args[0])
                return F.transpose(F.inverse(f.args[0])) if f.kind == "T" else F.inverse(f)
            case "det":
                f = self.write(head.args[0])
                f = min(f, F.transpose(f), key=cost)
                return F.call("det", r"\det", [f], 0)
            case "ind":
                relation = self.relation(head)
                data = ("[", "]", r"\left[", r"\right]")
                return Formula("wrap", (relation,), data, relation.rank)
            case "fn":
                return self._function(head)
            case "opaque":
                return self._opaque(head)
        raise NoMatrixForm

    def _symbol(self, head: Head) -> Formula:
        node = head.node
        if node in self.indexed:
            array, name, index = self.indexed[node]
            base = F.symbol(plain_name(name), latex_name(name), array.ndim)
            base.owner = array
            return Formula("index", (base,), index, 0)
        if node.op is not ARRAY:
            name = self.names[node]
            f = F.symbol(plain_name(name), latex_name(name), node.ndim)
            f.owner = node
            return f
        known = Known({}, [])
        body = Notation._array(known, node)
        if body.kind == "list":
            return body
        part = Part(body, "C", f"?C{len(self.captured)}")
        self.captured.append(part)
        f = Formula("part", (), part, node.ndim)
        body.owner = node
        return f

    def condition(self, p: Poly, sign: str) -> Condition:
        """That p sign 0."""
        return Condition(self.write(p), sign, self.relation(Head("ind", sign, (p,), p.shape)))

    def relation(self, head: Head) -> Formula:
        """a > b: what has a minus sign goes to the other side."""
        d = head.args[0]
        left = {t: c for t, c in d.terms.items() if c > 0}
        right = {t: -c for t, c in d.terms.items() if c < 0}
        sides = [self.write(Poly(s, d.shape)) if s else integer(0) for s in (left, right)]
        sign = head.payload
        if not left or () in left and len(left) == 1 and right:
            sides.reverse()
            sign = {">": "<", "≥": "≤"}.get(sign, sign)
        return Formula("infix", tuple(sides), _SIGNS[sign], max(s.rank for s in sides))

    def _function(self, head: Head) -> Formula:
        if head.payload == "exp":
            f = self._powers(head.args[0])
            if f is not None:
                return f
        return self.called(head, [self.write(a) for a in head.args])

    def called(self, head: Head, args: Sequence[Formula]) -> Formula:
        """A function of formulas."""
        if head.kind == "ind":
            relation = Formula("infix", (*args, integer(0)), _SIGNS[head.payload])
            return Formula("wrap", (relation,), ("[", "]", r"\left[", r"\right]"))
        rank = max((a.rank for a in args), default=0)
        if head.payload in _OWN:
            return F.call(*_OWN[head.payload], list(args), rank)
        maker = ELEMENTWISE.get(head.payload)
        if maker is not None:
            known = Known(dict(enumerate(args)), [])
            call: Any = _Call(head.payload, tuple(range(len(args))))
            f = maker(known, call)
            if f is not None:
                return f
        return F.call(*calls(head.payload), list(args), rank)

    def _powers(self, p: Poly) -> Formula | None:
        """exp(e log b + u) as b^e exp(u); None if there is no such e."""
        exponents: dict[tuple[Head, Labels], dict[Any, Exponent]] = {}
        rest: dict[Any, Exponent] = {}
        for t, c in p.sorted():
            log = next((f for f in t if (f[0].kind, f[0].payload, f[2]) == ("fn", "log", 1)), None)
            if log is None:
                rest[t] = c
            else:
                left = tuple(f for f in t if f != log)
                exponents.setdefault(log[:2], {})[left] = c
        if not exponents:
            return None
        factors = []
        for base_, e_ in _joined_bases(exponents, p.shape):
            base, e = self.write(base_), self.write(e_)
            factors.append(F.power(base, e, max(base.rank, e.rank)))
        if rest:
            inner = self.write(Poly(rest, p.shape))
            factors.append(F.call("exp", r"\exp", [inner], inner.rank))
        return F.hadamard(factors)

    def _opaque(self, head: Head) -> Formula:
        if head.payload[0] == "kron":
            return Formula("kron", tuple([self.write(a) for a in head.args]), None, 2)
        node = head.node
        known = Known({}, list(self.names.values()))
        for a, p in zip(node.args, head.args, strict=True):
            known.known[a] = self.write(p)
        maker = MAKERS.get(node.name)
        f = None if maker is None else maker(known, node)
        return known._plain(node) if f is None else f


def _joined_bases(
    exponents: Mapping[tuple[Head, Labels], dict[Any, Exponent]], shape: Shape
) -> list[tuple[Poly, Poly]]:
    """Bases and exponents; b^e c^(-e) is (b/c)^e: each is positive, being under a logarithm."""
    found: list[tuple[Poly, Poly]] = []
    for (head, labels), terms in exponents.items():
        base, e = head.args[0].relabel(labels, shape), Poly(terms, shape)
        for k, (b, f) in enumerate(found):
            if f == -e:
                found[k] = b * power(base, -1), f
                break
        else:
            found.append((base, e))
    return found


_TRIANGLES = {
    (lower, turned): (name, rf"\operatorname{{{name}}}")
    for lower in (True, False) for turned in (True, False)
    for name in ["tril" if lower != turned else "triu"]
}  # fmt: skip
_OWN = {
    "Φ": ("Φ", r"\Phi"), "φ": ("φ", r"\varphi"), "maximum": ("max", r"\max"),
    "minimum": ("min", r"\min"), "clip": ("clip", r"\operatorname{clip}"),
}  # fmt: skip


# ---- terms -------------------------------------------------------------------------------------


Groups = dict[tuple[int, ...], tuple[list[Formula], list[Formula]]]


class TermWriter:
    """Products of factors as formulas."""

    def __init__(self, spelling: Spelling) -> None:
        self.spelling = spelling

    def term(self, c: Exponent, factors: Sequence[Factor], shape: Shape) -> Formula:
        """The formula of c times the factors, an array of this shape or what is broadcast to it.

        Raises NoMatrixForm.
        """
        rank = len(shape)
        if rank > 2:
            raise NoMatrixForm
        constants = [f for f in factors if f[0].kind == "num"]
        rest = opened_raw([f for f in factors if f[0].kind != "num"])
        above, below = numbers(magnitude(c), constants)
        if any(k < 0 for f in rest for k in f[1]):
            rest = self._elements(rest)
        deltas = [f for f in rest if f[0].kind == "delta"]
        rest = [f for f in rest if f[0].kind != "delta"]
        free = sorted({k for f in [*rest, *deltas] for k in f[1] if k < FIRST})
        output: Labels = tuple(range(rank)) if free else ()
        if deltas:
            output = (0,)
            if len(deltas) > 1 or rank != 2 or free != [0, 1]:
                raise NoMatrixForm
        if deltas and not any(0 <= k < FIRST for f in rest for k in f[1]):
            output = ()
        masks = [f for f in rest if _is_mask(f[0]) and sorted(f[1]) == [0, 1]]
        if masks and not deltas:
            rest = [f for f in rest if f not in masks]
            body, scalars_below = self._contract(rest, output, [], shape)
            for head, labels, _ in masks:
                name = _TRIANGLES[head.payload[1] == "lower", labels[0] > labels[1]]
                body = F.call(*name, [body], 2)
            body = F.matmul([*above, body], 2)
        else:
            body, scalars_below = self._contract(rest, output, above, shape)
        if deltas:
            if body.rank == 0:
                body = F.hadamard([body, Formula("eye", (), shape[0], 2)])
            else:
                body = F.diagonal(body, lambda f: f)
        below += scalars_below
        if below and body.kind == "div" and body.data:  # (a ⊘ b) / c = a ⊘ (c b)
            body = F.divide(body.args[0], F.hadamard([*below, body.args[1]]))
        elif below:
            body = F.divide(body, F.hadamard(below))
        return F.neg(body) if c < 0 else body

    def _elements(self, factors: Sequence[Factor]) -> list[Factor]:
        """x[2] as a scalar, X[2, :] as a vector."""
        result: list[Factor] = []
        for head, labels, e in factors:
            if min(labels, default=0) >= 0:
                result.append((head, labels, e))
                continue
            if head.kind == "delta":
                raise NoMatrixForm
            kept = tuple(k for k in labels if k >= 0)
            shape = tuple(n for k, n in zip(labels, head.shape, strict=True) if k >= 0)
            text = ", ".join(":" if k >= 0 else str(-1 - k) for k in labels)
            while text.endswith(", :"):
                text = text[:-3]
            base = self.spelling.head(head)
            new = Head("opaque", ("element", text, head.digest.hex()), (), shape)
            self.spelling.made[new] = Formula("index", (base,), text, len(kept))
            result.append((new, kept, e))
        return result

    def _group(
        self, factors: Sequence[Factor], sizes: dict[int, int], groups: Groups
    ) -> dict[tuple[int, ...], tuple[bool, bool]]:
        """Formulas by the labels that they stand on, above and below the bar; the masks apart."""
        masks: dict[tuple[int, ...], tuple[bool, bool]] = {}
        for head, labels, e in sorted(factors, key=key):
            if _is_mask(head):
                at = (labels[0], labels[1])
                masks[tuple(sorted(at))] = (head.payload[1] == "lower", at[0] > at[1])
                groups.setdefault(tuple(sorted(at)), ([], []))
                sizes.update(zip(labels, head.shape, strict=True))
                continue
            sizes.update(zip(labels, head.shape, strict=True))
            f = self.spelling.head(head)
            distinct = sorted(set(labels))
            if len(distinct) > 2:
                raise NoMatrixForm
            if len(labels) == 2 and len(distinct) == 1:
                if distinct[0] >= FIRST and sum(distinct[0] in g[1] for g in factors) == 1:
                    f, distinct = trace(f), []
                else:
                    f = F.call("diag", r"\operatorname{diag}", [f], 1)
            elif len(labels) == 2 and labels[0] > labels[1]:
                f = min([F.transpose(f), *self.spelling.turned(head)], key=cost)
            up, down = groups.setdefault(tuple(distinct), ([], []))
            (up if e > 0 else down).append(powered(f, magnitude(e), f.rank))
        return masks

    def _contract(
        self, factors: Sequence[Factor], output: Labels, above: list[Formula], shape: Shape
    ) -> tuple[Formula, list[Formula]]:
        """The product summed over what is not in `output`, and the scalars that divide it."""
        sizes: dict[int, int] = {k: shape[k] for k in output}
        groups: Groups = {}
        masks = self._group(factors, sizes, groups)
        around = len(output) == 2 and all((k,) in groups for k in output) and output in groups
        work = Contraction(sizes, output, lambda f: f)
        scalars_up, scalars_down = groups.pop((), ([], []))
        for where, (up, down) in groups.items():
            if down and not up and where == output:  # 5 ⊘ x, not 5 · 1 ⊘ x
                up, above = [*above, *scalars_up], []
                scalars_up = []
            f = F.hadamard(up) if up else integer(1)
            if down:
                f = F.divide(f, F.hadamard(down))
            if len(where) == 2 and where in masks:
                if not up:
                    raise NoMatrixForm
                f = F.call(*_TRIANGLES[masks[where]], [f], 2)
            if len(where) == 1:
                work.vector(where[0], f)
            else:
                work.edge(where[0], where[1], f)
        traced = {k for f in factors for k in f[1]} - {k for w in groups for k in w}
        work.live -= traced
        work.scalars = [*above, *scalars_up]
        found = work.reduce()
        if found is None:
            raise NoMatrixForm
        if around and len(groups) == 3:  # diag(x) B diag(y) = B ⊙ x yᵀ
            left, right = (work.vectors[k][0] for k in output)
            outer = F.matmul([left, F.transpose(right)], 2)
            other = F.hadamard([*work.scalars, work.edges[0][2], outer])
            if cost(other) < cost(found):
                found = other
        return found, scalars_down


def _is_long(head: Head) -> bool:
    """Whether it is other than one matrix and numbers, so that its transpose would show more."""
    rest = [t for t in head.args[0].terms if t]
    return len(rest) > 1 or any(len(t) > 1 or len(t[0][1]) < 2 for t in rest)


def _is_mask(head: Head) -> bool:
    return head.kind == "sym" and head.payload[0] == "tri"


def powered(f: Formula, e: Exponent, rank: int) -> Formula:
    """f to a positive power; roots as √, that of a squared norm as the norm."""
    e = exact(e)
    if e == 1:
        return f
    if f.kind == "pow" and F.is_number(f.args[1], "2") and f.args[0].kind == "wrap":
        return powered(f.args[0], 2 * e, rank)
    if isinstance(e, int):
        return F.power(f, integer(e), rank)
    if e == Fraction(1, 2):
        return Formula("sqrt", (f,), None, f.rank)
    return F.power(f, rational(e), rank)


def opened_raw(factors: Sequence[Factor], start: int = FIRST) -> list[Factor]:
    """What summed labels connect, opened, with labels that are all different."""
    fresh = itertools.count(start)
    result: list[Factor] = []
    for head, labels, e in factors:
        if head.kind != "paren" or e != 1 or not head.args[0].is_raw:
            result.append((head, labels, e))
            continue
        ((term, _),) = head.args[0].terms.items()
        new = dict(enumerate(labels))
        for h, where, f in term:
            for k in where:
                if k >= FIRST and k not in new:
                    new[k] = next(fresh)
            result.append((h, tuple([new.get(k, k) for k in where]), f))
    return result


__all__ = ["Spelling", "TermWriter", "integer", "opened_raw", "powered",
           "rational", "short_number"]  # fmt: skip
