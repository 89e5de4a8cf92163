"""Sums of products over index labels: the arithmetic behind formulas for readers.

A `Poly` is an array written element by element: a sum of terms, each an exact coefficient times
factors. A factor is a head with labels and an exponent: X[0,100] stands for an element of X at the
free index 0 and the summed index 100. Labels below `FIRST` are the axes of the array; those from
there on are summed over, once for the whole term; negative ones are numbers (`at`). A factor lacks
the labels on which it does not depend, so that broadcasting shows nowhere. One normal form covers
scalars, elementwise code and matrix products.

What summed labels connect is one factor, a `paren` with one term, so that powers of it meet: only
inside such heads there are summed labels. It opens where one of its own labels becomes summed.

Heads nest; nothing here recurses into them: their digests are made when they are.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from symgrad.reader.heads import (
    FIRST,
    Exponent,
    Factor,
    Head,
    Labels,
    Shape,
    Term,
    budget,
    exact,
    is_decimal,
    key,
    note,
    spend,
)
from symgrad.reader.labels import coloured


class Poly:
    """An immutable sum of terms; `terms` maps each to its coefficient, `shape` is the array's."""

    __slots__ = ("terms", "shape", "size", "depth", "_digest")

    def __init__(self, terms: dict[Term, Exponent], shape: Shape) -> None:
        self.terms, self.shape = terms, shape
        self.size = sum([f[0].size for t in terms for f in t], len(terms))
        self.depth = max([f[0].depth for t in terms for f in t], default=0)
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
Rows = list[tuple[Exponent, list[Factor]]]

Fold = Callable[[list[Factor], Mapping[int, int]], Rows | None]
FOLDS: list[Fold] = []  # what products of factors are equal to; see `folds.py`


def fold(f: Fold) -> Fold:
    """Register a function that replaces factors by a sum of products of others, or says None."""
    FOLDS.append(f)
    return f


def product(
    shape: Shape, parts: Sequence[tuple[Poly, Labels]], summed: Mapping[int, int] = {},  # noqa: B006
    raw: bool = False,
) -> Poly:  # fmt: skip
    """Σ over `summed` (label → size) of the product of the Polys, their label k being labels[k].

    Sums that would become too many terms are held together as parens.
    """
    most = budget().most_terms
    fresh = itertools.count(max(summed, default=FIRST) + 1000)
    items: list[tuple[Exponent, list[Factor], dict[int, int]]] = [(1, [], dict(summed))]
    for p, labels in sorted(parts, key=lambda part: len(part[0].terms)):
        if len(parts) > 1 < len(p.terms) and len(items) * len(p.terms) > most:
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
    for count in itertools.count():
        if not work:
            break
        if count % 16 == 0:
            spend()
        c, factors, sizes = work.pop()
        found = _settle(c, factors, dict(sizes))
        if found is None:
            continue
        c, merged, left = found
        folded = next((rows for f in FOLDS if (rows := f(merged, left)) is not None), None)
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
    """δ substituted, equal factors as powers, primes counted; None for 0."""
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
        result.append((head, labels, e))
    return c, result, sizes


def _open_summed(factors: list[Factor], sizes: dict[int, int]) -> list[Factor]:
    """Parens of one term that a summed label of the whole reaches, opened."""
    result: list[Factor] = []
    fresh = itertools.count(max(sizes) + 1000)
    for head, labels, e in factors:
        if (
            head.kind != "paren"
            or e != 1
            or not head.args[0].is_raw
            or max(labels, default=0) < FIRST
        ):
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
        head, labels, _ = paren(Poly({term: 1}, shape), 1)
        result.append((head, labels, 1))
    found: dict[tuple[Head, Labels], Exponent] = {}
    for head, labels, e in result:
        found[head, labels] = exact(found.get((head, labels), 0) + e)
    return c, tuple(sorted([(h, w, e) for (h, w), e in found.items() if e], key=key))


