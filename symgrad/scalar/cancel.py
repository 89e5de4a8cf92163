"""Products multiplied out where terms then vanish or join, and nowhere else.

    x (a + b) - x a = x b        c sin²u + c cos²u = c

x (a + b) is multiplied out only if a + b is no closed sum, and one sum only of each product: then
the errors of x a and x b are those that a and b bring anyway. (a - b)² is never: its own error is
far smaller than that of a².
"""

from __future__ import annotations

from symgrad.ops.elementwise import COS, SIN
from symgrad.scalar.normal import Rebuild, Refs, Terms, add_to
from symgrad.scalar.reach import LEAF, PRODUCT, SUM
from symgrad.scalar.space import Node, Ref, Space

_MOST_INSIDE = 6  # terms of a sum that is multiplied out
_MOST_TERMS = 40  # of all together
Factors = tuple[tuple[Node, int], ...]


class _Cancelled(Rebuild):
    def sum(self, node: Node) -> Ref:
        plain = super().sum(node)
        if node.closed or plain[1].kind != SUM:
            return plain
        total, made = self._multiplied(plain)
        joined = self._joined(total.terms, node.dtype)
        if total.cancels_badly() or total.grows(self.uses):
            return plain
        if len(joined) >= made or not self._shorter(joined, plain[1]):
            return plain
        result: Ref = self.space.sum(joined, node.dtype)
        return plain[0] * result[0], result[1]

    def _multiplied(self, ref: Ref) -> tuple[Terms, int]:
        """The terms of a sum with one sum in each product opened, again and again; and how many
        were made before equal ones met."""
        dtype = ref[1].dtype
        terms = Terms()
        made = 0
        # what is to be opened, with the sums that must stay whole beside it
        waiting = [(c, n, frozenset[Node]()) for n, c in reversed(ref[1].terms)]
        while waiting:
            c, n, whole = waiting.pop()
            factors = _flat(n) if n.kind == PRODUCT else {n: 1}
            sums = [f for f, p in factors.items() if f.kind == SUM and f not in whole]
            inner = sums[0] if len(sums) == 1 else None
            opens = (
                inner is not None and factors[inner] == 1 and not inner.closed
                and len(inner.terms) <= _MOST_INSIDE
                and len(waiting) + len(terms.terms) < _MOST_TERMS
            )  # fmt: skip
            if not opens or inner is None:
                k, made_node = self.space.product(factors, dtype)
                terms.add(made_node, c * k)
                made += 1
                continue
            rest = {f: p for f, p in factors.items() if f is not inner}
            beside = whole.union(f for f in rest if f.kind == SUM)
            for part, k in inner.terms:
                new = dict(rest)
                for f, p in (_flat(part) if part.kind == PRODUCT else {part: 1}).items():
                    add_to(new, f, p)
                scale, product = self.space.product(new, dtype)
                waiting.append((c * k * scale, product, beside))
        return terms, made

    def _joined(self, terms: dict[Node, float], dtype: str) -> dict[Node, float]:
        """c sin²u r + c cos²u r = c r, as long as there are such terms."""
        waiting = list(terms)
        result = dict(terms)
        while waiting:
            n = waiting.pop()
            c = result.get(n)
            if c is None or n.kind != PRODUCT:
                continue
            for f, p in n.terms:
                if p != 2 or f.row is not SIN and f.row is not COS:
                    continue
                turned = self.space.function(
                    COS if f.row is SIN else SIN, f.terms, f.types, dtype
                )[1]  # fmt: skip
                rest = {g: q for g, q in n.terms if g is not f}
                other = self.space.product({**rest, turned: 2}, dtype)[1]
                if result.get(other) == c:
                    del result[n], result[other]
                    k, left = self.space.product(rest, dtype)
                    add_to(result, left, c * k)
                    waiting.append(left)
                    break
        return result

    def _shorter(self, terms: dict[Node, float], plain: Node) -> bool:
        """Whether terms need fewer operations than a sum with what it alone is made of."""
        before, stack = 0, [plain]
        while stack:
            n = stack.pop()
            before += _operations(n)
            stack.extend(m for m, _ in n.terms
                         if n.kind in (SUM, PRODUCT) and m.kind in (SUM, PRODUCT)
                         and (self.alone(m) or n is plain and m.kind == PRODUCT))  # fmt: skip
        after = (
            len(terms)
            - 1
            + sum(_operations(n) + (abs(c) != 1) for n, c in terms.items() if n.kind == PRODUCT)
        )
        return after <= before

    def alone(self, node: Node) -> bool:
        """Whether only one other uses a node, as far as is known."""
        return self.uses.get(node, 1) == 1


def _flat(product: Node) -> dict[Node, int]:
    """The factors of a product, with those of products inside."""
    factors: dict[Node, int] = {}
    stack = [(n, p) for n, p in reversed(product.terms)]
    while stack:
        n, p = stack.pop()
        if n.kind == PRODUCT:
            stack.extend((m, p * q) for m, q in reversed(n.terms))
        else:
            add_to(factors, n, p)
    return factors


def _operations(node: Node) -> int:
    if node.kind == SUM:
        scaled = [n for n, c in node.terms if abs(c) != 1 and n.kind != LEAF]
        return len(node.terms) - 1 + len(scaled)
    if node.kind == PRODUCT:
        powers: list[int] = [abs(p) for _, p in node.terms]
        return sum(powers) - 1
    return 0


def cancel(space: Space, refs: Refs) -> Refs:
    """Sums whose products are multiplied out, where that is shorter."""
    return _Cancelled(space, refs).run()
