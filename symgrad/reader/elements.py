"""Formulas of single elements, with letters as indices: what matrix notation does not reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from symgrad.inspect import algebra as F
from symgrad.inspect.formula import Formula
from symgrad.reader.heads import FIRST, Exponent, Factor, Head, NoMatrixForm, magnitude
from symgrad.reader.notation import Spelling, integer, numbers, powered
from symgrad.reader.poly import Poly, content

_FREE = "ijklabcdefgh"
_SUMMED = "nmprstuvqwxyz"


class Elements:
    """Writes Polys element by element."""

    def __init__(self, spelling: Spelling) -> None:
        self.spelling = spelling
        self.taken = set(spelling.names.values())

    def formula(self, p: Poly) -> tuple[Formula, tuple[str, ...]]:
        """The element of p at free letters, and these."""
        letters = self._letters(_FREE)
        labels = tuple(next(letters) for _ in p.shape)
        return self._sum(p, dict(enumerate(labels)), self._letters(_SUMMED)), labels

    def _letters(self, pool: str) -> Iterator[str]:
        return (ch for ch in pool if ch not in self.taken)

    def _sum(self, p: Poly, letter: dict[int, str], fresh: Iterator[str]) -> Formula:
        if not p.terms:
            return integer(0)
        c, common, inner = content(p)
        if len(inner.terms) > 1 and (abs(Fraction(c)) != 1 or common):
            body = self._flat(inner, letter, fresh)
            return self._term(c, list(common), letter, fresh, [body])
        return self._flat(p, letter, fresh)

    def _flat(self, p: Poly, letter: dict[int, str], fresh: Iterator[str]) -> Formula:
        terms = [self._term(c, list(t), letter, fresh) for t, c in p.sorted()]
        return terms[0] if len(terms) == 1 else F.add(terms, reorder=False)

    def _term(
        self, c: Exponent, factors: Sequence[Factor], letter: dict[int, str],
        fresh: Iterator[str], more: Sequence[Formula] = (),
    ) -> Formula:  # fmt: skip
        above, below = numbers(magnitude(c), [f for f in factors if f[0].kind == "num"])
        up: list[tuple[Formula, tuple[str, ...]]] = [(f, ()) for f in above]
        summed: list[str] = []
        for head, labels, e in factors:
            if head.kind == "num":
                continue
            raw = head.kind == "paren" and head.args[0].is_raw
            if raw and e == 1:
                up += self._raw(head, labels, letter, fresh, summed)
            elif e < 0:
                below.append(powered(self._factor(head, labels, letter, fresh), -e, 0))
            elif e == 1:
                up.append(self._piece(head, labels, letter, fresh))
            else:
                up.append((powered(self._factor(head, labels, letter, fresh), e, 0), ()))
        up += [(f, ()) for f in more]
        if len(up) == 1 and not up[0][1]:
            body = up[0][0]
        elif not up:
            body = integer(1)
        else:
            data = (tuple(summed), tuple(w for _, w in up))
            body = Formula("sigma", tuple(f for f, _ in up), data)
        if below:
            body = F.divide(body, F.hadamard(below))
        return F.neg(body) if c < 0 else body

    def _raw(
        self, head: Head, labels: Sequence[int], letter: dict[int, str], fresh: Iterator[str],
        summed: list[str],
    ) -> list[tuple[Formula, tuple[str, ...]]]:  # fmt: skip
        """What is summed over, its letters added to those of the whole term."""
        ((term, _),) = head.args[0].terms.items()
        mine = {n: letter[k] for n, k in enumerate(labels) if k >= 0}
        for _, where, _ in term:
            for k in where:
                if k >= FIRST and k not in mine:
                    mine[k] = next(fresh, "")
                    if not mine[k]:
                        raise NoMatrixForm
                    summed.append(mine[k])
        pieces = []
        for h, where, e in term:
            if e == 1:
                pieces.append(self._piece(h, where, mine, fresh))
            else:
                f = powered(self._factor(h, where, mine, fresh), magnitude(e), 0)
                pieces.append((f if e > 0 else F.divide(integer(1), f), ()))
        return pieces

    def _piece(
        self, head: Head, labels: Sequence[int], letter: dict[int, str], fresh: Iterator[str]
    ) -> tuple[Formula, tuple[str, ...]]:
        """An array and the letters at it, or an element and none."""
        where = tuple(letter[k] if k >= 0 else str(-1 - k) for k in labels)
        if head.kind == "delta":
            return F.symbol("δ", r"\delta", 2), where
        if head.kind in ("sym", "inv", "opaque") and labels:
            return self.spelling.head(head), where
        return self._factor(head, labels, letter, fresh), ()

    def _factor(
        self, head: Head, labels: Sequence[int], letter: dict[int, str], fresh: Iterator[str]
    ) -> Formula:
        if head.kind in ("sym", "inv", "opaque", "delta") and labels:
            f, where = self._piece(head, labels, letter, fresh)
            if head.kind == "delta":
                return Formula("sigma", (f,), ((), (where,)))
            return Formula("index", (f,), ",".join(where))
        if not labels:
            return self.spelling.head(head)
        mine = {n: letter[k] for n, k in enumerate(labels)}
        if head.kind == "paren":
            return self._sum(head.args[0], mine, fresh) if not head.args[0].is_raw else (
                self._term(1, [(head, tuple(labels), 1)], letter, fresh)
            )  # fmt: skip
        args = [self._sum(a, mine, fresh) for a in head.args]
        return self.spelling.called(head, args)


__all__ = ["Elements"]
