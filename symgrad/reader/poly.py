"""Sums of products over index labels: the arithmetic behind formulas for readers.

A `Poly` is an array written element by element: a sum of terms, each an exact coefficient times
factors. A factor is a head with labels and an exponent: X[0,100] stands for an element of X at the
free index 0 and the summed index 100. Labels below `FIRST` are the axes of the array; those from there
on are summed over, once for the whole term; negative ones are numbers (`at`). A factor lacks the labels on which it does not depend, so that
broadcasting shows nowhere. One normal form covers scalars, elementwise code and matrix products.

What summed labels connect is one factor, a `paren` with one term, so that powers of it meet: only
inside such heads there are summed labels. It opens where one of its own labels becomes summed.

Heads nest; nothing here recurses into them: their digests are made when they are.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

FIRST = 100  # labels from here on are summed
MOST_TERMS = 60  # more are not multiplied out
MOST_OPENED = 4  # nor are higher powers of sums
_KINDS = {k: n for n, k in enumerate(
    ("num", "sym", "delta", "ind", "det", "inv", "fn", "opaque", "paren"))}  # fmt: skip

Exponent = int | Fraction
Shape = tuple[int, ...]
Labels = tuple[int, ...]


def at(index: int) -> int:
    """The label of one element."""
    return -1 - index


class TooLong(Exception):
    """The time for reading is up."""


@dataclass
class Budget:
    """What one reading may cost, and what it did: a value of the context it runs in."""

    deadline: float = math.inf
    ticks: int = 10**9  # steps of the search that are left
    most_terms: int = MOST_TERMS
    steps: Counter[str] = field(default_factory=Counter)
    atoms: set[Head] = field(default_factory=set)  # sums that are not multiplied out


BUDGET: ContextVar[Budget] = ContextVar("BUDGET")


def tick() -> None:
    """Count a step of the search; raise `TooLong` if the steps or the time are up."""
    budget = _budget()
    budget.ticks -= 1
    if budget.ticks < 0 or time.thread_time() > budget.deadline:
        raise TooLong


def note(rule: str) -> None:
    """A rule was applied."""
    _budget().steps[rule] += 1


def _budget() -> Budget:
    budget = BUDGET.get(None)
    return Budget() if budget is None else budget


class Head:
    """What a factor is made of, without its labels; equal ones have equal digests.

    kind      num (a prime or π), sym (an argument), fn (elementwise), paren (a sum held together),
              ind (1 where a relation holds, else 0), delta, inv, det, opaque
    payload   the function's or argument's name, the prime, …: strings, numbers and tuples of them
    args      Polys over the head's own labels 0, 1, …; of inv, det and opaque over theirs
    shape     sizes of the labels
    symmetric whether both orders of its two labels are the same
    nonneg    whether no value is negative
    node      the argument's node
    sums_to_one  the label whose values have the sum 1
    """

    __slots__ = (
        "kind", "payload", "args", "shape", "symmetric", "nonneg", "node", "digest", "order",
        "sums_to_one",
    )  # fmt: skip

    def __init__(
        self, kind: str, payload: Any = None, args: tuple[Poly, ...] = (), shape: Shape = (),
        symmetric: bool = False, nonneg: bool = False, node: Any = None,
    ) -> None:  # fmt: skip
        self.kind, self.payload, self.args, self.shape = kind, payload, args, shape
        self.symmetric, self.nonneg, self.node = symmetric, nonneg, node
        self.sums_to_one: int | None = None
        text = repr((kind, payload, shape, [a.digest for a in args]))
        self.digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        self.order = (_KINDS[kind], str(payload), self.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return self is other or isinstance(other, Head) and self.digest == other.digest

    def __repr__(self) -> str:
        inside = ", ".join(map(repr, self.args))
        return f"{self.payload or self.kind}" + (f"({inside})" if self.args else "")


Factor = tuple[Head, Labels, Exponent]
Term = tuple[Factor, ...]
PI = Head("num", "π", nonneg=True)


def exact(value: Exponent) -> Exponent:
    """An integer as an int: its hash and its sums are cheaper."""
    return value.numerator if value.denominator == 1 else value


def key(f: Factor) -> Any:
    """Factors and terms are sorted by it: by structure, the same in every process."""
    return f[0].order, f[1], f[2]


class Poly:
    """An immutable sum of terms; `terms` maps each to its coefficient, `shape` is the array's."""

    __slots__ = ("terms", "shape", "_digest")

    def __init__(self, terms: dict[Term, Exponent], shape: Shape) -> None:
        self.terms, self.shape = terms, shape
        self._digest: bytes | None = None

    @property
    def digest(self) -> bytes:
        if self._digest is None:
            rows = sorted(
                ([(f[0].digest, f[1], str(f[2])) for f in term], str(c))
                for term, c in self.terms.items()
            )
            text = repr((self.shape, rows)).encode()
            self._digest = hashlib.blake2b(text, digest_size=16).digest()
        return self._digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Poly) and self.shape == other.shape and self.terms == other.terms

    def __repr__(self) -> str:
        def one(f: Factor) -> str:
            index = f"[{','.join(map(str, f[1]))}]" if f[1] else ""
            return f"{f[0]!r}{index}" + (f"^{f[2]}" if f[2] != 1 else "")

        terms = [f"{c} {' '.join(map(one, t))}".strip() for t, c in self.sorted()]
        return " + ".join(terms) or "0"

    def sorted(self) -> list[tuple[Term, Exponent]]:
        """Terms and coefficients in one order."""
        return sorted(self.terms.items(), key=lambda item: ([key(f) for f in item[0]], item[1]))

    # ---- what it is ----------------------------------------------------------------------------

    @property
    def constant(self) -> Exponent | None:
        """Its value, if it is a rational number."""
        if not self.terms:
            return 0
        return self.terms.get(()) if len(self.terms) == 1 else None

    def labels(self) -> list[int]:
        """The free labels on which it depends."""
        return sorted({k for t in self.terms for f in t for k in f[1] if 0 <= k < FIRST})

    def factors(self) -> Iterable[Factor]:
        return (f for t in self.terms for f in t)

    # ---- sums ----------------------------------------------------------------------------------

    def __add__(self, other: Poly) -> Poly:
        terms = dict(self.terms)
        for t, c in other.terms.items():
            total = exact(terms.get(t, 0) + c)
            if total:
                terms[t] = total
            else:
                del terms[t]
        return Poly(terms, self.shape)

    def __neg__(self) -> Poly:
        return self.scale(-1)

    def __sub__(self, other: Poly) -> Poly:
        return self + other.scale(-1)

    def scale(self, c: Exponent) -> Poly:
        if c == 1:
            return self
        return Poly({t: exact(c * v) for t, v in self.terms.items()} if c else {}, self.shape)

    def __mul__(self, other: Poly) -> Poly:
        """Element by element."""
        own = tuple(range(len(self.shape)))
        return product(self.shape, [(self, own), (other, own)])

    # ---- labels --------------------------------------------------------------------------------

    @property
    def is_raw(self) -> bool:
        """Whether it is what a paren holds together: one term with summed labels."""
        return any(k >= FIRST for f in self.factors() for k in f[1])

    def relabel(self, new: Sequence[int], shape: Shape, summed: Mapping[int, int] = {}) -> Poly:  # noqa: B006
        """Label k becomes new[k]; those from `FIRST` on are summed, with their sizes."""
        if not summed and list(new) == list(range(len(self.shape))):
            return self if shape == self.shape else Poly(self.terms, shape)
        return product(shape, [(self, tuple(new))], summed, raw=self.is_raw)

    def compress(self) -> tuple[Poly, Labels]:
        """Without the labels on which it does not depend, and those it has."""
        used = self.labels()
        if len(used) == len(self.shape):
            return self, tuple(used)
        place = {k: n for n, k in enumerate(used)}
        new = tuple(place.get(k, -1) for k in range(len(self.shape)))
        return self.relabel(new, tuple(self.shape[k] for k in used)), tuple(used)


