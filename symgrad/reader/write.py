"""The cheapest formula of a Poly: candidates within a budget, by what they cost a reader.

Bottom-up, each Poly once: the sum as it stands; a factor pulled out of the terms that have it,
those with summed labels too (the label is free inside); over a common denominator; divided by what
has a name of its own (1 - σ(u), 1 - cos²); max and clip. A single term is a product of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from symgrad.expr.node import Expr
from symgrad.inspect import algebra as F
from symgrad.inspect.formula import Formula
from symgrad.inspect.naming import latex_name, plain_name
from symgrad.reader.cost import cost, saved_by_names
from symgrad.reader.elements import Elements
from symgrad.reader.folds import number_power
from symgrad.reader.heads import (
    FIRST,
    Exponent,
    Factor,
    Head,
    NoMatrixForm,
    TooLong,
    exact,
    key,
    magnitude,
    note,
    tick,
)
from symgrad.reader.notation import (
    Spelling,
    TermWriter,
    integer,
    opened_raw,
    rational,
)
from symgrad.reader.poly import Poly, apply, content, gather
from symgrad.reader.quotient import divided, together
from symgrad.reader.reading import Part
from symgrad.reader.rules import (
    angles,
    conjugates,
    divisors,
    exponentials,
    extremes,
    logarithms,
    spellings,
    squares,
)

MOST_PULLS = 8
LONG = 8  # terms; above it only FEW_PULLS are tried
FEW_PULLS = 3
MOST_DIVISIONS = 4
FEW_DIVIDED = 3  # terms beside common factors
MOST_EXTENT = 1500  # nodes of a tree; what shares much can be long without being large
DEEPEST = 12
OUTER = 3  # sums this deep are chosen with regard to names

Row = tuple[Exponent, list[Factor]]


class _Extents:
    """How many nodes trees have when they are written out; what they share is counted once."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Formula, int]] = {}

    def of(self, f: Formula) -> int:
        found = self.known.get(id(f))
        if found is None:
            found = self.known[id(f)] = f, 1 + sum(map(self.of, f.args))
        return found[1]


