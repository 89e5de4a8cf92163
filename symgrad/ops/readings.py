"""What operations mean to a reader: the column `reads`.

Functions of (r, node, a Poly per argument): r is the reader of `symgrad.reader.convert`, whose Polys
add, subtract and multiply element by element. They return the node as a Poly, or None if it is to
stand as it is. Guards that calculus needs are dropped; r notes where.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from symgrad.expr.node import Expr

Reading = Callable[..., Any]


def by(method: str, *more: Any) -> Reading:
    """The reader's own function of that name."""
    return lambda r, node, *args: getattr(r, method)(*more, *args)


def one(like: Any, r: Any) -> Any:
    """Ones of the shape of a Poly."""
    return r.rational(1, like.shape)


# ---- elementwise -----------------------------------------------------------------------------


def reads_add(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return x + y


def reads_subtract(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return x - y


def reads_multiply(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return x * y


def reads_exp2(r: Any, node: Expr, x: Any) -> Any:
    return r.exp(x * r.log(r.rational(2, x.shape)))


def reads_expm1(r: Any, node: Expr, x: Any) -> Any:
    return r.exp(x) - one(x, r)


def reads_log1p(r: Any, node: Expr, x: Any) -> Any:
    return r.log(one(x, r) + x)


def reads_complement_square(r: Any, node: Expr, x: Any) -> Any:
    return one(x, r) - r.to_the(x, 2)


def reads_hypot(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return r.root(r.to_the(x, 2) + r.to_the(y, 2))


def reads_logaddexp(r: Any, node: Expr, x: Any, y: Any) -> Any:
    """log(eᵃ + eᵇ); log(eᵃ + e⁻ᵃ) is log 2 + log cosh a."""
    if x == -y:
        return r.log(r.rational(2, x.shape)) + r.log(r.even("cosh", x, True))
    if not x.terms:
        return r.function("softplus", y, nonneg=True)
    if not y.terms:
        return r.function("softplus", x, nonneg=True)
    return None


def reads_xlogy(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return x * r.log(y)


def reads_xlog1py(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return x * r.log(one(y, r) + y)


def reads_rel_entr(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return x * (r.log(x) - r.log(y))


def reads_erfcx(r: Any, node: Expr, x: Any) -> Any:
    """exp(x²) erfc(x)."""
    return r.exp(r.to_the(x, 2)) * r.erfc(x)


def reads_log_ndtr(r: Any, node: Expr, x: Any) -> Any:
    return r.log(r.normal_cdf(x))


def reads_repeated_tail(r: Any, node: Expr, n: Any, x: Any) -> Any:
    """exp(x²) iⁿerfc(x) by iⁿ = iⁿ⁻²/(2n) - x iⁿ⁻¹/n, from i⁻¹ = 2/√π exp(-x²)."""
    order = n.constant
    if order is None or order.denominator != 1 or not 0 <= order <= 4:
        return None
    below = r.number(2 / math.sqrt(math.pi), x.shape)
    at = reads_erfcx(r, node, x)
    for k in range(1, int(order) + 1):
        below, at = at, below.scale(Fraction(1, 2 * k)) - (x * at).scale(Fraction(1, k))
    return at


def reads_maximum(r: Any, node: Expr, x: Any, y: Any) -> Any:
    """b + [a > b] (a - b): both sides of a kink meet the indicators of its derivative."""
    return y + r.positive(x - y) * (x - y)


def reads_minimum(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return x - r.positive(x - y) * (x - y)


def reads_less(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return r.positive(y - x)


def reads_less_equal(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return r.not_negative(y - x)


def reads_greater(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return r.positive(x - y)


def reads_greater_equal(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return r.not_negative(x - y)


def reads_equal(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return r.zero(x - y)


def reads_not_equal(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return one(x, r) - r.zero(x - y)


def reads_not(r: Any, node: Expr, x: Any) -> Any:
    return one(x, r) - x


def reads_or(r: Any, node: Expr, x: Any, y: Any) -> Any:
    return x + y - x * y


def reads_select(r: Any, node: Expr, c: Any, a: Any, b: Any) -> Any:
    return r.select(node, c, a, b)


def reads_convert(r: Any, node: Expr, x: Any) -> Any:
    """Numbers and truth values as other numbers; None where digits or more would be lost."""
    source = node.args[0].dtype
    if node.dtype == "bool":
        return x if source == "bool" else one(x, r) - r.zero(x)
    return None if source.startswith("float") and node.dtype.startswith("int") else x


# ---- arrays ----------------------------------------------------------------------------------


def reads_broadcast(r: Any, node: Expr, x: Any) -> Any:
    shape, dims = node.attrs
    return r.moved(x, dims, shape)


def reads_sum(r: Any, node: Expr, x: Any) -> Any:
    return r.sum(x, node.attrs[0])


def reads_permute(r: Any, node: Expr, x: Any) -> Any:
    perm = node.attrs[0]
    if r.is_joined(node.args[0]):
        return r.permuted(node, perm)
    return r.moved(x, [perm.index(k) for k in range(len(perm))], node.shape)


def reads_reshape(r: Any, node: Expr, x: Any) -> Any:
    """Axes of size 1 that come or go."""
    source = node.args[0]
    kept = [k for k, n in enumerate(source.shape) if n != 1]
    new = [k for k, n in enumerate(node.shape) if n != 1]
    if [source.shape[k] for k in kept] != [node.shape[k] for k in new]:
        found = None if r.is_joined(source) else r.reshaped(x, source.shape, node.shape)
        return r.regrouped(node, x) if found is None else found
    if r.is_joined(source):
        return r.regrouped(node, x)
    places = dict(zip(kept, new, strict=True))
    gone = {k: 0 for k in range(source.ndim) if k not in places}
    return r.fixed(x, gone, places, node.shape)


def reads_slice(r: Any, node: Expr, x: Any) -> Any:
    """Single elements, rows and columns."""
    starts, sizes, steps = node.attrs
    source = node.args[0].shape
    gone = {k: starts[k] for k, n in enumerate(sizes) if n == 1}
    places = {k: k for k in range(node.ndim) if k not in gone}
    if any(sizes[k] != source[k] or steps[k] != 1 for k in places):
        return None
    return r.fixed(x, gone, places, node.shape)


def reads_pad(r: Any, node: Expr, x: Any) -> Any:
    """Single elements, rows and columns among zeros."""
    shape, starts, _ = node.attrs
    source = node.args[0].shape
    at = {k: starts[k] for k, n in enumerate(source) if n == 1 and shape[k] != 1}
    places = {k: k for k in range(node.ndim) if k not in at}
    if any(source[k] != shape[k] for k in places):
        return None
    return r.placed(r.fixed(x, dict.fromkeys(at, 0), places, shape), at)


def reads_concat(r: Any, node: Expr, *args: Any) -> Any:
    """What is joined of single elements, rows or columns."""
    axis = node.attrs[0]
    if any(a.shape[axis] != 1 for a in node.args):
        return None
    places = {k: k for k in range(node.ndim) if k != axis}
    rows = [r.placed(r.fixed(x, {axis: 0}, places, node.shape), {axis: n})
            for n, x in enumerate(args)]  # fmt: skip
    total = rows[0]
    for row in rows[1:]:
        total = total + row
    return total


def reads_softmax(r: Any, node: Expr, x: Any) -> Any:
    return r.shares(node, node.attrs[0])


def reads_decision(r: Any, node: Expr, x: Any) -> Any:
    """any and all of what is decided everywhere."""
    c = r.decided(x)
    return r.rational(c.constant, node.shape) if c.constant is not None else None


def reads_finite(r: Any, node: Expr, x: Any) -> Any:
    return one(x, r) if x.constant is not None else None


def reads_einsum(r: Any, node: Expr, *args: Any) -> Any:
    inputs, output = node.attrs
    return r.contract(args, inputs, output)


def reads_norm(r: Any, node: Expr, x: Any) -> Any:
    return r.root(r.sum(r.to_the(x, 2), node.attrs[0]))


# ---- linear algebra --------------------------------------------------------------------------


def reads_solve(r: Any, node: Expr, a: Any, b: Any) -> Any:
    """A⁻¹ B."""
    if node.ndim != 2:
        return None
    if r.is_joined(node.args[1]):
        return r.solved(node, r.inverse(a))
    return r.contract([r.inverse(a), b], [(0, 1), (1, 2)], (0, 2))


def reads_solve_transposed(r: Any, node: Expr, a: Any, b: Any) -> Any:
    if node.ndim != 2:
        return None
    if r.is_joined(node.args[1]):
        return r.solved(node, r.transposed(r.inverse(a)))
    return r.contract([r.inverse(a), b], [(1, 0), (1, 2)], (0, 2))


def reads_det(r: Any, node: Expr, a: Any) -> Any:
    return r.det(a) if node.ndim == 0 else None


def reads_cofactor(r: Any, node: Expr, a: Any) -> Any:
    """det(A) A⁻ᵀ, where A is regular."""
    if node.ndim != 2:
        return None
    r.unless_zero(r.det(a))
    return r.contract([r.det(a), r.inverse(a)], [(), (1, 0)], (0, 1))


def reads_logabsdet(r: Any, node: Expr, a: Any) -> Any:
    return r.log(r.absolute(r.det(a))) if node.ndim == 0 else None


def reads_detsign(r: Any, node: Expr, a: Any) -> Any:
    return r.sign(r.det(a)) if node.ndim == 0 else None
