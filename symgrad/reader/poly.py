"""Sums of products over index labels: the arithmetic behind formulas for readers.

A `Poly` is an array written element by element: a sum of terms, each an exact coefficient times
factors. A factor is a head with labels and an exponent: X[0,100] stands for an element of X at the
free index 0 and the summed index 100. Labels below `FIRST` are axes of the array; the others are
summed over, once for the whole term. A factor lacks the labels on which it does not depend, so that
broadcasting shows nowhere. One normal form covers scalars, elementwise code and matrix products.

Heads nest; nothing here recurses into them: their digests are made when they are.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

FIRST = 100  # labels from here on are summed
MOST_TERMS = 60  # more are not multiplied out
_KINDS = {k: n for n, k in enumerate(
    ("num", "sym", "delta", "ind", "det", "inv", "fn", "opaque", "paren"))}  # fmt: skip

Exponent = int | Fraction
Shape = tuple[int, ...]
Labels = tuple[int, ...]


class TooLong(Exception):
    """The time for reading is up."""


@dataclass
class Budget:
    """What one reading may cost, and what it did: a value of the context it runs in."""

    deadline: float = math.inf
    most_terms: int = MOST_TERMS
    steps: Counter[str] = field(default_factory=Counter)


BUDGET: ContextVar[Budget] = ContextVar("BUDGET")


def tick() -> None:
    """Raise `TooLong` if the time is up."""
    if time.monotonic() > _budget().deadline:
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
    """

    __slots__ = (
        "kind", "payload", "args", "shape", "symmetric", "nonneg", "node", "digest", "order",
    )  # fmt: skip

    def __init__(
        self, kind: str, payload: Any = None, args: tuple[Poly, ...] = (), shape: Shape = (),
        symmetric: bool = False, nonneg: bool = False, node: Any = None,
    ) -> None:  # fmt: skip
        self.kind, self.payload, self.args, self.shape = kind, payload, args, shape
        self.symmetric, self.nonneg, self.node = symmetric, nonneg, node
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
        return sorted({k for t in self.terms for f in t for k in f[1] if k < FIRST})

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

    def relabel(self, new: Sequence[int], shape: Shape, summed: Mapping[int, int] = {}) -> Poly:  # noqa: B006
        """Label k becomes new[k]; those from `FIRST` on are summed, with their sizes."""
        if not summed and list(new) == list(range(len(self.shape))):
            return self if shape == self.shape else Poly(self.terms, shape)
        return product(shape, [(self, tuple(new))], summed)

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
                    if k not in new:
                        new[k] = next(fresh)
                        sizes[new[k]] = n
            rows.append((c, [(h, tuple([new[k] for k in w]), e) for h, w, e in t], sizes))
        items = [(a * c, f + g, {**s, **z}) for a, f, s in items for c, g, z in rows]
    return gather(shape, items)


def gather(shape: Shape, items: Iterable[Item]) -> Poly:
    """The sum of raw terms (coefficient, factors, sizes of summed labels), in normal form."""
    terms: dict[Term, Exponent] = {}
    work = list(items)[::-1]
    while work:
        c, factors, sizes = work.pop()
        found = _settle(c, factors, dict(sizes))
        if found is None:
            continue
        c, merged, left = found
        folded = _fold(merged)
        if folded is not None:
            work += [(c * a, f, left) for a, f in reversed(folded)]
            continue
        c, term = _canonical(c, merged, left)
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
    factors = _without_deltas(factors, sizes)
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


def _without_deltas(factors: list[Factor], sizes: dict[int, int]) -> list[Factor]:
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
    return c, [(h, tuple([axes[k] for k in w]), e) for h, w, e in term]


def exponential(p: Poly) -> Poly:
    """exp(p), one term; exp(c log b + u) = bᶜ exp(u) for rational c."""
    own = tuple(range(len(p.shape)))
    rest: dict[Term, Exponent] = {}
    parts: list[tuple[Poly, Labels]] = []
    for t, c in p.terms.items():
        head, labels, e = t[0] if len(t) == 1 else (None, (), 0)
        if head is not None and e == 1 and (head.kind, head.payload) == ("fn", "log"):
            if all(k < FIRST for k in labels):
                parts.append((power(head.args[0], c), labels))
                note("exponential-of-logarithm")
                continue
        rest[t] = c
    if rest:
        factor = apply("fn", "exp", [Poly(rest, p.shape)], nonneg=True)
        parts.append((Poly({(factor,): 1}, p.shape), own))
    return product(p.shape, parts)


