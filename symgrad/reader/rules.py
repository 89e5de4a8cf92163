"""The rules by which a reader's form differs from the graph, by name, and where they hold.

`RULES` is what `explain()` prints: a name, the identity, the side condition. Those of products and
powers are applied in `poly`, those of functions in `convert`; here are the ones that need a search.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from symgrad.reader.poly import Factor, Head, Poly, apply, number, own_labels, product

RULES: dict[str, tuple[str, str]] = {
    "common-factor": ("a b + a c = a (b + c), also under a sum over an index", ""),
    "common-denominator": ("a/b + c/d = (a d + c b)/(b d)", ""),
    "exact-division": ("(a b)/b = a", "b ≠ 0"),
    "merged-exponentials": ("eᵃ eᵇ = eᵃ⁺ᵇ", ""),
    "exponential-of-logarithm": ("exp(c log b + u) = bᶜ eᵘ", "b > 0"),
    "sin²": ("sin² = 1 - cos²", ""),
    "sinh²": ("sinh² = cosh² - 1", ""),
    "sech²": ("sech² = 1 - tanh²", ""),
    "sign²": ("sign(u)² = 1", "u ≠ 0"),
    "sign-of-absolute": ("sign(u) |u| = u", ""),
    "odd-function": ("f(-u) = -f(u)", ""),
    "sigmoid-mirror": ("σ(-u) = 1 - σ(u)", ""),
    "normal-mirror": ("Φ(-u) = 1 - Φ(u)", ""),
    "erf-as-normal": ("erf(u/√2) = 2Φ(u) - 1", ""),
    "guard": ("a guard of the code is dropped", "where it is not taken"),
    "logarithm-of-constant": ("0.693… = log 2", ""),
}


def divisors(p: Poly) -> Iterator[tuple[Poly, Factor]]:
    """What may divide p exactly and has a name of its own: (divisor, factor that it is)."""
    seen: dict[tuple[Head, tuple[int, ...]], None] = {}
    for head, labels, _ in p.factors():
        if head.kind == "fn":
            seen[head, labels] = None
    one = number(1, p.shape)
    for head, labels in seen:
        if head.payload not in _NAMED:
            continue
        this = product(p.shape, [(Poly({((head, own_labels(head.args[0]), 1),): 1}, head.shape),
                                  labels)])  # fmt: skip
        arg = head.args[0].relabel(labels, p.shape)
        for make in _NAMED[head.payload]:
            yield make(one, this, arg)


def _fn(name: str, arg: Poly, e: int = 1) -> Factor:
    head, labels, _ = apply("fn", name, [arg])
    return head, labels, e


_NAMED = {
    "sigmoid": [
        lambda one, s, u: (one - s, _fn("sigmoid", -u)),
        lambda one, s, u: (s + s - one, _fn("tanh", u.scale(Fraction(1, 2)))),
    ],
    "Φ": [lambda one, s, u: (one - s, _fn("Φ", -u))],
    "cos": [lambda one, s, u: (one - s * s, _fn("sin", u, 2))],
    "cosh": [lambda one, s, u: (s * s - one, _fn("sinh", u, 2))],
}

