"""Sums over a common denominator, products opened, and exact division."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from symgrad.reader.folds import power
from symgrad.reader.heads import Exponent, Factor, Head, Labels, Term, exact, note, tick
from symgrad.reader.poly import Poly, content, gather, own_labels, product

MOST_IN_NUMERATOR = 12
MOST_STEPS = 80


def holds_sum(head: Head) -> bool:
    """Whether a head is a sum of several terms."""
    return head.kind == "paren" and len(head.args[0].terms) > 1


def together(p: Poly) -> tuple[Poly, list[Factor]] | None:
    """(numerator, denominator's factors with their negative exponents) of a sum; None if p has
    no denominator that is a sum, or its numerator grows too long.
    """
    lowest: dict[tuple[Head, Labels], Exponent] = {}
    for t in p.terms:
        for head, labels, e in t:
            if e < 0 and head.kind == "paren":
                lowest[head, labels] = min(e, lowest.get((head, labels), 0))
    for t in p.terms:
        here = {(h, w): e for h, w, e in t}
        for at in list(lowest):
            if exact(here.get(at, 0) - lowest[at]).denominator != 1:
                del lowest[at]
    if not lowest:
        return None
    below: list[Factor] = [(h, w, e) for (h, w), e in lowest.items()]
    undo = [(h, w, -e) for h, w, e in below]
    raised = gather(p.shape, [(c, [*t, *undo], {}) for t, c in p.terms.items()])
    if len(raised.terms) > MOST_IN_NUMERATOR:
        return None
    note("common-denominator")
    left: list[Factor] = []
    scale, common, top = content(raised) if len(raised.terms) > 1 else (1, (), raised)
    for head, labels, e in below:
        divisor = head.args[0]
        while e < 0 and holds_sum(head) and top.terms:
            quotient = divided(top, divisor.relabel(labels, p.shape))
            if quotient is None:
                break
            note("exact-division")
            top, e = quotient, exact(e + 1)
        if e:
            left.append((head, labels, e))
    if scale != 1 or common:
        top = gather(p.shape, [(scale * v, [*t, *common], {}) for t, v in top.terms.items()])
    return top, left


def divided(p: Poly, q: Poly) -> Poly | None:
    """p / q if that is a sum without new denominators; long division by leading terms."""
    variables = sorted({(h.order, w) for h, w, _ in [*p.factors(), *q.factors()]})
    own = {(h, w) for h, w, _ in q.factors()}
    place = {v: k for k, v in enumerate(variables)}

    def degree(t: Term) -> Any:
        row: list[Exponent] = [0] * len(place)
        new = []
        for h, w, e in t:
            at = place.get((h.order, w))
            if at is None:
                new.append((h.order, w, e))
            else:
                row[at] = e
        return row, new

    lead = max(q.terms, key=degree)
    inverse = [(h, w, -e) for h, w, e in lead]
    result = Poly({}, p.shape)
    rest = p
    for _ in range(min(MOST_STEPS, 8 + 4 * len(p.terms))):  # what does not divide may go on
        if not rest.terms:
            return result
        tick()
        top = max(rest.terms, key=degree)
        step = gather(p.shape, [(Fraction(rest.terms[top]) / q.terms[lead], [*top, *inverse], {})])
        lacks = {(h, w): e for h, w, e in top}
        if any(e < 0 and (h, w) in own and lacks.get((h, w), 0) >= 0 for h, w, e in step.factors()):
            return None
        result = result + step
        rest = rest - product(p.shape, [(step, own_labels(p)), (q, own_labels(p))])
    return None


def simpler(p: Poly) -> Poly:
    """p over its common denominator, if it has one that is a sum."""
    found = together(p)
    if found is None:
        return p
    top, below = found
    return gather(p.shape, [(c, [*t, *below], {}) for t, c in top.terms.items()])


def reciprocal(p: Poly, e: Exponent = -1) -> Poly:
    """p to a negative power; denominators inside p come to the other side."""
    found = together(p) if len(p.terms) > 1 else None
    if found is None:
        return power(p, e)
    top, below = found
    return power(top, e) * power(gather(p.shape, [(1, below, {})]), e)