def power(p: Poly, e: Exponent) -> Poly:
    """p to a rational exponent, one term; a sum is held together, with its content in front."""
    if e == 1:
        return p
    if e == 0:
        return number(1, p.shape)
    if len(p.terms) == 1:
        ((term, c),) = p.terms.items()
        if all(k < FIRST for f in term for k in f[1]):
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
    if len(inner.terms) == 1 and all(k < FIRST for f in inner.factors() for k in f[1]):
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
    head, labels = apply("paren", None, [p])[:2]
    return head, labels, e


def closed(p: Poly) -> Poly:
    """The sum as one factor, its content in front of it."""
    if len(p.terms) == 1:
        ((term, _),) = p.terms.items()
        if all(k < FIRST for f in term for k in f[1]):
            return p
    elif not p.terms:
        return p
    return _power_of_sum(p, 1) if len(p.terms) > 1 else Poly({(_paren(p, 1),): 1}, p.shape)


def content(p: Poly) -> tuple[Exponent, Term, Poly]:
    """(c, common factors, q) with p = c · common · q; q's leading coefficient is positive.

    Factors with summed labels stay where they are. Negative exponents come out, so that q has no
    denominators but those of its parens that differ.
    """
    terms = p.sorted()
    numerators = math.gcd(*[Fraction(c).numerator for _, c in terms])
    denominators = math.lcm(*[Fraction(c).denominator for _, c in terms])
    c: Exponent = exact(Fraction(numerators, denominators))
    if terms[0][1] < 0:
        c = -c
    common: dict[tuple[Head, Labels], Exponent] = {}
    for n, (t, _) in enumerate(terms):
        here = {(h, w): e for h, w, e in t if all(k < FIRST for k in w)}
        for at in [*common, *here]:
            if n == 0:
                common[at] = here[at]
            else:
                common[at] = min(common.get(at, 0), here.get(at, 0))
    pulled = [(h, w, e) for (h, w), e in common.items() if e and h.kind not in ("delta", "ind")
              and not (h.kind == "fn" and h.payload == "exp")]  # fmt: skip
    pulled.sort(key=key)
    if not pulled:
        return c, (), p.scale(Fraction(1, c) if c != 1 else 1)
    undo = [(h, w, -e) for h, w, e in pulled]
    items: list[Item] = []
    for t, v in terms:
        sizes = {k: n for h, w, _ in t for k, n in zip(w, h.shape, strict=True) if k >= FIRST}
        items.append((v * Fraction(1, c), [*t, *undo], sizes))
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
        if head.kind != "fn" or not isinstance(e, int):
            continue
        rest = factors[:place] + factors[place + 1 :]
        if head.payload in SQUARES and e >= 2:
            other, constant, sign = SQUARES[head.payload]
            arg = head.args[0]
            new = Head("fn", other, (arg,), head.shape, head.symmetric)
            left = [(head, labels, e - 2)] if e > 2 else []
            note(f"{head.payload}²")
            return [(constant, rest + left), (sign, [*rest, *left, (new, labels, 2)])]
        if head.payload == "absolute" and e % 2 == 0:
            return [(c, rest + f) for c, f in _opened(head.args[0], labels, e)]
        if head.payload == "sign" and not -1 <= e <= 1:
            note("sign²")
            return [(1, rest + ([(head, labels, 1)] if e % 2 else []))]
        if head.payload == "sign" and e == 1:
            same = Head("fn", "absolute", head.args, head.shape, head.symmetric, True)
            for n, (other_head, where, f) in enumerate(rest):
                if other_head == same and where == labels and isinstance(f, int) and f % 2:
                    left = rest[:n] + rest[n + 1 :]
                    note("sign-of-absolute")
                    return [(c, left + g) for c, g in _opened(head.args[0], labels, f)]
    return None


# sin² = 1 - cos², …: the function, and the constant and sign of the square of the other.
SQUARES = {"sin": ("cos", 1, -1), "sinh": ("cosh", -1, 1), "sech": ("tanh", 1, -1)}


def _opened(p: Poly, labels: Labels, e: int) -> list[tuple[Exponent, list[Factor]]]:
    """The terms of p to the power e on these labels; a sum is one factor."""
    base = power(closed(p), e)
    return [(c, [(h, tuple([labels[k] for k in w]), f) for h, w, f in t])
            for t, c in base.terms.items()]  # fmt: skip


# ---- summed labels -----------------------------------------------------------------------------


def _canonical(
    c: Exponent, factors: list[Factor], sizes: dict[int, int]
) -> tuple[Exponent, Term]:
    """Factors sorted, summed labels named in one way; one that no factor has multiplies by n."""
    present = {k for f in factors for k in f[1] if k >= FIRST}
    for k, n in sizes.items():
        if k not in present:
            c = exact(c * n)
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
