"""Linear forms over atoms: what an index is made of, as far as it is linear."""

from __future__ import annotations

import math

from symgrad.expr.node import Expr

Form = tuple[int, frozenset[tuple[Expr, int]]]  # constant, coefficients of the atoms


def constant(value: int) -> Form:
    return value, frozenset()


def plus(a: Form, b: Form, factor: int = 1) -> Form:
    """a + factor * b."""
    terms = dict(a[1])
    for atom, c in b[1]:
        terms[atom] = terms.get(atom, 0) + factor * c
    return a[0] + factor * b[0], frozenset((n, c) for n, c in terms.items() if c)


def times(a: Form, factor: int) -> Form:
    return plus(constant(0), a, factor)


def last_round(start: Form, stop: Form, step: int) -> Form:
    """The greatest value of a variable that begins at `start` and stays below `stop`."""
    length = plus(stop, start, -1)
    if step == 1:
        return plus(stop, constant(-1))
    if not length[1]:
        return plus(start, constant((length[0] - 1) // step * step))
    if all(c % step == 0 for _, c in (*start[1], *stop[1])):
        rest = (length[0] - 1) % step
        return plus(stop, constant(-1 - rest))
    return plus(stop, constant(-1))


def without(form: Form, c: int, fact: Form, f: int) -> Form:
    """A form that is at least 0 only if `form` is, without the atom that both have.

    What is an integer is at least 0 if it is more than -1, and n times it if more than -n.
    """
    g = math.gcd(c, f)
    n = abs(f) // g
    return plus(plus(constant(n - 1), form, n), fact, -(abs(c) // g))


def rounded(form: Form) -> Form:
    """Divided by what all coefficients have in common: they are integers."""
    g = math.gcd(*(c for _, c in form[1])) if form[1] else 1
    return form if g == 1 else (form[0] // g, frozenset((n, c // g) for n, c in form[1]))