# ---- making ------------------------------------------------------------------------------------


def number(c: Exponent, shape: Shape = ()) -> Poly:
    """A rational constant."""
    return Poly({(): exact(c)} if c else {}, shape)


def single(factors: Iterable[Factor], shape: Shape, c: Exponent = 1) -> Poly:
    """One term."""
    return gather(shape, [(c, list(factors), {})])


Item = tuple[Exponent, list[Factor], Mapping[int, int]]


def product(
    shape: Shape, parts: Sequence[tuple[Poly, Labels]], summed: Mapping[int, int] = {},  # noqa: B006
    raw: bool = False,
) -> Poly:  # fmt: skip
    """Σ over `summed` (label → size) of the product of the Polys, their label k being labels[k].

    Sums that would become too many terms are held together as parens.
    """
    most = _budget().most_terms
    fresh = itertools.count(max(summed, default=FIRST) + 1000)
    items: list[tuple[Exponent, list[Factor], dict[int, int]]] = [(1, [], dict(summed))]
    for p, labels in sorted(parts, key=lambda part: len(part[0].terms)):
        if len(items) * len(p.terms) > most and len(p.terms) > 1:
            p = closed(p)
        rows = []
        for t, c in p.terms.items():
            new = dict(enumerate(labels))
            sizes: dict[int, int] = {}
            for head, where, _ in t:
                for k, n in zip(where, head.shape, strict=True):
                    if k >= FIRST and k not in new:
                        new[k] = next(fresh)
                        sizes[new[k]] = n
            rows.append((c, [(h, tuple([new.get(k, k) for k in w]), e) for h, w, e in t], sizes))
        items = [(a * c, f + g, {**s, **z}) for a, f, s in items for c, g, z in rows]
    return gather(shape, items, raw)