class Writer:
    """Formulas of Polys for one graph."""

    def __init__(self, names: dict[Expr, str]) -> None:
        self.spelling = Spelling(names, self.write)
        self.terms = TermWriter(self.spelling)
        self.known: dict[tuple[Poly, tuple[int, ...]], Formula] = {}
        self.named: dict[Poly, str] = {}  # what the user's variables held
        self.parts: dict[Poly, Part] = {}
        self.sigmoids: set[Head] = set()  # whose powers are there: no tanh beside them
        self.depth = 0
        self.extents = _Extents()

    def write(self, p: Poly) -> Formula:
        """The cheapest formula found of an array, or of what is broadcast to it."""
        at = (p, p.shape)
        f = self.known.get(at)
        if f is None:
            self.depth += 1
            try:
                f = self._best(p)
            finally:
                self.depth -= 1
            if self.extents.of(f) > MOST_EXTENT:
                raise TooLong
            self.known[at] = f
        return f

    def output(self, p: Poly) -> tuple[Formula, tuple[str, ...]]:
        """The formula of an array that stands alone: what is broadcast to it shows its shape.

        With letters, if it is that of an element.
        """
        try:
            f = self.write(p)
        except NoMatrixForm:
            return Elements(self.spelling).formula(p)
        if f.rank or not 1 <= len(p.shape) <= 2 or not p.terms:
            return f, ()
        body = [F.ones(n) for n in p.shape]
        return F.matmul([f, body[0], *map(F.transpose, body[1:])], len(p.shape)), ()

    def _by_name(self, p: Poly) -> Formula | None:
        """p or -p under the name of a user's variable."""
        for q, sign in ((p, 1), (-p, -1)):
            name = self.named.get(q)
            if name is None:
                continue
            part = self.parts.get(q)
            if part is None:
                del self.named[q]  # not in its own definition
                try:
                    body = self._best(q)
                finally:
                    self.named[q] = name
                part = self.parts[q] = Part(body, "", plain_name(name), latex_name(name))
            f = Formula("part", (), part, len(q.shape))
            return f if sign == 1 else F.neg(f)
        return None

    def _best(self, p: Poly) -> Formula:
        if not p.terms:
            return integer(0)
        found = self._by_name(p) if self.named else None
        if found is not None:
            return found
        if len(p.terms) == 1:
            ((term, c),) = p.terms.items()
            return self.row(c, list(term), p)
        best: Formula | None = None
        price = 0
        try:
            for candidate in self._candidates(p):
                own = cost(candidate)
                if self.depth <= OUTER:  # what is repeated will have a name
                    own -= saved_by_names(candidate)
                if best is None or own < price:
                    best, price = candidate, own
        except TooLong:
            if best is None:
                raise
        assert best is not None
        return best

    def _candidates(self, p: Poly) -> Iterator[Formula]:
        yield self._flat(p)
        if self.depth > DEEPEST:
            return
        tick()
        c, common, inner = self._content(p)
        if common or abs(c) != 1:
            if len(inner.terms) == 1:
                ((term, v),) = inner.terms.items()
                yield self.row(exact(c * v), _merged([*common, *term]), p)
            else:
                yield self._held(c, list(common), inner)
                yield from self._partly_held(c, common, inner)
                yield from self._scalars_held(c, common, inner)
        if not common or any(e < 0 for _, _, e in common):
            yield from self._over_denominator(p)
            yield from self._squared(p)
        if not common:
            yield from self._divided(inner, c)
        if all(e < 0 for _, _, e in common):
            yield from self._pulled(p)
        for factor, rest in exponentials(p):
            tick()
            yield self._times(1, [factor], rest)
        for merged in logarithms(p):
            tick()
            yield self.write(merged)
        for merged in angles(p):
            tick()
            yield self.write(merged)
        yield from self._decided(p)
        yield from self._with_names(p)
        if common and len(inner.terms) <= FEW_DIVIDED and _is_diagonal(inner):
            yield from self._divided(inner, c, common)

    # ---- candidates ----------------------------------------------------------------------------

    def _flat(self, p: Poly) -> Formula:
        """The terms in an order that a person would choose."""
        rows = [(self.row(c, list(t), p), t) for t, c in p.sorted()]
        return total([f for f, _ in rows], p)

    def row(self, c: Exponent, factors: list[Factor], p: Poly) -> Formula:
        """One term, in the cheapest of its spellings."""
        factors = opened_raw(factors)
        if self.named:
            c, factors = self._scaled(c, factors)
        best = self.terms.term(c, factors, p.shape)
        for d, other, always in spellings(c, factors, p.shape):
            f = self.terms.term(d, other, p.shape)
            if always or cost(f) < cost(best):
                best, c, factors = f, d, other
        odd = [
            k
            for k, (h, _, e) in enumerate(factors)
            if h.kind == "paren" and isinstance(e, int) and e % 2 and not h.args[0].is_raw
            and sum(g == h for g, _, _ in factors) == 1  # r rᵀ, not r (y - A x)ᵀ
        ]  # fmt: skip
        for k in odd[:3]:
            head, labels, e = factors[k]
            turned = Head("paren", None, (-head.args[0],), head.shape, head.symmetric)
            other = [*factors[:k], (turned, labels, e), *factors[k + 1 :]]
            f = self.terms.term(-c, other, p.shape)
            if cost(f) < cost(best):
                best, c, factors = f, -c, other
        spread = _spread(c, factors)
        if spread is not None:
            best = min(best, self.terms.term(1, spread, p.shape), key=cost)
        joined = conjugates(factors, p.shape)
        if joined is not None:
            best = min(best, self.terms.term(c, joined, p.shape), key=cost)
        return best

    def _scaled(self, c: Exponent, factors: list[Factor]) -> Row:
        """Sums that are multiples of what has a name, as that."""
        result: list[Factor] = []
        for head, labels, e in factors:
            found = self._multiple(head) if head.kind == "paren" else None
            if found is None:
                result.append((head, labels, e))
                continue
            q, k = found
            scale, primes = number_power(magnitude(k), e)
            if primes is None or k < 0 and not isinstance(e, int):
                result.append((head, labels, e))
                continue
            c = exact(c * scale * (-1 if k < 0 and e % 2 else 1))
            new = Head("paren", None, (q,), head.shape, head.symmetric)
            result += [*primes, (new, labels, e)]
        return c, result

    def _multiple(self, head: Head) -> tuple[Poly, Exponent] | None:
        """(q, k) where the head is k q, and q has a name."""
        p = head.args[0]
        for q in self.named:
            if q.shape == p.shape and len(q.terms) == len(p.terms) > 1:
                if q.terms.keys() == p.terms.keys():
                    ratios = {Fraction(p.terms[t]) / c for t, c in q.terms.items()}
                    if len(ratios) == 1 and (k := exact(ratios.pop())) != 1:
                        return q, k
        return None

    def _content(self, p: Poly) -> tuple[Exponent, tuple[Factor, ...], Poly]:
        """As `poly.content`, with exponentials and indicators too."""
        c, common, inner = content(p)
        everywhere: set[tuple[Head, tuple[int, ...]]] | None = None
        for t in inner.terms:
            here = {(h, w) for h, w, e in t
                    if h.kind == "ind" or h.kind == "fn" and h.payload == "exp"}  # fmt: skip
            everywhere = here if everywhere is None else everywhere & here
        more = sorted([(h, w, 1) for h, w in everywhere or ()], key=key)
        if more:
            inner = Poly(
                {tuple(f for f in t if (f[0], f[1], 1) not in more): v
                 for t, v in inner.terms.items()}, p.shape)  # fmt: skip
        return c, (*common, *more), inner

    def _held(self, c: Exponent, factors: list[Factor], inner: Poly) -> Formula:
        """c · factors · (inner)"""
        factor = apply("paren", None, [inner])
        return self.row(c, _merged([*factors, factor]), inner)

    def _times(self, c: Exponent, factors: list[Factor], p: Poly) -> Formula:
        """c · factors · p, the content of p in front."""
        if not p.terms:
            return integer(0)
        scale, common, inner = self._content(p)
        if len(inner.terms) > 1:
            return self._held(exact(c * scale), [*factors, *common], inner)
        ((term, v),) = inner.terms.items()
        return self.row(exact(c * scale * v), _merged([*factors, *common, *term]), p)

    def _partly_held(
        self, c: Exponent, common: Sequence[Factor], inner: Poly
    ) -> Iterator[Formula]:  # fmt: skip
        """With the denominators left where they are: eˣ ((1 + x)² + 1/x)."""
        up = [f for f in common if f[2] > 0]
        down = [f for f in common if f[2] < 0]
        if up and down and len(inner.terms) <= LONG:
            tick()
            divided_ = gather(inner.shape, [(v, [*t, *down], {}) for t, v in inner.terms.items()])
            if len(divided_.terms) > 1:
                yield self._held(c, up, divided_)

    def _scalars_held(
        self, c: Exponent, common: Sequence[Factor], inner: Poly
    ) -> Iterator[Formula]:  # fmt: skip
        """With what is an array left where it is: c (diag(p) − p pᵀ)."""
        arrays = [f for f in common if f[1]]
        if arrays and (len(arrays) < len(common) or abs(c) != 1):
            tick()
            whole = gather(inner.shape, [(v, [*t, *arrays], {}) for t, v in inner.terms.items()])
            if len(whole.terms) > 1:
                yield self._held(c, [f for f in common if not f[1]], whole)

    def _squared(self, p: Poly) -> Iterator[Formula]:
        """c (a + b)² + rest"""
        if 3 <= len(p.terms) <= LONG:
            for c, q, rest in squares(p):
                tick()
                head, labels, _ = apply("paren", None, [q])
                first = self.row(c, [(head, labels, 2)], p)
                yield total([first, self.write(rest)], p) if rest.terms else first

    def _over_denominator(self, p: Poly) -> Iterator[Formula]:
        found = together(p)
        if found is None:
            return
        top, below = found
        if not below or not top.terms:
            yield self.write(top)
        elif len(top.terms) == 1:
            ((term, c),) = top.terms.items()
            yield self.row(c, [*term, *below], p)
        elif top.terms:
            c, common, inner = self._content(top)
            if len(inner.terms) > 1:
                yield self._held(c, [*_merged([*common, *below])], inner)
                if abs(c) != 1 and not common and isinstance(c, int):  # (6 x² − 2) / (1 + x²)³
                    yield self._held(1, below, top)

    def _divided(
        self, p: Poly, c: Exponent, common: Sequence[Factor] = ()
    ) -> Iterator[Formula]:  # fmt: skip
        """q · σ(-u) for q (1 - σ(u)) and the like; `common` are factors of all that."""
        for divisor, (head, labels, e) in divisors(p, self.sigmoids):
            quotient, times = divided(p, divisor), 0
            while quotient is not None and quotient.terms and times < MOST_DIVISIONS:
                times += 1
                tick()
                factor = head, labels, exact(e * times)
                yield self._times(c, _merged([*common, factor]), quotient)
                quotient = divided(quotient, divisor)

    def _with_names(self, p: Poly) -> Iterator[Formula]:
        """c · name + rest, where p has all terms of what the name stands for."""
        for q in list(self.named):
            if len(q.terms) < 2 or q.shape != p.shape or not q.terms.keys() <= p.terms.keys():
                continue
            ratios = {Fraction(p.terms[t]) / c for t, c in q.terms.items()}
            if len(ratios) == 1:
                c = exact(ratios.pop())
                name = self._by_name(q)
                assert name is not None
                rest = Poly({t: v for t, v in p.terms.items() if t not in q.terms}, p.shape)
                first = F.hadamard([rational(c), name])
                yield total([first, self.write(rest)], p) if rest.terms else first

    def _decided(self, p: Poly) -> Iterator[Formula]:
        """max, min and clip for sums with an indicator."""
        for c, found in extremes(p):
            terms = []
            for v, factors in found:
                terms.append(self.row(exact(c * v), factors, p))
            yield total(terms, p)

    def _pulled(self, p: Poly) -> Iterator[Formula]:
        rows: list[Row] = [(c, opened_raw(list(t))) for t, c in p.sorted()]
        found: dict[tuple[Head, tuple[int, ...]], list[tuple[int, int]]] = {}
        for n, (_, factors) in enumerate(rows):
            seen = set()
            numbers = _of_numbers(factors) if p.shape else set()
            for k, (head, labels, e) in enumerate(factors):
                if any(w in numbers for w in labels):
                    continue  # xᵀ A x is a number, out of which no x is pulled
                at = head, tuple([w if w < FIRST else FIRST for w in labels])
                if at not in seen and head.kind != "num" and e > 0:
                    seen.add(at)
                    found.setdefault(at, []).append((n, k))
        choices = [(at, where) for at, where in found.items() if len(where) > 1]
        choices.sort(key=lambda item: (-len(item[1]), -len(item[0][0].args), item[0][0].order,
                                       item[0][1]))  # fmt: skip
        for at, where in choices[: MOST_PULLS if len(rows) <= LONG else FEW_PULLS]:
            tick()
            f = self._pull(p, rows, at, where)
            if f is not None:
                yield f

    def _pull(
        self, p: Poly, rows: Sequence[Row], at: tuple[Head, tuple[int, ...]],
        where: Sequence[tuple[int, int]],
    ) -> Formula | None:  # fmt: skip
        head, pattern = at
        r = len(p.shape)
        slots = [k for k, w in enumerate(pattern) if w == FIRST]
        lowest = min(rows[n][1][k][2] for n, k in where)
        shape = (*p.shape, *[head.shape[k] for k in slots])
        items = []
        for n, k in where:
            c, factors = rows[n]
            new: dict[int, int] = {}
            for s, slot in enumerate(slots):
                label = factors[k][1][slot]
                if label in new:
                    return None
                new[label] = r + s
            e = exact(factors[k][2] - lowest)
            rest = [*factors[:k], *factors[k + 1 :]] + ([(head, factors[k][1], e)] if e else [])
            sizes = {w: size for h, ws, _ in rest for w, size in zip(ws, h.shape, strict=True)
                     if w >= FIRST and w not in new}  # fmt: skip
            moved = [(h, tuple([new.get(w, w) for w in ws]), e) for h, ws, e in rest]
            items.append((c, moved, sizes))
        inner = gather(shape, items)
        if not inner.terms:
            return None
        out = {r + s: FIRST + s for s in range(len(slots))}
        mine = iter(range(FIRST, FIRST + len(slots)))
        pulled = (head, tuple([w if w != FIRST else next(mine) for w in pattern]), lowest)
        c, common, inner = self._content(inner)
        factors = [(h, tuple([out.get(w, w) for w in ws]), e) for h, ws, e in common]
        if len(inner.terms) > 1:
            h, ws, e = apply("paren", None, [inner])
            factors.append((h, tuple([out.get(w, w) for w in ws]), e))
        elif len(inner.terms) == 1:
            ((term, v),) = inner.terms.items()
            c = exact(c * v)
            factors += [(h, tuple([out.get(w, w) for w in ws]), e) for h, ws, e in term]
        left = {m: row for m, row in enumerate(rows) if m not in {n for n, _ in where}}
        try:
            first = self.row(c, [pulled, *factors], p)
        except NoMatrixForm:
            return None
        note("common-factor")
        if not left:
            return first
        terms = [t for n, (t, _) in enumerate(p.sorted()) if n in left]
        others = Poly({t: p.terms[t] for t in terms}, p.shape)
        return total([first, self.write(others)], p)


