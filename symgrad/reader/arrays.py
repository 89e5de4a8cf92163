"""What a reader does with whole arrays: axes, contractions, inverses, determinants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from symgrad.expr.node import Expr
from symgrad.reader.folds import power
from symgrad.reader.heads import FIRST, Factor, Head, Labels, Shape, at, note
from symgrad.reader.poly import Poly, gather, product
from symgrad.reader.poly import number as rational

Groups = list[list[int]]  # of axes of a Poly that are one axis of a node each, in its order


class Arrays:
    """The part of a reader for whole arrays."""

    if TYPE_CHECKING:

        def factor(self, head: Head, shape: Shape) -> Poly: ...

    joined: dict[Expr, tuple[Poly, Groups]]  # nodes some of whose axes are several in one

    def is_joined(self, node: Expr) -> bool:
        """Whether some axes of a node are several axes of a Poly in one: it is opaque itself."""
        return node in self.joined

    def permuted(self, node: Expr, perm: Sequence[int]) -> None:
        p, groups = self.joined[node.args[0]]
        self.joined[node] = p, [groups[k] for k in perm]

    def regrouped(self, node: Expr, x: Poly) -> Poly | None:
        """A reshape that joins axes, or takes apart what others have joined."""
        p, groups = self.joined.get(node.args[0], (x, [[k] for k in range(len(x.shape))]))
        left = [k for g in groups for k in g]
        order = list(left)
        new: Groups = []
        for size in node.shape:
            group: list[int] = []
            while left and math.prod([p.shape[k] for k in group]) < size:
                group.append(left.pop(0))
            if not group or math.prod([p.shape[k] for k in group]) != size:
                return None
            new.append(group)
        if left:
            return None
        if all(len(g) == 1 for g in new):
            return p.relabel([order.index(k) for k in range(len(order))], node.shape)
        self.joined[node] = p, new
        return None

    def solved(self, node: Expr, inverse: Poly) -> None:
        """A⁻¹ B, where the columns of B are several axes in one."""
        p, groups = self.joined[node.args[1]]
        if len(groups[0]) == 1:
            at, new = groups[0][0], len(p.shape)
            labels = tuple(range(new))
            output = tuple([new if k == at else k for k in labels])
            found = self.contract([inverse, p], [(new, at), labels], output)
            self.joined[node] = found, groups

    def moved(self, x: Poly, new: Sequence[int], shape: Shape) -> Poly:
        """Axis k of x becomes axis new[k]."""
        return x.relabel(list(new), shape)

    def fixed(self, x: Poly, gone: dict[int, int], places: dict[int, int], shape: Shape) -> Poly:
        """The elements of x at index gone[k] of axis k; its other axes become places[k]."""
        new = [at(gone[k]) if k in gone else places[k] for k in range(len(x.shape))]
        return product(shape, [(x, tuple(new))])

    def placed(self, x: Poly, where: dict[int, int]) -> Poly:
        """x where each axis has the given index, else 0."""
        deltas: list[Factor] = [
            (Head("delta", x.shape[k], (), (x.shape[k],) * 2, True, True), (k, at(n)), 1)
            for k, n in where.items()
        ]
        return x * gather(x.shape, [(1, deltas, {})])

    def sum(self, x: Poly, axes: Sequence[int]) -> Poly:
        kept = [k for k in range(len(x.shape)) if k not in axes]
        new = {k: n for n, k in enumerate(kept)} | {k: FIRST + n for n, k in enumerate(axes)}
        shape = tuple([x.shape[k] for k in kept])
        sizes = {new[k]: x.shape[k] for k in axes}
        return x.relabel([new[k] for k in range(len(x.shape))], shape, sizes)

    def contract(self, polys: Sequence[Poly], inputs: Sequence[Labels], output: Labels) -> Poly:
        """einsum."""
        sizes: dict[int, int] = {}
        for p, labels in zip(polys, inputs, strict=True):
            sizes.update(zip(labels, p.shape, strict=True))
        new = {k: n for n, k in enumerate(output)}
        summed = {}
        for k, n in sizes.items():
            if k not in new:
                new[k] = FIRST + len(new)
                summed[new[k]] = n
        parts = [(p, tuple([new[k] for k in labels]))
                 for p, labels in zip(polys, inputs, strict=True)]  # fmt: skip
        return product(tuple([sizes[k] for k in output]), parts, summed)

    def reshaped(self, x: Poly, source: Shape, target: Shape) -> Poly | None:
        """δ of split axes as a product of δ; A[i,k] B[j,l] of joined axes as A ⊗ B."""
        n = len(source)
        if (n, len(target)) == (4, 2) and (source[0] * source[1], source[2] * source[3]) == target:
            return self._kronecker(x, source, target)
        half = len(target) // 2
        sizes = target[:half]
        if n == 2 and len(target) > 2 and target == (*sizes, *sizes) and source[0] == source[1]:
            if all(len(t) == 1 and t[0][0].kind == "delta" for t in x.terms):
                note("split-delta")
                total = rational(0, target)
                for c in x.terms.values():
                    deltas: list[Factor] = [
                        (Head("delta", m, (), (m, m), True, True), (k, k + half), 1)
                        for k, m in enumerate(sizes)
                    ]
                    total = total + gather(target, [(c, deltas, {})])
                return total
        return None

    def _kronecker(self, x: Poly, source: Shape, target: Shape) -> Poly | None:
        total = rational(0, target)
        for t, c in x.terms.items():
            sides: list[list[Factor]] = [[], []]
            scalars: list[Factor] = []
            for f in t:
                which = {k % 2 for k in f[1]}
                if len(which) > 1:
                    return None
                (sides[which.pop()] if which else scalars).append(f)
            if not sides[0] or not sides[1]:
                return None
            args = tuple(
                [
                    gather(
                        source[k::2],
                        [(1, [(h, _halves(ws), e) for h, ws, e in s], {})],
                    )
                    for k, s in enumerate(sides)
                ]
            )
            note("kronecker")
            head = Head("opaque", ("kron", ""), args, target)
            total = total + gather(target, [(c, [*scalars, (head, (0, 1), 1)], {})])
        return total

    def inverse(self, a: Poly) -> Poly:
        """A⁻¹ of a matrix."""
        found = self._inverse_of_product(a)
        if found is not None:
            return found
        turned = self.transposed(a)
        if turned.digest < a.digest:
            return self.transposed(self.inverse(turned))
        symmetric = turned == a
        return self.factor(Head("inv", None, (a,), a.shape, symmetric), a.shape)

    def _inverse_of_product(self, a: Poly) -> Poly | None:
        """That of a diagonal matrix, of a product of square ones, of an inverse; (c A)⁻¹."""
        if len(a.terms) != 1:
            return None
        ((term, c),) = a.terms.items()
        wide = [f for f in term if len(set(f[1])) == 2]
        rest = [f for f in term if f not in wide]
        if len(wide) != 1:
            return None
        head, labels, e = wide[0]
        if head.kind == "delta":
            return gather(a.shape, [(1 / Fraction(c), [wide[0], *_inverted(rest)], {})])
        if rest or e != 1:
            if e != 1 or any(f[1] for f in rest):
                return None
            inner = self.inverse(gather(a.shape, [(1, [wide[0]], {})]))
            return inner * gather(a.shape, [(1 / Fraction(c), _inverted(rest), {})])
        if c != 1:
            return self.inverse(a.scale(1 / Fraction(c))).scale(1 / Fraction(c))
        if head.kind == "inv":
            return head.args[0].relabel(labels, a.shape)
        chain = square_chain(head, labels)
        if chain is None:
            return None
        note("inverse-of-product")
        polys = [self.inverse(gather(a.shape, [(1, [(h, (1, 0) if turned else (0, 1), 1)], {})]))
                 for h, turned in reversed(chain)]  # fmt: skip
        n = len(polys)
        return self.contract(polys, [(k, k + 1) for k in range(n)], (0, n))

    def det(self, a: Poly) -> Poly:
        chain = None
        if len(a.terms) == 1:
            ((term, c),) = a.terms.items()
            if len(term) == 1 and c == 1 and term[0][2] == 1:
                chain = square_chain(*term[0][:2])
        if chain is not None and len({head for head, _ in chain}) == 1:
            note("determinant-of-power")
            one = self.det(gather(a.shape, [(1, [(chain[0][0], (0, 1), 1)], {})]))
            return power(one, len(chain))
        turned = a.relabel((1, 0), a.shape)
        a = min(a, turned, key=lambda p: p.digest)
        return self.factor(Head("det", None, (a,), ()), ())

    def transposed(self, a: Poly) -> Poly:
        return a.relabel((1, 0), a.shape[::-1])


def _inverted(factors: Sequence[Factor]) -> list[Factor]:
    return [(h, w, -e) for h, w, e in factors]


def square_chain(head: Head, labels: Labels) -> list[tuple[Head, bool]] | None:
    """The matrices of a product from label 0 to 1, and which are transposed, if all are square."""
    if head.kind != "paren" or not head.args[0].is_raw:
        return None
    ((term, c),) = head.args[0].terms.items()
    if c != 1 or any(len(set(w)) != 2 or e != 1 or h.shape[0] != h.shape[1] for h, w, e in term):
        return None
    here, goal = (0, 1) if labels == (0, 1) else (1, 0)
    left = list(term)
    chain: list[tuple[Head, bool]] = []
    while left:
        on = [f for f in left if here in f[1]]
        if len(on) != 1:
            return None
        h, w, _ = on[0]
        left.remove(on[0])
        chain.append((h, w[0] != here))
        here = w[1] if w[0] == here else w[0]
    return chain if here == goal else None


def _halves(labels: Labels) -> Labels:
    return tuple([k // 2 for k in labels])