def gather(shape: Shape, items: Iterable[Item], raw: bool = False) -> Poly:
    """The sum of raw terms (coefficient, factors, sizes of summed labels), in normal form."""
    terms: dict[Term, Exponent] = {}
    work = list(items)[::-1]
    while work:
        c, factors, sizes = work.pop()
        found = _settle(c, factors, dict(sizes))
        if found is None:
            continue
        c, merged, left = found
        folded = _distributed(merged, left) or _fold(merged)
        if raw and folded is not None and len(folded) > 1:
            folded = None
        if folded is not None:
            work += [(c * a, f, left) for a, f in reversed(folded)]
            continue
        c, term = _canonical(c, merged, left) if raw else _held(c, merged, left, shape)
        total = exact(terms.get(term, 0) + c)
        if total:
            terms[term] = total
        else:
            terms.pop(term, None)
    return Poly(terms, shape)


def _settle(
    c: Exponent, factors: list[Factor], sizes: dict[int, int]
) -> tuple[Exponent, list[Factor], dict[int, int]] | None:
    """δ substituted, equal factors as powers, primes counted, exponentials merged; None for 0."""
    if not c:
        return None
    if sizes:
        factors = _open_summed(factors, sizes)
    while True:
        left = _without_deltas(factors, sizes)
        if left is None:
            return None
        factors = _without_inverse(left, sizes) if sizes else left
        if factors is left:
            break
    found: dict[tuple[Head, Labels], Exponent] = {}
    for head, labels, e in factors:
        if head.symmetric and labels[0] > labels[1]:
            labels = labels[::-1]
        found[head, labels] = found.get((head, labels), 0) + e
    result: list[Factor] = []
    growth: dict[frozenset[int], list[Factor]] = {}
    for (head, labels), e in found.items():
        e = exact(e)
        if not e:
            continue
        if head.kind in ("ind", "delta"):
            e = 1
        elif head.kind == "num" and isinstance(head.payload, int):
            whole = math.floor(e)
            c = exact(c * Fraction(head.payload) ** whole)
            e = exact(e - whole)
            if not e:
                continue
        elif head.payload == "exp" and head.kind == "fn":
            growth.setdefault(frozenset(labels), []).append((head, labels, e))
            continue
        result.append((head, labels, e))
    for group in growth.values():
        if len(group) == 1 and group[0][2] == 1:
            result += group
            continue
        new = _merged_exp(group)
        scale, more = new
        c = exact(c * scale)
        result += more
        if len(more) > 1 or more and more[0][0].payload != "exp":  # powers came out
            return _settle(c, result, sizes)
    return c, result, sizes


def _open_summed(factors: list[Factor], sizes: dict[int, int]) -> list[Factor]:
    """Parens of one term that a summed label of the whole reaches, opened."""
    result: list[Factor] = []
    fresh = itertools.count(max(sizes) + 1000)
    for head, labels, e in factors:
        if head.kind != "paren" or e != 1 or not head.args[0].is_raw or max(labels, default=0) < FIRST:
            result.append((head, labels, e))
            continue
        ((term, _),) = head.args[0].terms.items()
        new = dict(enumerate(labels))
        for h, where, f in term:
            for k, n in zip(where, h.shape, strict=True):
                if k >= FIRST and k not in new:
                    new[k] = next(fresh)
                    sizes[new[k]] = n
            result.append((h, tuple([new.get(k, k) for k in where]), f))
    return result


