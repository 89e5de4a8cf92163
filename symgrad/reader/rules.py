"""The rules by which a reader's form differs from the graph, by name, and where they hold.

`RULES` is what `explain()` prints: a name, the identity, the side condition. Those of products and
powers are applied in `poly`, those of functions in `convert`; here are the ones that need a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence, Set
from fractions import Fraction

from symgrad.reader.folds import power
from symgrad.reader.heads import (
    FIRST,
    PI,
    Exponent,
    Factor,
    Head,
    Labels,
    Shape,
    Term,
    exact,
    note,
)
from symgrad.reader.poly import (
    Item,
    Poly,
    apply,
    closed_factor,
    gather,
    negative,
    number,
    own_labels,
    paren,
    product,
)
from symgrad.reader.quotient import divided

RULES: dict[str, tuple[str, str]] = {
    "common-factor": ("a b + a c = a (b + c), also under a sum over an index", ""),
    "common-denominator": ("a/b + c/d = (a d + c b)/(b d)", ""),
    "exact-division": ("(a b)/b = a", "b ≠ 0"),
    "merged-exponentials": ("eᵃ eᵇ = eᵃ⁺ᵇ", ""),
    "exponential-of-logarithm": ("exp(c log b + u) = bᶜ eᵘ", "b > 0"),
    "sin²": ("sin² = 1 - cos²", ""),
    "sinh²": ("sinh² = cosh² - 1", ""),
    "cosh²": ("1/cosh² = 1 - tanh²", ""),
    "sign²": ("sign(u)² = 1", "u ≠ 0"),
    "sign-of-absolute": ("sign(u) |u| = u, sign(u) u = |u|", ""),
    "odd-function": ("f(-u) = -f(u)", ""),
    "sigmoid-mirror": ("σ(-u) = 1 - σ(u)", ""),
    "as-sigmoid": ("tanh(u/2) = 2σ(u) - 1, log(1 + eᵘ) = -log σ(-u), beside σ(u)", ""),
    "normal-mirror": ("Φ(-u) = 1 - Φ(u)", ""),
    "erf-as-normal": ("erf(u/√2) = 2Φ(u) - 1", ""),
    "guard": ("a guard of the code is dropped", "where it is not taken"),
    "two-ways": ("two ways to compute one function, each where it is accurate, are one", ""),
    "inverse": ("A⁻¹ A = I", "A regular"),
    "inverse-of-product": ("(A B)⁻¹ = B⁻¹ A⁻¹", "A and B regular"),
    "determinant-of-power": ("det(A A) = det(A)²", ""),
    "perfect-square": ("a² ± 2 a b + b² = (a ± b)²", ""),
    "common-exponential": ("eᵃ + eᵇ = eᵃ (1 + eᵇ⁻ᵃ)", ""),
    "difference-of-angles": ("sin u cos v ± cos u sin v = sin(u ± v), and of cosines", ""),
    "conjugate-sums": ("(a - b) (a + b) = a² - b²", ""),
    "quotient-of-logarithms": ("log(a) - log(b) = log(a / b)", "a and b positive"),
    "sums-to-one": ("Σ softmax(u) = 1", ""),
    "split-delta": ("δ of two axes in one is δ δ", ""),
    "kronecker": ("A[i,k] B[j,l] with i, j and k, l in one axis each is A ⊗ B", ""),
    "logarithm-of-constant": ("0.693… = log 2", ""),
    "elements": ("elements that are the same function of their neighbours share a formula", ""),
}


def documentation() -> dict[str, str]:
    """What each rule states, with its side condition."""
    return {name: f"{says}, {where}" if where else says for name, (says, where) in RULES.items()}


def divisors(p: Poly, sigmoids: Set[Head]) -> Iterator[tuple[Poly, Factor]]:
    """What may divide p exactly and has a name of its own: (divisor, factor that it is).

    sigmoids : those that are written as such, not as tanh
    """
    seen: dict[tuple[Head, tuple[int, ...]], None] = {}
    for head, labels, _ in p.factors():
        if head.kind in ("fn", "ind"):
            seen[head, labels] = None
    one = number(1, p.shape)
    for head, labels in seen:
        if head.payload not in _NAMED:
            continue
        this = product(p.shape, [(Poly({((head, own_labels(head.args[0]), 1),): 1}, head.shape),
                                  labels)])  # fmt: skip
        arg = head.args[0].relabel(labels, p.shape)
        for make in _NAMED[head.payload]:
            divisor, factor = make(one, this, arg)
            if factor[0].payload != "tanh" or head not in sigmoids:
                yield divisor, factor


def _fn(name: str, arg: Poly, e: int = 1) -> Factor:
    head, labels, _ = apply("fn", name, [arg])
    head.odd = name == "tanh"
    return head, labels, e


def _opposite(sign: str) -> Callable[..., tuple[Poly, Factor]]:
    def make(one: Poly, this: Poly, d: Poly) -> tuple[Poly, Factor]:
        return one - this, apply("ind", sign, [-d], True)

    return make


_NAMED: dict[str, list[Callable[..., tuple[Poly, Factor]]]] = {
    ">": [_opposite("≥")],
    "≥": [_opposite(">")],
    "sigmoid": [
        lambda one, s, u: (one - s, _fn("sigmoid", -u)),
        lambda one, s, u: (s + s - one, _fn("tanh", u.scale(Fraction(1, 2)))),
    ],
    "Φ": [lambda one, s, u: (one - s, _fn("Φ", -u))],
    "cos": [
        lambda one, s, u: (one - s * s, _fn("sin", u, 2)),
        lambda one, s, u: (s * s + s * s - one, _fn("cos", u + u)),
    ],
    "cosh": [
        lambda one, s, u: (s * s - one, _fn("sinh", u, 2)),
        lambda one, s, u: (s * s + s * s - one, _fn("cosh", u + u)),
    ],
}


# ---- one term ----------------------------------------------------------------------------------

Spelled = tuple[Exponent, list[Factor]]


def spellings(
    c: Exponent, factors: Sequence[Factor], shape: Shape
) -> Iterator[tuple[Exponent, list[Factor], bool]]:
    """Other ways to write a term, and whether they are better in any case or only if shorter."""
    for k, (head, labels, e) in enumerate(factors):
        rest = [*factors[:k], *factors[k + 1 :]]
        if head.kind == "ind" and head.payload != "=":
            for v, other in _ramp(c, rest, head, labels):
                yield v, other, False
        if head.kind != "fn" or e != 1:
            continue
        if head.odd:
            args = (-head.args[0], *head.args[1:])
            turned = Head("fn", head.payload, args, head.shape, head.symmetric)
            yield -c, [*rest, (turned, labels, 1)], False
        if head.payload == "exp":
            for v, other in _density(c, rest, head, labels):
                yield v, other, False
            if all(0 <= w < FIRST for w in labels):
                for v, other in _power_with_base(c, rest, head, labels, shape):
                    yield v, other, True  # 0⁻¹ 0^e would be no number
        elif head.payload in _DOUBLE:
            cos = Head("fn", _DOUBLE[head.payload], head.args, head.shape, head.symmetric)
            if (cos, labels, 1) in rest:
                rest.remove((cos, labels, 1))
                double, own, _ = apply("fn", head.payload, [head.args[0].scale(2)])
                half = exact(Fraction(c) / 2)
                yield half, [*rest, (double, tuple(labels[k] for k in own), 1)], False


_DOUBLE = {"sin": "cos", "sinh": "cosh"}  # sin x cos x = sin(2 x) / 2


def conjugates(factors: Sequence[Factor], shape: Shape) -> list[Factor] | None:
    """With (a - b) (a + b) as a² - b², if there are such factors to the same power."""
    sums = [
        (k, f) for k, f in enumerate(factors)
        if f[0].kind == "paren" and len(f[0].args[0].terms) == 2 and all(w < FIRST for w in f[1])
    ]  # fmt: skip
    for n, (k, (a, u, e)) in enumerate(sums):
        for m, (b, w, f) in sums[n + 1 :]:
            if e != f or set(u) != set(w) or min(u, default=0) < 0:
                continue
            whole = product(shape, [(a.args[0], u), (b.args[0], w)])
            if len(whole.terms) == 2:
                rest = [g for i, g in enumerate(factors) if i not in (k, m)]
                note("conjugate-sums")
                return [*rest, paren(whole, e)]
    return None


def _ramp(c: Exponent, rest: list[Factor], head: Head, labels: Labels) -> Iterator[Spelled]:
    """[d > 0] d = max(0, d)"""
    d = head.args[0]
    for n, (other, where, e) in enumerate(rest):
        if set(where) != set(labels) or not isinstance(e, int) or e < 1:
            continue
        place = tuple(labels.index(k) for k in where)
        inner = gather(d.shape, [(1, [(other, place, 1)], {})])
        k = next((Fraction(v) / d.terms[t] for t, v in inner.terms.items() if t in d.terms), None)
        if k is not None and inner == d.scale(k):
            ramp, own, _ = apply("fn", "maximum", [number(0, d.shape), d], True)
            left = [*rest[:n], *rest[n + 1 :], (ramp, tuple(labels[w] for w in own), e)]
            yield exact(c * k**e), left


def _density(c: Exponent, rest: list[Factor], head: Head, labels: Labels) -> Iterator[Spelled]:
    """exp(-v²/2)/√(2π) = φ(v)."""
    half = Fraction(1, 2)
    two = Head("num", 2, nonneg=True)
    below = (PI, (), -half)
    if below not in rest:
        return
    # √t stands beside it, so t is not negative
    positive = {f[0] for f in rest if isinstance(f[2], Fraction)}
    left = [f for f in rest if f != below]
    if (two, (), half) in left:  # √2/√π is 2 · 1/√(2π)
        left.remove((two, (), half))
        c = exact(Fraction(c) * 2)
    else:  # 1/√π is √2/√(2π)
        left.append((two, (), half))
    for term, k in head.args[0].sorted():  # exp(u - v²/2) = √(2π) exp(u) φ(v)
        v = _root(Poly({term: exact(-2 * k)}, head.args[0].shape), positive)
        if v is None:
            continue
        found = [*left, _placed_on(labels, apply("fn", "φ", [v], True))]
        u = {t: d for t, d in head.args[0].terms.items() if t != term}
        if u:
            exponential = apply("fn", "exp", [Poly(u, head.args[0].shape)], True)
            found.append(_placed_on(labels, exponential))
        yield c, found


def _placed_on(labels: Labels, factor: Factor) -> Factor:
    """A factor of a head's arguments on that head's labels."""
    head, own, e = factor
    return head, tuple([labels[k] for k in own]), e


def _root(p: Poly, nonneg: set[Head]) -> Poly | None:
    """√p of a single square, or of one times powers of what is not negative."""
    if len(p.terms) != 1:
        return None
    ((term, c),) = p.terms.items()
    c = Fraction(c)
    if c <= 0 or any(isinstance(e, Fraction) and e.denominator != 1 and h.kind != "num"
                     for h, _, e in term):  # fmt: skip
        return None
    root = _rational_root(c)
    if root is None or any(e % 2 for h, _, e in term if not h.nonneg and h not in nonneg):
        return None
    factors = [(h, w, exact(Fraction(e) / 2)) for h, w, e in term]
    return gather(p.shape, [(root, factors, {})])


def _power_with_base(
    c: Exponent, rest: list[Factor], head: Head, labels: Labels, shape: Shape
) -> Iterator[Spelled]:
    """b⁻¹ b^e = b^(e - 1)"""
    arg = head.args[0].relabel(labels, shape)
    for t in arg.terms:
        for log in t:
            if (log[0].kind, log[0].payload, log[2]) != ("fn", "log", 1) or len(t) < 2:
                continue
            base = log[0].args[0].relabel(log[1], shape)
            if len(base.terms) != 1:
                continue
            ((term, one),) = base.terms.items()
            if len(term) != 1 or one != 1:
                continue
            for f in rest:
                if f[:2] == term[0][:2] and term[0][2] == 1 and isinstance(f[2], int):
                    more = gather(shape, [(f[2], [log], {})])
                    left = [g for g in rest if g != f]
                    yield c, [*left, apply("fn", "exp", [arg + more], True)]


# ---- sums --------------------------------------------------------------------------------------


def in_sigmoids(p: Poly) -> Poly:
    """p with tanh(u/2) as 2 σ(u) - 1 and log(1 + eᵘ) as -log σ(-u), where σ(±u) stands beside."""
    found = {(h.args[0], w) for h, w, _ in p.factors() if (h.kind, h.payload) == ("fn", "sigmoid")}
    if not found:
        return p
    items: list[Item] = []
    changed = False
    for t, c in p.terms.items():
        factors = []
        for head, labels, e in t:
            other = None
            if head.kind == "fn" and head.payload in _AS_SIGMOID and isinstance(e, int):
                times, make = _AS_SIGMOID[head.payload]
                u = head.args[0].scale(times)
                sign = next((s for s in (1, -1) if (u.scale(s), labels) in found), 0)
                if sign:
                    sigmoid = Poly({(apply("fn", "sigmoid", [u.scale(sign)], True),): 1}, u.shape)
                    other = make(sigmoid, sign)
            if other is None:
                factors.append((head, labels, e))
                continue
            changed = True
            note("as-sigmoid")
            c = -c if e % 2 else c
            held, own, _ = other
            factors.append((held, tuple([labels[k] for k in own]), e))
        items.append((c, factors, {}))
    return gather(p.shape, items) if changed else p


def _tanh_by_sigmoid(s: Poly, sign: int) -> Factor:
    """-tanh(u/2) = 1 - 2 σ(u), where s is σ(sign u)"""
    return apply("paren", None, [number(sign, s.shape) - s.scale(2 * sign)])


def _softplus_by_sigmoid(s: Poly, sign: int) -> Factor:
    """-log(1 + eᵘ) = log σ(-u), where s is σ(sign u)"""
    return apply("fn", "log", [s if sign < 0 else number(1, s.shape) - s])


_AS_SIGMOID: dict[str, tuple[int, Callable[[Poly, int], Factor]]] = {
    "tanh": (2, _tanh_by_sigmoid),
    "softplus": (1, _softplus_by_sigmoid),
}


def exponentials(p: Poly) -> Iterator[tuple[Factor, Poly]]:
    """(eᵃ, q) with p = eᵃ q, for sums whose terms all have different exponentials."""
    found: dict[tuple[Head, Labels], None] = {}
    for t in p.terms:
        mine = [f for f in t if f[0].kind == "fn" and f[0].payload == "exp"]
        if len(mine) != 1 or mine[0][2] != 1:
            return
        found[mine[0][:2]] = None
    if not 1 < len(found) <= 4 or len({frozenset(w) for _, w in found}) > 1:
        return
    for head, labels in sorted(found, key=lambda f: (f[0].size, f[0].order)):
        opposite = apply("fn", "exp", [-head.args[0].relabel(labels, p.shape)], True)
        rest = gather(p.shape, [(c, [*t, opposite], {}) for t, c in p.terms.items()])
        note("common-exponential")
        yield (head, labels, 1), rest


def squares(p: Poly) -> Iterator[tuple[Exponent, Poly, Poly]]:
    """(c, q, rest) with p = c q² + rest, where q has two terms."""
    roots = [(c, r) for t, c in p.sorted() if (r := _square_root(t)) is not None]
    for n, (c, a) in enumerate(roots):
        for d, b in roots[n + 1 :]:
            ratio = Fraction(d) / Fraction(c)
            k = _rational_root(ratio)
            if k is None:
                continue
            first = gather(p.shape, [(1, list(a), {})])
            second = gather(p.shape, [(k, list(b), {})])
            for q in (first + second, first - second):
                rest = p - (q * q).scale(c)
                if len(rest.terms) == len(p.terms) - 3:
                    note("perfect-square")
                    yield c, q, rest
    return


def _square_root(t: Term) -> Term | None:
    if any(not isinstance(e, int) or e % 2 or h.kind in ("delta", "ind") for h, _, e in t):
        return None
    return tuple([(h, w, exact(Fraction(e, 2))) for h, w, e in t])


def _rational_root(c: Fraction) -> Fraction | None:
    if c <= 0:
        return None
    roots = math.isqrt(c.numerator), math.isqrt(c.denominator)
    found = Fraction(*roots)
    return found if found * found == c else None


def logarithms(p: Poly) -> Iterator[Poly]:
    """p with c log(a) - c log(b) as c log(a / b)."""
    rows: list[tuple[Term, Exponent, Factor, Term]] = []
    for t, c in p.sorted():
        logs = [f for f in t if f[2] == 1 and (f[0].kind, f[0].payload) == ("fn", "log")]
        if len(logs) == 1:
            rows.append((t, c, logs[0], tuple([f for f in t if f != logs[0]])))
    for n, (t, c, a, left) in enumerate(rows):
        for u, d, b, right in rows[n + 1 :]:
            if c != -d or left != right:
                continue
            over = [g[0].args[0].relabel(g[1], p.shape) for g in (a, b)]
            if c < 0:
                over.reverse()
            if any(q.constant is not None for q in over):
                continue
            ratio = apply("fn", "log", [over[0] * power(over[1], -1)])
            rest = Poly({v: k for v, k in p.terms.items() if v not in (t, u)}, p.shape)
            note("quotient-of-logarithms")
            yield rest + gather(p.shape, [(abs(Fraction(c)), [*left, ratio], {})])


_Waves = dict[str, tuple[Poly, Factor]]  # sin and cos in a term: of what, and the factor


def angles(p: Poly) -> Iterator[Poly]:
    """p with sin u cos v ± cos u sin v as sin(u ± v), cos u cos v ± sin u sin v as cos(u ∓ v)."""
    rows = []
    for t, c in p.sorted():
        waves = [f for f in t if f[2] == 1 and f[0].kind == "fn" and f[0].payload in ("sin", "cos")]
        if len(waves) == 2:
            rows.append((t, c, waves, tuple([f for f in t if f not in waves])))
    for n, (t, c, (a, b), left) in enumerate(rows):
        for s, d, other, right in rows[n + 1 :]:
            if left != right or abs(c) != abs(d):
                continue
            found = _one_wave(a, b, other, c == d, p.shape)
            if found is None:
                continue
            sign, made = found
            rest = Poly({k: v for k, v in p.terms.items() if k not in (t, s)}, p.shape)
            note("difference-of-angles")
            yield rest + product(p.shape, [
                (gather(p.shape, [(sign * c, list(left), {})]), tuple(range(len(p.shape)))),
                (made, tuple(range(len(p.shape)))),
            ])  # fmt: skip


def _one_wave(
    a: Factor, b: Factor, other: list[Factor], same: bool, shape: Shape
) -> tuple[int, Poly] | None:
    """a b ± the product of `other` as a sign and one sine or cosine; None if it is none."""
    swapped = {(_SWAPPED[h.payload], h.args, w) for h, w, _ in (a, b)}
    if {(h.payload, h.args, w) for h, w, _ in other} != swapped:
        return None
    u, v = (h.args[0].relabel(w, shape) for h, w, _ in (a, b))
    if a[0].payload == b[0].payload:  # cos u cos v ± sin u sin v, or the other way round
        name, x = "cos", u - v if same else u + v
        sign = -1 if a[0].payload == "sin" and not same else 1
    else:  # a's sign is that of the sum
        if a[0].payload == "cos":
            u, v, sign = v, u, 1
        name, sign, x = "sin", 1, u + v if same else u - v
    if not x.terms:
        return sign, number(int(name == "cos"), shape)
    if negative(x):
        x, sign = -x, -sign if name == "sin" else sign
    head, labels, e = apply("fn", name, [x])
    head.odd = name == "sin"
    return sign, Poly({((head, labels, e),): 1}, shape)


_SWAPPED = {"sin": "cos", "cos": "sin"}


# ---- decisions ---------------------------------------------------------------------------------


def extremes(p: Poly) -> Iterator[tuple[Exponent, list[Spelled]]]:
    """p as (c, terms): with max, min or clip in the place of an indicator."""
    seen = {(h, w): None for h, w, _ in p.factors() if h.kind == "ind" and h.payload in (">", "≥")}
    for head, labels in seen:
        rows: list[Item] = [(c, [f for f in t if f[:2] != (head, labels)], {})
                            for t, c in p.terms.items() if _has(t, head, labels)]  # fmt: skip
        inside = gather(p.shape, rows)
        base = Poly({t: c for t, c in p.terms.items() if not _has(t, head, labels)}, p.shape)
        d = head.args[0].relabel(labels, p.shape)
        yield from _clipped(p.shape, base, inside, d)
        ratio = divided(inside, d)
        if ratio is None:
            continue
        if ratio.constant is not None and base.terms:
            name = "maximum" if ratio.constant > 0 else "minimum"
            sides = sorted([base, base + inside], key=lambda s: s.constant is None)
            yield 1, [(1, [apply("fn", name, sides)])]
        zero = number(0, p.shape)
        e = 1
        while (again := divided(ratio, d)) is not None and e < 4:
            ratio, e = again, e + 1
        ramp, own, _ = apply("fn", "maximum", [zero, d], True)
        found: list[Spelled] = [(c, list(t)) for t, c in base.sorted()]
        if len(ratio.terms) == 1:
            ((term, c),) = ratio.terms.items()
            found.insert(0, (c, [*term, (ramp, own, e)]))
        else:
            scale, more = closed_factor(ratio)
            found.insert(0, (scale, [*more, (ramp, own, e)]))
        yield 1, found


def _has(t: Sequence[Factor], head: Head, labels: Labels) -> bool:
    return any(f[0] == head and f[1] == labels for f in t)


def _clipped(
    shape: Shape, base: Poly, inside: Poly, d: Poly
) -> Iterator[tuple[Exponent, list[Spelled]]]:
    """k u where |u| ≤ c, else k c sign(u)."""
    for head, labels, e in list(d.factors()):
        if head.payload != "absolute" or e != 1:
            continue
        u = head.args[0].relabel(labels, shape)
        limit = d + gather(shape, [(1, [(head, labels, 1)], {})])
        k = divided(base + inside, u)
        if k is None or len(k.terms) != 1:
            continue
        sign = gather(shape, [(1, [apply("fn", "sign", [u])], {})])
        if base == limit * sign * k:
            ((term, c),) = k.terms.items()
            clip = apply("fn", "clip", [u, -limit, limit])
            clip[0].odd = True
            yield c, [(1, [*term, clip])]