def _spread(c: Exponent, factors: list[Factor]) -> list[Factor] | None:
    """a + b/2 in the place of (2 a + b) / 2."""
    for k, (head, labels, e) in enumerate(factors):
        if head.kind != "paren" or e != 1 or isinstance(c, int) or abs(c.numerator) != 1:
            continue
        q = head.args[0].scale(c)
        broken = sum(isinstance(v, Fraction) for v in q.terms.values())
        if len(q.terms) > 1 and broken <= 1:
            new = Head("paren", None, (q,), head.shape, head.symmetric)
            return [*factors[:k], (new, labels, 1), *factors[k + 1 :]]
    return None


def _is_diagonal(p: Poly) -> bool:
    return all(any(h.kind == "delta" for h, _, _ in t) for t in p.terms)


def _of_numbers(factors: list[Factor]) -> set[int]:
    """Summed labels that no chain of factors connects with a free one."""
    reached = {w for _, ws, _ in factors for w in ws if w < FIRST}
    while True:
        more = {w for _, ws, _ in factors if reached & {*ws} for w in ws} - reached
        if not more:
            return {w for _, ws, _ in factors for w in ws} - reached
        reached |= more


def _merged(factors: list[Factor]) -> list[Factor]:
    found: dict[tuple[Head, tuple[int, ...]], Exponent] = {}
    for h, w, e in factors:
        found[h, w] = exact(found.get((h, w), 0) + e)
    return [(h, w, e) for (h, w), e in found.items() if e]


def total(terms: list[Formula], p: Poly) -> Formula:
    """The sum; a number beside a matrix of products is a matrix of ones."""
    if len(p.shape) == 2 and any(t.rank == 2 and _is_structured(t) for t in terms):
        terms = [F.matmul([t, F.ones(p.shape[0]), F.transpose(F.ones(p.shape[1]))], 2)
                 if t.rank == 0 else t for t in terms]  # fmt: skip
    return F.add(terms, reorder=True)


def _is_structured(f: Formula) -> bool:
    while f.kind in ("neg", "mul", "div"):
        f = f.args[-1] if f.kind != "div" else f.args[0]
    return f.kind in ("eye", "diag", "mat", "inverse")
