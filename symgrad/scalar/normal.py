"""What makes a space of scalars shorter: flat sums and products, common factors, shared pairs.

Every pass takes results as references and gives others, made anew from the leaves: nothing is
changed in place. Sums are associated anew only as `space` says that they may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from symgrad.scalar.reach import FUNCTION, LEAF, PRODUCT, SUM, Reach, tells_signs
from symgrad.scalar.space import Node, Ref, Space, is_number, is_shift, number_of
from symgrad.scalar.writing import order

Refs = list[Ref]
Pass = Callable[[Space, Refs], Refs]
Factor = tuple[Node, int]  # and the sign of its power
_MOST_GUARDS = 4  # for which something goes; beyond, all of it stays
_MOST_PASSED = 1  # terms of the other sign where equal ones are brought together


def uses(refs: Sequence[Ref], nodes: Sequence[Node]) -> dict[Node, int]:
    """How often each node is referred to, by results as well."""
    found = dict.fromkeys(nodes, 0)
    for node in nodes:
        for n in node.nodes():
            found[n] += 1
    for _, n in refs:
        found[n] += 1
    return found


def signed(nodes: Sequence[Node]) -> frozenset[Node]:
    """Nodes whose zeros have a sign that counts: what is divided by, an argument of arctan2.

    a - b is +0 where a is b, and so is x a - x b; x (a - b) may be -0.
    """
    found: set[Node] = set()
    for node in reversed(nodes):
        inside = node in found and node.kind != SUM
        if node.kind == PRODUCT:
            found.update(n for n, p in node.terms if inside or p < 0)
        elif node.kind == FUNCTION and node.row is not None:
            if inside or tells_signs(node.row, len(node.terms), node.attrs):
                found.update(n for _, n in node.terms)
    return frozenset(found)


class Rebuild:
    """Makes nodes anew, operands first; a pass says what becomes of sums and products."""

    def __init__(self, space: Space, refs: Sequence[Ref]) -> None:
        self.space, self.refs = space, refs
        self.nodes = order(refs)
        self.uses = uses(refs, self.nodes)
        self.made: dict[Node, Ref] = {}
        self.signed = frozenset[Node]() if space.reach is None else signed(self.nodes)

    def run(self) -> Refs:
        """The results, made anew."""
        for node in self.nodes:
            self.made[node] = self.rebuilt(node)
            if self.space.reach is not None and node.kind in (SUM, PRODUCT):
                self.made[node] = self._reached(node, self.made[node], self.space.reach)
        return [self.of(r) for r in self.refs]

    def _reached(self, node: Node, made: Ref, reach: Reach) -> Ref:
        """What has become of a sum or product; as it was, or guarded, if it lost a source."""
        sources = 0
        for old, p in node.terms:
            c, n = self.made[old]
            if c:
                sources |= reach.of[n] if p > 0 or node.kind == SUM else reach.inverse(n)
        lost = sources & ~self._sources(made, reach)
        changed = node in self.signed and node.kind == SUM and (made[0] < 0 or made[1].kind != SUM)
        if changed or lost.bit_count() > _MOST_GUARDS:
            made = Rebuild.sum(self, node) if node.kind == SUM else Rebuild.product(self, node)
        if not sources & ~self._sources(made, reach):
            return made
        terms = {} if not made[0] or self.space.is_idle(made[1]) else {made[1]: made[0]}
        return self.space.guarded(terms, sources, node.dtype)

    @staticmethod
    def _sources(ref: Ref, reach: Reach) -> int:
        return reach.of[ref[1]] if ref[0] else 0

    def of(self, ref: Ref) -> Ref:
        """What a reference has become."""
        c, node = self.made[ref[1]]
        return (c, node) if ref[0] == 1 else (ref[0] * c, node)

    def rebuilt(self, node: Node) -> Ref:
        if node.kind == LEAF:
            return 1.0, node
        if node.kind == SUM:
            return self.sum(node)
        if node.kind == PRODUCT:
            return self.product(node)
        assert node.row is not None
        args = [self.of(r) for r in node.terms]
        return self.space.function(node.row, args, node.types, node.dtype, node.attrs)

    def sum(self, node: Node) -> Ref:
        """A sum of the terms as they have become."""
        terms: dict[Node, float] = {}
        for n, c in node.terms:
            c, n = self.of((c, n))
            add_to(terms, n, c)
        return self.space.sum(terms, node.dtype)

    def product(self, node: Node) -> Ref:
        """A product of the factors as they have become."""
        factors: dict[Node, int] = {}
        scale = 1.0
        for n, p in node.terms:
            c, n = self.made[n]
            if not c and p > 0:
                return self.space.zero
            if c:
                scale *= c**p
            else:  # 1 / 0, which C shall compute
                n = self.space.number(0.0, node.dtype)
            add_to(factors, n, p)
        total = self.space.product(factors, node.dtype)
        return scale * total[0], total[1]


def add_to(terms: dict[Node, float] | dict[Node, int], node: Node, number: float) -> None:
    """One more term of a sum, or factor of a product."""
    total = terms.get(node, 0) + number
    if total:
        terms[node] = total  # type: ignore[assignment]
    else:
        terms.pop(node, None)


class Terms:
    """The terms of a sum that is being made of others.

    cancelled : whether some took others away, in part at least
    collected : terms that were added to equal ones
    """

    def __init__(self) -> None:
        self.terms: dict[Node, float] = {}
        self.cancelled = False
        self.collected: set[Node] = set()

    def add(self, node: Node, c: float) -> None:
        before = self.terms.get(node, 0.0)
        self.cancelled = self.cancelled or before * c < 0
        if before * c > 0:
            self.collected.add(node)
        add_to(self.terms, node, c)

    def cancels_badly(self) -> bool:
        """Whether exact terms are left alone by those that were beside them.

        The errors of what has gone are no measure any more: x - m + (m - y) may be x - y, but two
        such differences must not be added in another order.
        """
        return self.cancelled and sum(n.exact for n in self.terms) > 1

    def grows(self, uses: Mapping[Node, int]) -> bool:
        """Whether equal terms were brought together past several of the other sign.

        In g x - y + h x - z + k x - w, where g x is about y, every partial sum is small, but none
        is in (g + h + k) x - y - z - w. Terms of which a factor was taken out are still several.
        """
        for sign in (1, -1) if self.collected else ():
            found, passed = False, 0
            for n, c in self.terms.items():
                if c * sign > 0:
                    found = found or n in self.collected
                elif found:
                    passed += _width(n, uses)
            if passed > _MOST_PASSED:
                return True
        return False


def _width(node: Node, uses: Mapping[Node, int]) -> int:
    """How many terms stand in a term that nobody else uses."""
    inner = [n for n, _ in node.terms] if node.kind == PRODUCT else [node]
    return max([len(n.terms) for n in inner if n.kind == SUM and uses.get(n, 1) == 1], default=1)


def _is_scaled_sum(node: Node) -> bool:
    """Whether a node is a sum, or one times or over numbers."""
    if node.kind == PRODUCT:
        inner = [n for n, p in node.terms if not (n.kind == LEAF and n.dtype and is_number(n))]
        return len(inner) == 1 and inner[0].kind == SUM
    return node.kind == SUM


class _Flat(Rebuild):
    """A sum that one sum uses goes into it, unless it is closed; so do products that may."""

    def sum(self, node: Node) -> Ref:
        if node.closed:
            return super().sum(node)
        total = Terms()
        for old, coefficient in node.terms:
            c, n = self.of((coefficient, old))
            if n.kind == SUM and self.uses[old] == 1 and not self.closed(old, n):
                for inner, k in n.terms:
                    total.add(inner, c * k)
            else:
                total.add(n, c)
        if total.cancels_badly() or total.grows(self.uses):
            return super().sum(node)
        return self.space.sum(total.terms, node.dtype)

    def closed(self, old: Node, made: Node) -> bool:
        """Whether the terms of a sum stay together: two that are exact, or as good as exact.

        That is a scaled sum which several use, such as a mean: its error is the same everywhere,
        and may go where these meet.
        """
        return made.closed or (
            old.kind == SUM and len(old.terms) == 2
            and all(n.exact and is_shift(c) or self.uses[n] > 1 and _is_scaled_sum(n)
                    for n, c in old.terms)
        )  # fmt: skip

    def product(self, node: Node) -> Ref:
        if self.space.keeps_products:
            return super().product(node)
        factors: dict[Node, int] = {}
        scale = 1.0
        for old, p in node.terms:
            c, n = self.made[old]
            if not c:
                return super().product(node)
            scale *= c**p
            if n.kind == PRODUCT and self.uses[old] == 1:
                for inner, q in n.terms:
                    add_to(factors, inner, p * q)
            else:
                add_to(factors, n, p)
        c, n = self.space.product(factors, node.dtype)
        return self._divided(node, scale * c, n)

    def _divided(self, node: Node, scale: float, made: Node) -> Ref:
        """A sum over a number, whose terms all have coefficients: these are divided.

        Each term is rounded anyway, and once instead of twice.
        """
        parts = dict(made.terms) if made.kind == PRODUCT else {}
        numbers = [n for n in parts if n.kind == LEAF and n.dtype and is_number(n)]
        inner = [n for n in parts if n.kind == SUM and parts[n] == 1]
        if len(parts) != 2 or len(numbers) != 1 or len(inner) != 1 or inner[0].closed:
            return scale, made
        total, number = inner[0], numbers[0]
        alone = all(self.uses[old] == 1 for old, _ in node.terms if self.made[old][1] is total)
        if not alone or any(is_shift(c) or n is self.space.one for n, c in total.terms):
            return scale, made
        by = number_of(number) ** parts[number]
        if not math.isfinite(by) or not all(
            self.space.is_moderate(c * by, made.dtype) for _, c in total.terms
        ):
            return scale, made
        c, n = self.space.sum({n: c * by for n, c in total.terms}, made.dtype)
        return scale * c, n


def flat(space: Space, refs: Refs) -> Refs:
    """Sums of sums and products of products as one, where nobody else uses what is inside."""
    return _Flat(space, refs).run()


class _Factor(Rebuild):
    """x a + x b becomes x (a + b), for the factor that most terms of a sum have."""

    def sum(self, node: Node) -> Ref:
        terms = [(self.of((c, n)), self.uses[n]) for n, c in node.terms]
        flat: dict[Node, float] = {}
        for (c, n), _ in terms:
            add_to(flat, n, c)
        # what others use as well is computed anyway
        alone = {n for (_, n), count in terms if count == 1 and n.kind == PRODUCT}
        return self._factored(flat, alone, node.dtype)

    def _factored(self, terms: dict[Node, float], alone: set[Node], dtype: str) -> Ref:
        left_in: set[Factor] = set()
        while True:
            counts: dict[Factor, int] = {}
            for n in terms:
                if n in alone:
                    for base, power in n.terms:
                        key = base, 1 if power > 0 else -1
                        counts[key] = counts.get(key, 0) + 1
            best = min((k for k in counts if counts[k] > 1 and k not in left_in),
                       key=lambda k: (-counts[k], -k[1], k[0].number), default=None)  # fmt: skip
            if best is None:
                return self.space.sum(self._by_size(terms, dtype), dtype)
            base, sign = best
            inside, taken = Terms(), []
            for n in terms:
                powers = dict(n.terms) if n in alone else {}
                if powers.get(base, 0) * sign > 0:
                    add_to(powers, base, -sign)
                    c, rest = self.space.product(powers, dtype)
                    inside.add(rest, c * terms[n])
                    taken.append(n)
            if inside.grows(self.uses):
                left_in.add(best)
                continue
            for n in taken:
                del terms[n]
            within = {n for n in inside.terms if n.kind == PRODUCT}
            inner = self._factored(inside.terms, within, dtype)
            c, made = self._extended(inner, base, sign, dtype)
            add_to(terms, made, c)
            alone.discard(made)

    def _extended(self, inner: Ref, base: Node, power: int, dtype: str) -> Ref:
        """A reference times one more factor."""
        c, n = inner
        if not c:
            return self.space.zero
        opens = n.kind == PRODUCT and not self.space.keeps_products
        factors = dict(n.terms) if opens else {n: 1}
        add_to(factors, base, power)
        k, made = self.space.product(factors, dtype)
        return c * k, made

    def _by_size(self, terms: dict[Node, float], dtype: str) -> dict[Node, float]:
        """Terms whose coefficients have one size are added first, and multiplied once."""
        groups: dict[float, list[Node]] = {}
        for n, c in terms.items():
            if abs(c) != 1 and n is not self.space.one:
                groups.setdefault(abs(c), []).append(n)
        result = dict(terms)
        for size, nodes in groups.items():
            if 2 <= len(nodes) < len(terms):
                c, made = self.space.sum({n: terms[n] / size for n in nodes}, dtype)
                for n in nodes:
                    del result[n]
                add_to(result, made, c * size)
        return result


def factor(space: Space, refs: Refs) -> Refs:
    """Common factors of the terms of sums, once."""
    return _Factor(space, refs).run()
