"""Pairs of factors, and pairs of terms, that several products or sums have: computed once.

Greedy: the pair that most have comes first (Hosangadi, Fallah and Kastner, "Optimizing polynomial
expressions by algebraic factorization and common subexpression elimination", IEEE TCAD 2006,
without their rectangles). Counts are kept up to date, so the work is about linear.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from symgrad.scalar.normal import Rebuild, Refs, add_to
from symgrad.scalar.reach import PRODUCT, SUM
from symgrad.scalar.space import Node, Ref, Space

_MOST_TERMS = 64  # of a sum or product whose pairs are looked at
Item = int  # the number of a node, or of a pair, which come behind all nodes
Key = tuple[Item, Item, float]


class _Pairs:
    """What a greedy choice of pairs makes of owners, which have items with numbers.

    defined : of each pair that was chosen its two items and a ratio, in order
    leads : the coefficients of the first items
    first : the number of the first pair
    """

    def __init__(self, owners: Sequence[dict[Item, float]], first: Item) -> None:
        self.owners, self.first = owners, first
        self.defined: list[Key] = []
        self.leads: list[float] = []
        self._where: dict[Key, dict[int, None]] = {}
        self._heap: list[tuple[int, Key]] = []
        for number in range(len(owners)):
            self._enter(number)
        self._heap = [(-len(w), k) for k, w in self._where.items() if len(w) > 1]
        heapq.heapify(self._heap)

    def run(self) -> None:
        while self._heap:
            count, key = heapq.heappop(self._heap)
            having = self._where.get(key, {})
            if len(having) != -count or len(having) < 2:
                continue
            made = self.first + len(self.defined)
            self.defined.append(key)
            self.leads.append(self.lead(key, having))
            for number in list(having):
                self._leave(number)
                self.replace(self.owners[number], key, made)
                self._enter(number)

    def keys(self, owner: dict[Item, float]) -> Iterator[Key]:
        raise NotImplementedError

    def replace(self, owner: dict[Item, float], key: Key, made: Item) -> None:
        raise NotImplementedError

    def lead(self, key: Key, having: Iterable[int]) -> float:
        """The coefficient of the first item in a pair."""
        return 1.0

    def _enter(self, number: int) -> None:
        for key in self._keys(number):
            having = self._where.setdefault(key, {})
            having[number] = None
            if len(having) > 1:
                heapq.heappush(self._heap, (-len(having), key))

    def _leave(self, number: int) -> None:
        for key in self._keys(number):
            having = self._where[key]
            having.pop(number, None)
            if len(having) > 1:
                heapq.heappush(self._heap, (-len(having), key))

    def _keys(self, number: int) -> list[Key]:
        owner = self.owners[number]
        return list(self.keys(owner)) if len(owner) <= _MOST_TERMS else []


class _Factors(_Pairs):
    """Pairs of products: (a, b, 1) is a·b, (a, b, -1) is a/b."""

    def keys(self, owner: dict[Item, float]) -> Iterator[Key]:
        items = sorted(owner.items())
        for k, (a, p) in enumerate(items):
            if abs(p) > 1:
                yield a, a, 1
            for b, q in items[k + 1 :]:
                if p * q > 0:
                    yield a, b, 1
                else:
                    yield (a, b, -1) if p > 0 else (b, a, -1)

    def replace(self, owner: dict[Item, float], key: Key, made: Item) -> None:
        a, b, ratio = key
        if a == b:
            often = int(abs(owner[a])) // 2
            sign = 1 if owner[a] > 0 else -1
            take(owner, a, 2 * often * sign)
        else:
            often = int(min(abs(owner[a]), abs(owner[b])))
            sign = 1 if owner[a] > 0 else -1
            take(owner, a, often * sign)
            take(owner, b, often * sign * ratio)
        owner[made] = often * sign


class _Terms(_Pairs):
    """Pairs of sums: (a, b, r) is a + r b, times what both have."""

    def keys(self, owner: dict[Item, float]) -> Iterator[Key]:
        items = sorted(owner.items())
        for k, (a, c) in enumerate(items):
            for b, d in items[k + 1 :]:
                ratio = d / c
                if ratio * c == d and 1e-9 < abs(ratio) < 1e9:
                    yield a, b, ratio

    def replace(self, owner: dict[Item, float], key: Key, made: Item) -> None:
        a, b, _ = key
        owner[made] = owner.pop(a) / self.leads[made - self.first]
        del owner[b]

    def lead(self, key: Key, having: Iterable[int]) -> float:
        """The size that most have, so that they take the pair as it is; 1 if that is not exact."""
        a, _, ratio = key
        sizes: dict[float, int] = {}
        for number in having:
            size = abs(self.owners[number][a])
            sizes[size] = sizes.get(size, 0) + 1
        best = min(sizes, key=lambda s: (-sizes[s], s))
        exact = all(self.owners[n][a] / best * best == self.owners[n][a] for n in having)
        return best if exact and best * ratio / best == ratio else 1.0


def take(owner: dict[Item, float], item: Item, power: float) -> None:
    """Some powers of an item less."""
    owner[item] -= power
    if not owner[item]:
        del owner[item]


class _Shared(Rebuild):
    """Products or sums made of the pairs that were chosen."""

    kind: str
    pairs: type[_Pairs]

    def __init__(self, space: Space, refs: Refs) -> None:
        super().__init__(space, refs)
        owners = [n for n in self.nodes if n.kind == self.kind]
        self.by_number = {n.number: n for n in self.nodes}
        self.items: dict[Node, dict[Item, float]] = {
            o: {n.number: k for n, k in o.terms} for o in owners
        }
        first = max(self.by_number, default=0) + 1
        self.chosen = self.pairs(list(self.items.values()), first)
        self.chosen.run()
        self.resolved: dict[Item, Ref] = {}

    def resolve(self, item: Item, dtype: str) -> Ref:
        """What an item has become; pairs inside of it first."""
        stack = [item]
        while stack:
            top = stack[-1]
            if top in self.resolved:
                stack.pop()
            elif top < self.chosen.first:
                self.resolved[top] = self.made[self.by_number[top]]
            else:
                a, b, ratio = self.chosen.defined[top - self.chosen.first]
                missing = [k for k in (a, b) if k not in self.resolved]
                if missing:
                    stack.extend(missing)
                else:
                    lead = self.chosen.leads[top - self.chosen.first]
                    (c, n), (d, m) = self.resolved[a], self.resolved[b]
                    if lead != 1:
                        c, d = c * lead, d * lead
                    self.resolved[top] = self.paired((c, n), (d, m), ratio, dtype)
        return self.resolved[item]

    def paired(self, a: Ref, b: Ref, ratio: float, dtype: str) -> Ref:
        raise NotImplementedError


class _SharedFactors(_Shared):
    kind = PRODUCT
    pairs = _Factors

    def product(self, node: Node) -> Ref:
        factors: dict[Node, int] = {}
        scale = 1.0
        for item, power in self.items[node].items():
            c, n = self.resolve(item, node.dtype)
            if not c:
                return super().product(node)
            scale *= c ** int(power)
            add_to(factors, n, int(power))
        c, made = self.space.product(factors, node.dtype)
        return scale * c, made

    def paired(self, a: Ref, b: Ref, ratio: float, dtype: str) -> Ref:
        if not a[0] or not b[0]:
            return self.space.zero
        factors: dict[Node, int] = {}
        add_to(factors, a[1], 1)
        add_to(factors, b[1], int(ratio))
        c, made = self.space.product(factors, dtype)
        return a[0] * b[0] ** int(ratio) * c, made


class _SharedTerms(_Shared):
    kind = SUM
    pairs = _Terms

    def sum(self, node: Node) -> Ref:
        terms: dict[Node, float] = {}
        for item, k in self.items[node].items():
            c, n = self.resolve(item, node.dtype)
            add_to(terms, n, c * k)
        return self.space.sum(terms, node.dtype)

    def paired(self, a: Ref, b: Ref, ratio: float, dtype: str) -> Ref:
        terms: dict[Node, float] = {}
        add_to(terms, a[1], a[0])
        add_to(terms, b[1], b[0] * ratio)
        return self.space.sum(terms, dtype)


def products(space: Space, refs: Refs) -> Refs:
    """Pairs of factors that several products have, as nodes."""
    return _SharedFactors(space, refs).run()


def sums(space: Space, refs: Refs) -> Refs:
    """Pairs of terms that several sums have, as nodes."""
    return _SharedTerms(space, refs).run()