def _without_inverse(factors: list[Factor], sizes: dict[int, int]) -> list[Factor]:
    """A⁻¹ A = I, for a summed label that nothing else has; the same list if there is none."""
    for n, (head, labels, e) in enumerate(factors):
        if head.kind != "inv" or e != 1 or len(head.args[0].terms) != 1:
            continue
        ((term, c),) = head.args[0].terms.items()
        if len(term) != 1 or c != 1 or term[0][2] != 1 or len(term[0][1]) != 2:
            continue
        matrix, order, _ = term[0]
        for m, (other, where, f) in enumerate(factors):
            if other != matrix or f != 1 or len(where) != 2:
                continue
            ends = where if order == (0, 1) else where[::-1]
            for shared, a, b in ((ends[0], labels[0], ends[1]), (ends[1], ends[0], labels[1])):
                at = labels[1] if shared == ends[0] else labels[0]
                count = sum(w.count(shared) for _, w, _ in factors)
                if shared == at and shared >= FIRST and count == 2 and shared in sizes:
                    del sizes[shared]
                    note("inverse")
                    size = head.shape[0]
                    delta = Head("delta", size, (), (size, size), True, True)
                    rest = [g for k, g in enumerate(factors) if k not in (n, m)]
                    return [*rest, (delta, (a, b), 1)]
    return factors


def _held(
    c: Exponent, factors: list[Factor], sizes: dict[int, int], shape: Shape
) -> tuple[Exponent, Term]:
    """The term with what summed labels connect as one factor each."""
    c, factors = _count_unused(c, factors, sizes)
    if not sizes:
        factors.sort(key=key)
        return c, tuple(factors)
    groups: list[tuple[set[int], list[Factor]]] = []
    result: list[Factor] = []
    for f in factors:
        mine = {k for k in f[1] if k >= FIRST}
        if not mine:
            result.append(f)
            continue
        joined = [f]
        for g in [g for g in groups if g[0] & mine]:
            groups.remove(g)
            mine |= g[0]
            joined += g[1]
        groups.append((mine, joined))
    for mine, joined in groups:
        _, term = _canonical(1, joined, {k: sizes[k] for k in mine})
        head, labels, _ = _paren(Poly({term: 1}, shape), 1)
        result.append((head, labels, 1))
    found: dict[tuple[Head, Labels], Exponent] = {}
    for head, labels, e in result:
        found[head, labels] = exact(found.get((head, labels), 0) + e)
    return c, tuple(sorted([(h, w, e) for (h, w), e in found.items() if e], key=key))


def _count_unused(
    c: Exponent, factors: list[Factor], sizes: dict[int, int]
) -> tuple[Exponent, list[Factor]]:
    """A summed label that no factor has multiplies by its size."""
    for f in [f for f in factors if f[0].sums_to_one is not None and f[2] == 1]:
        k = f[1][f[0].sums_to_one]
        if k in sizes and sum(g[1].count(k) for g in factors) == 1:
            note("sums-to-one")
            factors = [g for g in factors if g is not f]
            del sizes[k]
    present = {k for f in factors for k in f[1] if k >= FIRST}
    for k in [k for k in sizes if k not in present]:
        c = exact(c * sizes.pop(k))
    return c, factors


def _without_deltas(factors: list[Factor], sizes: dict[int, int]) -> list[Factor] | None:
    """With the indices that a δ makes equal renamed; None if it is δ of two numbers."""
    place = 0
    while place < len(factors):
        head, labels, _ = factors[place]
        if head.kind != "delta":
            place += 1
            continue
        a, b = sorted(labels)
        if a == b:
            factors = factors[:place] + factors[place + 1 :]
            continue
        if b < 0:
            return None
        kept = [] if b >= FIRST else [(head, (a, b), 1)]
        rest = [f for k, f in enumerate(factors) if k != place]
        moved = [
            (h, tuple([a if k == b else k for k in w]), e)
            if b in w and (h.kind != "delta" or b >= FIRST) else (h, w, e)
            for h, w, e in rest
        ]  # fmt: skip
        if b >= FIRST:
            sizes.pop(b, None)
            factors, place = moved, 0
        elif (head, (a, b), 1) in rest:
            factors = rest
        else:
            factors = moved[:place] + kept + moved[place:]
            place += 1
    return factors


def _merged_exp(group: list[Factor]) -> tuple[Exponent, list[Factor]]:
    """exp(a)^e exp(b)^f as exp(e a + f b), over the labels of the group."""
    axes = sorted(group[0][1])
    place = {k: n for n, k in enumerate(axes)}
    sizes = dict(zip(group[0][1], group[0][0].shape, strict=True))
    shape = tuple([sizes[k] for k in axes])
    total = number(0, shape)
    for head, labels, e in group:
        total = total + head.args[0].relabel([place[k] for k in labels], shape).scale(e)
    if len(group) > 1:
        note("merged-exponentials")
    ((term, c),) = exponential(total).terms.items()
    return c, [(h, tuple([axes[k] if k >= 0 else k for k in w]), e) for h, w, e in term]


