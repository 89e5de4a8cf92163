"""Powers and exponentials of Polys, and what products of functions are equal to.

Functions under `fold` are asked for each product of factors, in the order in which they stand here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from fractions import Fraction

from symgrad.reader.heads import (
    MOST_OPENED,
    MOST_TERMS,
    Exponent,
    Factor,
    Head,
    Labels,
    Shape,
    Term,
    budget,
    exact,
    note,
)
from symgrad.reader.poly import (
    Item,
    Poly,
    Rows,
    apply,
    content,
    fold,
    gather,
    is_nonneg,
    number,
    own_labels,
    paren,
    product,
)

# ---- powers ------------------------------------------------------------------------------------


def power(p: Poly, e: Exponent) -> Poly:
    """p to a rational exponent, one term; a sum is held together, with its content in front."""
    if e == 1:
        return p
    if e == 0:
        return number(1, p.shape)
    if not p.terms:  # 1/0 in a branch that is not taken
        return p if e > 0 else Poly({((Head("num", "∞"), (), 1),): 1}, p.shape)
    if len(p.terms) == 1 and not p.is_raw:
        ((term, c),) = p.terms.items()
        return _power_of_term(term, c, e, p.shape)
    return _power_of_sum(p, e)


def _power_of_term(term: Term, c: Exponent, e: Exponent, shape: Shape) -> Poly:
    whole = isinstance(e, int)
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
        outside.append(paren(left, e))
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
    scale: Exponent = 1
    factors: list[Factor] = []
    for n, sign in ((c.numerator, 1), (c.denominator, -1)):
        for prime in _PRIMES:
            count = 0
            while n and n % prime == 0:
                n //= prime
                count += 1
            whole = math.floor(sign * count * e)
            rest = exact(sign * count * e - whole)
            scale = exact(scale * Fraction(prime) ** whole)
            if rest:
                factors.append((Head("num", prime, nonneg=True), (), rest))
        if n > 10_000 or n < 0:
            return 1, None
        if n > 1:  # square free as far as it matters: printed as it is
            factors.append((Head("num", n, nonneg=True), (), exact(sign * e)))
    return scale, factors


_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)


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
    parts = [(Poly({(paren(inner, e),): 1}, p.shape), own_labels(p))]
    if pulled:
        parts.append((power(outside, e), own_labels(p)))
    if primes or scale != 1:
        parts.append((gather((), [(scale, primes, {})]), ()))
    return product(p.shape, parts)


def apply_to(head: Head, labels: Labels, function: str) -> tuple[Head, Labels]:
    """A function of one factor, on the factor's labels."""
    axes = sorted(set(labels))
    place = {k: n for n, k in enumerate(axes)}
    sizes = dict(zip(labels, head.shape, strict=True))
    shape = tuple([sizes[k] for k in axes])
    inner = Poly({((head, tuple([place[k] for k in labels]), 1),): 1}, shape)
    new, own, _ = apply("fn", function, [inner], nonneg=function == "absolute")
    return new, tuple([axes[k] for k in own])


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
    atoms = budget().atoms
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


# ---- products of functions ---------------------------------------------------------------------


@fold
def _exponentials(factors: list[Factor], sizes: Mapping[int, int]) -> Rows | None:
    """eᵃ eᵇ = eᵃ⁺ᵇ, for exponents with the same labels."""
    groups: dict[frozenset[int], list[Factor]] = {}
    for f in factors:
        if f[0].kind == "fn" and f[0].payload == "exp":
            groups.setdefault(frozenset(f[1]), []).append(f)
    for group in groups.values():
        if len(group) > 1 or group[0][2] != 1:
            left = [f for f in factors if f not in group]
            return [(c, left + more) for c, more in _merged_exp(group)]
    return None


def _merged_exp(group: list[Factor]) -> Rows:
    """exp(a)^e exp(b)^f as exp(e a + f b), over the labels of the group; bᶜ⁺ᵈ may be a sum."""
    axes = sorted(group[0][1])
    place = {k: n for n, k in enumerate(axes)}
    sizes = dict(zip(group[0][1], group[0][0].shape, strict=True))
    shape = tuple([sizes[k] for k in axes])
    total = number(0, shape)
    for head, labels, e in group:
        total = total + head.args[0].relabel([place[k] for k in labels], shape).scale(e)
    if len(group) > 1:
        note("merged-exponentials")
    return _placed(exponential(total), tuple(axes))