def _count_unused(
    c: Exponent, factors: list[Factor], sizes: dict[int, int]
) -> tuple[Exponent, list[Factor]]:
    """A summed label that no factor has multiplies by its size."""
    for f in factors:
        axis = f[0].sums_to_one
        if axis is None or f[2] != 1:
            continue
        k = f[1][axis]
        if k in sizes and sum(g[1].count(k) for g in factors) == 1:
            note("sums-to-one")
            factors = [g for g in factors if g is not f]
            del sizes[k]
    present = {k for f in factors for k in f[1] if k >= FIRST}
    named = budget().sizes
    for k in [k for k in sizes if k not in present]:
        n = sizes.pop(k)
        if n not in named:
            c = exact(c * n)
            continue
        scale, more = closed_factor(named[n]) if len(named[n].terms) > 1 else (
            next((v, list(t)) for t, v in named[n].terms.items()))  # fmt: skip
        c, factors = exact(c * scale), [*factors, *more]
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


def _canonical(c: Exponent, factors: list[Factor], sizes: dict[int, int]) -> tuple[Exponent, Term]:
    """Factors sorted, summed labels named in one way."""
    c, factors = _count_unused(c, factors, sizes)
    present = set(sizes)
    if not present:
        factors.sort(key=key)
        return c, tuple(factors)
    groups = coloured(factors, present)
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


# ---- functions of Polys ------------------------------------------------------------------------


def own_labels(p: Poly) -> Labels:
    return tuple(range(len(p.shape)))


def is_nonneg(head: Head, e: Exponent) -> bool:
    """Whether this power of the head is never negative."""
    return head.nonneg or isinstance(e, Fraction) or e % 2 == 0


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


def paren(p: Poly, e: Exponent) -> Factor:
    """A sum held together, to a power."""
    positive = all(c > 0 and all(is_nonneg(h, f) for h, _, f in t) for t, c in p.terms.items())
    head, labels = apply("paren", None, [p], positive)[:2]
    return head, labels, e


def negative(p: Poly) -> bool:
    """Whether the sign of p is to be taken out: that of its first term in one order."""
    if not p.terms:
        return False
    return p.sorted()[0][1] < 0


def closed(p: Poly) -> Poly:
    """The sum as one factor, its content in front of it."""
    if len(p.terms) < 2:
        return p
    c, factors = closed_factor(p)
    budget().atoms.add(factors[-1][0])
    return gather(p.shape, [(c, factors, {})])


def closed_factor(p: Poly) -> tuple[Exponent, list[Factor]]:
    """A sum as coefficient and factors, the last of them the sum without its content."""
    c, common, inner = content(p)
    return c, [*common, paren(inner, 1)]


def content(p: Poly) -> tuple[Exponent, Term, Poly]:
    """(c, common factors, q) with p = c · common · q; q's leading coefficient is positive.

    Negative exponents come out, so that q has no denominators.
    """
    terms = p.sorted()
    numerators = math.gcd(*[Fraction(c).numerator for _, c in terms])
    denominators = math.lcm(*[Fraction(c).denominator for _, c in terms])
    c: Exponent = exact(Fraction(numerators, denominators))
    if is_decimal(denominators):  # 1 + 0.045 x², not 0.005 (200 + 9 x²)
        simplest = min([abs(Fraction(v)) for _, v in terms], key=lambda v: v.denominator)
        c = exact(simplest) if simplest.denominator < denominators else 1
    leading = [v for t, v in terms if any(h.node in budget().positive for h, _, _ in t)]
    if (leading[0] if len(leading) == 1 else terms[0][1]) < 0:  # n - 1, not 1 - n
        c = -c
    arrays = [v for t, v in terms if len(t) == 1 and t[0][0].kind == "sym" and t[0][1]]
    if len(arrays) == 1:  # x - 1ᵀx/n, not n x - 1ᵀx
        c = exact(Fraction(arrays[0]))
    common: dict[tuple[Head, Labels], Exponent] = {}
    for n, (t, _) in enumerate(terms):
        here = {(h, w): e for h, w, e in t}
        for at in [*common, *here]:
            if n == 0:
                common[at] = here[at]
            else:
                common[at] = min(common.get(at, 0), here.get(at, 0))
    for at in [at for at in common if at[0].node in budget().positive]:
        mine = [next((e for h, w, e in t if (h, w) == at), 0) for t, _ in terms]
        common[at] = max(mine) if max(mine) < 0 else max(0, min(mine))  # x - 1ᵀx/n, as well
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