def exponential(p: Poly) -> Poly:
    """exp(p), one term; exp(c log b + u) = bᶜ exp(u) for rational c."""
    own = tuple(range(len(p.shape)))
    p = _linear_opened(p)
    rest: dict[Term, Exponent] = {}
    parts: list[tuple[Poly, Labels]] = []
    for t, c in p.terms.items():
        head, labels, e = t[0] if len(t) == 1 else (None, (), 0)
        if head is not None and e == 1 and (head.kind, head.payload) == ("fn", "log"):
            parts.append((power(head.args[0], c), labels))
            note("exponential-of-logarithm")
            continue
        rest[t] = c
    if rest:
        factor = apply("fn", "exp", [Poly(rest, p.shape)], nonneg=True)
        parts.append((Poly({(factor,): 1}, p.shape), own))
    return product(p.shape, parts)


def _linear_opened(p: Poly) -> Poly:
    """With the atoms opened that stand to the first power, if that makes fewer terms."""
    atoms = _budget().atoms
    items: list[Item] = []
    found = False
    for t, c in p.terms.items():
        at = next((f for f in t if f[2] == 1 and f[0] in atoms), None)
        if at is None:
            items.append((c, list(t), {}))
            continue
        found = True
        rest = [f for f in t if f != at]
        items += [(c * v, rest + f, {}) for v, f in _placed(at[0].args[0], at[1])]
    new = gather(p.shape, items) if found else p
    return new if len(new.terms) < len(p.terms) else p


def power(p: Poly, e: Exponent) -> Poly:
    """p to a rational exponent, one term; a sum is held together, with its content in front."""
    if e == 1:
        return p
    if e == 0:
        return number(1, p.shape)
    if len(p.terms) == 1 and not p.is_raw:
        ((term, c),) = p.terms.items()
        return _power_of_term(term, c, e, p.shape)
    return _power_of_sum(p, e)


def _power_of_term(term: Term, c: Exponent, e: Exponent, shape: Shape) -> Poly:
    whole = isinstance(e, int)
    if c < 0 and not whole:
        return _power_of_sum(Poly({term: c}, shape), e)
    outside: list[Factor] = []
    inside: list[Factor] = []
    for head, labels, f in term:
        if whole or is_nonneg(head, f):
            if not whole and not is_nonneg(head, 1):  # √(x²) = |x|
                positive = apply_to(head, labels, "absolute")
                outside.append((*positive, exact(f * e)))
            else:
                outside.append((head, labels, exact(f * e)))
        else:
            inside.append((head, labels, f))
    scale, primes = number_power(c, e) if not inside else (1, [])
    if primes is None or len(inside) > 1 or inside and c != 1:
        left = Poly({tuple(inside): c}, shape)
        outside.append(_paren(left, e))
        scale, primes = 1, []
    elif inside:
        head, labels, f = inside[0]
        outside.append((head, labels, exact(f * e)))
    return gather(shape, [(scale, outside + primes, {})])


def number_power(c: Exponent, e: Exponent) -> tuple[Exponent, list[Factor] | None]:
    """cᵉ as a rational number and powers of primes; None for these if c has large ones."""
    if isinstance(e, int):
        return exact(Fraction(c) ** e), []
    c = Fraction(c)
    factors: list[Factor] = []
    for n, sign in ((c.numerator, 1), (c.denominator, -1)):
        for prime in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47):
            count = 0
            while n % prime == 0 and n:
                n //= prime
                count += 1
            if count:
                factors.append((Head("num", prime, nonneg=True), (), exact(sign * count * e)))
        if n > 10_000 or n < 0:
            return 1, None
        if n > 1:  # square free as far as it matters: printed as it is
            factors.append((Head("num", n, nonneg=True), (), exact(sign * e)))
    return 1, factors


def is_nonneg(head: Head, e: Exponent) -> bool:
    """Whether this power of the head is never negative."""
    return head.nonneg or isinstance(e, Fraction) or e % 2 == 0