@fold
def _distributed(factors: list[Factor], sizes: Mapping[int, int]) -> Rows | None:
    """A sum under a summed label that nothing else has is a sum of sums."""
    for place, (head, labels, e) in enumerate(factors):
        if head.kind != "paren" or e != 1 or head.args[0].is_raw:
            continue
        rest = factors[:place] + factors[place + 1 :]
        if any(k in sizes and not any(k in w for _, w, _ in rest) for k in labels):
            return [(c, rest + f) for c, f in _placed(head.args[0], labels)]
    return None


@fold
def _functions(factors: list[Factor], sizes: Mapping[int, int]) -> Rows | None:
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


def _fold_function(head: Head, labels: Labels, e: int, rest: list[Factor]) -> Rows | None:
    name = head.payload
    if name in SQUARES and (e >= 2 if name != "cosh" else e <= -2 and budget().opens_sech):
        other, constant, sign = SQUARES[name]
        new = _like(head, other)
        step = 2 if e > 0 else -2
        left: list[Factor] = [(head, labels, e - step)] if e != step else []
        note(f"{name}²")
        return [(constant, rest + left), (sign, [*rest, *left, (new, labels, 2)])]
    if name == "absolute" and e % 2 == 0:
        return [(c, rest + f) for c, f in _opened(head.args[0], labels, e)]
    if name == "sign" and not -1 <= e <= 1:
        note("sign²")
        return [(1, rest + ([(head, labels, 1)] if e % 2 else []))]
    return _fold_pair(head, labels, e, rest)


def _fold_pair(head: Head, labels: Labels, e: int, rest: list[Factor]) -> Rows | None:
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
            new = _like(head, "tanh")
            return [(1, [*left, (head, labels, e - k), (other, labels, f + k), (new, labels, k)])]
        if name == "tanh" and other.payload == "cosh" and e > 0 and f > 0:
            new = _like(head, "sinh")
            return [(1, [*left, (head, labels, e - 1), (other, labels, f - 1), (new, labels, 1)])]
        if name == "tanh" and other.payload == "sinh" and e > 0 and f > 0:  # cosh − 1/cosh
            rows = [(head, labels, e - 1), (other, where, f - 1)]
            cosh = Head("fn", "cosh", head.args, head.shape, head.symmetric, True)
            return [
                (1, [*left, *rows, (cosh, labels, 1)]),
                (-1, [*left, *rows, (cosh, labels, -1)]),
            ]
        if head.kind == "ind" and (name, other.kind, other.payload) == (">", "ind", "≥"):
            return [(1, [*left, (head, labels, 1)])]
    return None


def _like(head: Head, name: str) -> Head:
    """Another function of the same argument."""
    new = Head("fn", name, head.args, head.shape, head.symmetric)
    new.odd = name in ("sinh", "tanh")
    return new


# sin² = 1 - cos², …: the function, and the constant and sign of the square of the other.
# Of cosh it is the square of the reciprocal.
SQUARES = {"sin": ("cos", 1, -1), "sinh": ("cosh", -1, 1), "cosh": ("tanh", 1, -1)}


def _pushed(rest: list[Factor], head: Head, labels: Labels, e: Exponent) -> Rows:
    """f(u)[3] is f(u[3])."""
    kept = [k for k in labels if k >= 0]
    shape = tuple([n for k, n in zip(labels, head.shape, strict=True) if k >= 0])
    count = itertools.count()
    new = [next(count) if k >= 0 else k for k in labels]
    args = [product(shape, [(a, tuple(new))], raw=a.is_raw) for a in head.args]
    if head.kind == "paren":
        held = args[0].is_raw
        base = Poly({(paren(args[0], e),): 1}, shape) if held else power(args[0], e)
        found = _placed(base, tuple(kept))
        return [(c, rest + f) for c, f in found]
    made = apply(head.kind, head.payload, args, head.nonneg)
    return [(1, [*rest, (made[0], tuple([kept[k] for k in made[1]]), e)])]


def _opens(head: Head, e: int) -> bool:
    """Whether a sum to a positive power is multiplied out."""
    count = len(head.args[0].terms)
    return 1 < count and count**e <= MOST_TERMS and head not in budget().atoms


def _opened(p: Poly, labels: Labels, e: int) -> Rows:
    """The terms of p to the power e on these labels."""
    return _placed(power(p, e), labels)


def _placed(p: Poly, labels: Labels) -> Rows:
    return [(c, [(h, tuple([labels[k] if k >= 0 else k for k in w]), f) for h, w, f in t])
            for t, c in p.terms.items()]  # fmt: skip