def _power_of_sum(p: Poly, e: Exponent) -> Poly:
    c, common, inner = content(p)
    if len(inner.terms) == 1:
        return power(product(p.shape, [(Poly({common: c}, p.shape), own_labels(p)),
                                       (inner, own_labels(p))]), e)  # fmt: skip
    whole = isinstance(e, int)
    pulled = list(common) if whole else [f for f in common if is_nonneg(f[0], f[2])]
    if len(pulled) < len(common):
        back = Poly({tuple(f for f in common if f not in pulled): 1}, p.shape)
        inner = inner * back
    if c < 0 and not whole:
        inner, c = -inner, -c
    scale, primes = number_power(c, e)
    if primes is None:
        inner, scale, primes = inner.scale(c), 1, []
    outside = Poly({tuple(pulled): 1} if pulled else {(): 1}, p.shape)
    parts = [(Poly({(_paren(inner, e),): 1}, p.shape), own_labels(p))]
    if pulled:
        parts.append((power(outside, e), own_labels(p)))
    if primes or scale != 1:
        parts.append((gather((), [(scale, primes, {})]), ()))
    return product(p.shape, parts)


def own_labels(p: Poly) -> Labels:
    return tuple(range(len(p.shape)))


def _paren(p: Poly, e: Exponent) -> Factor:
    positive = all(c > 0 and all(is_nonneg(h, f) for h, _, f in t) for t, c in p.terms.items())
    head, labels = apply("paren", None, [p], positive)[:2]
    return head, labels, e


def closed(p: Poly) -> Poly:
    """The sum as one factor, its content in front of it."""
    if len(p.terms) < 2:
        return p
    c, factors = closed_factor(p)
    _budget().atoms.add(factors[-1][0])
    return gather(p.shape, [(c, factors, {})])


def closed_factor(p: Poly) -> tuple[Exponent, list[Factor]]:
    """A sum as coefficient and factors, the last of them the sum without its content."""
    c, common, inner = content(p)
    return c, [*common, _paren(inner, 1)]


def content(p: Poly) -> tuple[Exponent, Term, Poly]:
    """(c, common factors, q) with p = c · common · q; q's leading coefficient is positive.

    Negative exponents come out, so that q has no denominators.
    """
    terms = p.sorted()
    numerators = math.gcd(*[Fraction(c).numerator for _, c in terms])
    denominators = math.lcm(*[Fraction(c).denominator for _, c in terms])
    c: Exponent = exact(Fraction(numerators, denominators))
    if terms[0][1] < 0:
        c = -c
    common: dict[tuple[Head, Labels], Exponent] = {}
    for n, (t, _) in enumerate(terms):
        here = {(h, w): e for h, w, e in t}
        for at in [*common, *here]:
            if n == 0:
                common[at] = here[at]
            else:
                common[at] = min(common.get(at, 0), here.get(at, 0))
    pulled = [(h, w, e) for (h, w), e in common.items() if e and h.kind not in ("delta", "ind")
              and not (h.kind == "fn" and h.payload == "exp")]  # fmt: skip
    pulled.sort(key=key)
    if not pulled:
        return c, (), p.scale(1 / Fraction(c))
    undo = [(h, w, -e) for h, w, e in pulled]
    items: list[Item] = []
    for t, v in terms:
        items.append((v / Fraction(c), [*t, *undo], {}))
    return c, tuple(pulled), gather(p.shape, items)


# ---- functions of Polys ------------------------------------------------------------------------


def apply(kind: str, payload: Any, args: Sequence[Poly], nonneg: bool = False) -> Factor:
    """A head of elementwise arguments, on the labels they have; one order of these of all."""
    used = sorted({k for a in args for k in a.labels()})
    whole = args[0].shape
    shape = tuple([whole[k] for k in used])
    if len(used) == 1 or not used:
        place = {k: n for n, k in enumerate(used)}
        own = [a.relabel([place.get(k, -1) for k in range(len(whole))], shape) for a in args]
        return Head(kind, payload, tuple(own), shape, nonneg=nonneg), tuple(used), 1
    best: tuple[Any, ...] | None = None
    ties = 0
    for order in itertools.permutations(used) if len(used) <= 3 else [tuple(used)]:
        place = {k: n for n, k in enumerate(order)}
        sizes = tuple([whole[k] for k in order])
        own = [a.relabel([place.get(k, -1) for k in range(len(whole))], sizes) for a in args]
        rank = [a.digest for a in own]
        if best is None or rank < best[0]:
            best, ties = (rank, own, order, sizes), 0
        elif rank == best[0]:
            ties += 1
    assert best is not None
    _, own, order, sizes = best
    head = Head(kind, payload, tuple(own), sizes, len(used) == 2 and ties > 0, nonneg)
    return head, tuple(order), 1


def apply_to(head: Head, labels: Labels, function: str) -> tuple[Head, Labels]:
    """A function of one factor, on the factor's labels."""
    axes = sorted(set(labels))
    place = {k: n for n, k in enumerate(axes)}
    sizes = dict(zip(labels, head.shape, strict=True))
    shape = tuple([sizes[k] for k in axes])
    inner = Poly({((head, tuple([place[k] for k in labels]), 1),): 1}, shape)
    new, own, _ = apply("fn", function, [inner], nonneg=function == "absolute")
    return new, tuple([axes[k] for k in own])


def _fold(factors: list[Factor]) -> list[tuple[Exponent, list[Factor]]] | None:
    """A power of a function that is a polynomial of another; None if there is none."""
    for place, (head, labels, e) in enumerate(factors):
        if min(labels, default=0) < 0 and head.kind in ("fn", "paren", "ind"):
            return _pushed(factors[:place] + factors[place + 1 :], head, labels, e)
        if not isinstance(e, int):
            continue
        if head.kind == "paren" and 0 < e <= MOST_OPENED and _opens(head, e):
            rest = factors[:place] + factors[place + 1 :]
            rest += [(head, labels, e - 1)] if e > 1 else []
            return [(c, rest + f) for c, f in _placed(head.args[0], labels)]
        if head.kind not in ("fn", "ind"):
            continue
        rest = factors[:place] + factors[place + 1 :]
        found = _fold_function(head, labels, e, rest)
        if found is not None:
            return found
    return None


def _fold_function(
    head: Head, labels: Labels, e: int, rest: list[Factor]
) -> list[tuple[Exponent, list[Factor]]] | None:
    name = head.payload
    if name in SQUARES and (e >= 2 if name != "cosh" else e <= -2):
        other, constant, sign = SQUARES[name]
        new = Head("fn", other, head.args, head.shape, head.symmetric)
        step = 2 if e > 0 else -2
        left = [(head, labels, e - step)] if e != step else []
        note(f"{name}²")
        return [(constant, rest + left), (sign, [*rest, *left, (new, labels, 2)])]
    if name == "absolute" and e % 2 == 0:
        return [(c, rest + f) for c, f in _opened(head.args[0], labels, e)]
    if name == "sign" and not -1 <= e <= 1:
        note("sign²")
        return [(1, rest + ([(head, labels, 1)] if e % 2 else []))]
    return _fold_pair(head, labels, e, rest)


def _fold_pair(
    head: Head, labels: Labels, e: int, rest: list[Factor]
) -> list[tuple[Exponent, list[Factor]]] | None:
    """sign(u) |u| = u, sign(u) u = |u|, sinh/cosh = tanh, [u > 0] [u ≥ 0] = [u > 0]."""
    name = head.payload
    for n, (other, where, f) in enumerate(rest):
        if where != labels or not isinstance(f, int):
            continue
        left = rest[:n] + rest[n + 1 :]
        if name == "sign" and e == 1:
            if other.payload == "absolute" and other.args == head.args and f % 2:
                note("sign-of-absolute")
                return [(c, left + g) for c, g in _opened(head.args[0], labels, f)]
            if f > 0 and head.args[0].terms == {((other, own_labels(head.args[0]), 1),): 1}:
                note("sign-of-absolute")
                size = Head("fn", "absolute", head.args, head.shape, head.symmetric, True)
                return [(1, [*left, (size, labels, 1), (other, where, f - 1)])]
        if other.args != head.args:
            continue
        if name == "sinh" and other.payload == "cosh" and e > 0 > f:
            k = min(e, -f)
            new = Head("fn", "tanh", head.args, head.shape, head.symmetric)
            return [(1, [*left, (head, labels, e - k), (other, labels, f + k), (new, labels, k)])]
        if name == "tanh" and other.payload == "cosh" and e > 0 and f > 0:
            new = Head("fn", "sinh", head.args, head.shape, head.symmetric)
            return [(1, [*left, (head, labels, e - 1), (other, labels, f - 1), (new, labels, 1)])]
        if head.kind == "ind" and (name, other.kind, other.payload) == (">", "ind", "≥"):
            return [(1, [*left, (head, labels, 1)])]
    return None


# sin² = 1 - cos², …: the function, and the constant and sign of the square of the other.
# Of cosh it is the square of the reciprocal.
SQUARES = {"sin": ("cos", 1, -1), "sinh": ("cosh", -1, 1), "cosh": ("tanh", 1, -1)}


def _pushed(
    rest: list[Factor], head: Head, labels: Labels, e: Exponent
) -> list[tuple[Exponent, list[Factor]]]:
    """f(u)[3] is f(u[3])."""
    kept = [k for k in labels if k >= 0]
    shape = tuple([n for k, n in zip(labels, head.shape, strict=True) if k >= 0])
    count = itertools.count()
    new = [next(count) if k >= 0 else k for k in labels]
    args = [product(shape, [(a, tuple(new))], raw=a.is_raw) for a in head.args]
    if head.kind == "paren":
        base = power(args[0], e)
        found = _placed(base, tuple(kept))
        return [(c, rest + f) for c, f in found]
    made = apply(head.kind, head.payload, args, head.nonneg)
    return [(1, [*rest, (made[0], tuple([kept[k] for k in made[1]]), e)])]


def _distributed(
    factors: list[Factor], sizes: dict[int, int]
) -> list[tuple[Exponent, list[Factor]]] | None:
    """A sum under a summed label that nothing else has is a sum of sums."""
    for place, (head, labels, e) in enumerate(factors):
        if head.kind != "paren" or e != 1 or head.args[0].is_raw:
            continue
        rest = factors[:place] + factors[place + 1 :]
        if any(k in sizes and not any(k in w for _, w, _ in rest) for k in labels):
            return [(c, rest + f) for c, f in _placed(head.args[0], labels)]
    return None


def _opens(head: Head, e: int) -> bool:
    """Whether a sum to a positive power is multiplied out."""
    count = len(head.args[0].terms)
    return 1 < count and count**e <= MOST_TERMS and head not in _budget().atoms


def _opened(p: Poly, labels: Labels, e: int) -> list[tuple[Exponent, list[Factor]]]:
    """The terms of p to the power e on these labels."""
    return _placed(power(p, e), labels)


def _placed(p: Poly, labels: Labels) -> list[tuple[Exponent, list[Factor]]]:
    return [(c, [(h, tuple([labels[k] if k >= 0 else k for k in w]), f) for h, w, f in t])
            for t, c in p.terms.items()]  # fmt: skip


# ---- summed labels -----------------------------------------------------------------------------


def _canonical(
    c: Exponent, factors: list[Factor], sizes: dict[int, int]
) -> tuple[Exponent, Term]:
    """Factors sorted, summed labels named in one way."""
    c, factors = _count_unused(c, factors, sizes)
    present = set(sizes)
    if not present:
        factors.sort(key=key)
        return c, tuple(factors)
    groups = _coloured(factors, present)
    count = math.prod(math.factorial(len(g)) for g in groups)
    choices: Iterable[tuple[tuple[int, ...], ...]] = (
        itertools.product(*[itertools.permutations(g) for g in groups])
        if count <= 120 else [tuple(map(tuple, groups))]
    )  # fmt: skip
    best: Any = None
    for choice in choices:
        new = {k: FIRST + n for n, k in enumerate(itertools.chain(*choice))}
        renamed = []
        for head, labels, e in factors:
            labels = tuple([new.get(k, k) for k in labels])
            if head.symmetric and labels[0] > labels[1]:
                labels = labels[::-1]
            renamed.append((head, labels, e))
        renamed.sort(key=key)
        rank = [key(f) for f in renamed]
        if best is None or rank < best[0]:
            best = rank, renamed
    return c, tuple(best[1])


def _coloured(factors: list[Factor], present: set[int]) -> list[list[int]]:
    """Summed labels in groups that what they connect does not tell apart, in one order."""
    colour = dict.fromkeys(present, 0)
    for _ in range(len(present)):
        seen: dict[int, list[Any]] = {k: [] for k in colour}
        for head, labels, e in factors:
            around = [(0, k) if k < FIRST else (1, colour[k]) for k in labels]
            for axis, k in enumerate(labels):
                if k >= FIRST:
                    if head.symmetric:
                        seen[k].append((head.order, e, 0, sorted(around)))
                    else:
                        seen[k].append((head.order, e, axis, around))
        marks = {k: (colour[k], sorted(rows)) for k, rows in seen.items()}
        ranked: list[Any] = []
        for m in sorted(marks.values()):
            if not ranked or ranked[-1] != m:
                ranked.append(m)
        new = {k: ranked.index(m) for k, m in marks.items()}
        if len(set(new.values())) == len(set(colour.values())):
            colour = new
            break
        colour = new
    groups: dict[int, list[int]] = {}
    for k in sorted(present):
        groups.setdefault(colour[k], []).append(k)
    return [groups[n] for n in sorted(groups)]
