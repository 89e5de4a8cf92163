"""Stable reductions: logsumexp, softmax and norms."""

from __future__ import annotations

from symgrad.expr.node import CONST, EYE, Expr, bind, const, const_value, is_const
from symgrad.ops.einsum import EINSUM, einsum
from symgrad.ops.elementwise import DIVIDE, MULTIPLY
from symgrad.ops.linear import BROADCAST, SUM, broadcast, sum_
from symgrad.simplify.facts import axes_except
from symgrad.simplify.pattern import Context, Rule, function_rule
from symgrad.simplify.vocabulary import SQUARE, Axes


def _spread_over(node: Expr, x: Expr) -> tuple[Expr, Axes] | None:
    """(reduced, axes) if `node` repeats `reduced` along `axes` to the shape of `x`."""
    if node.op is BROADCAST and node.shape == x.shape:
        return node.args[0], axes_except(node.ndim, node.attrs[1])
    return None


def _is_shift(m: Expr, x: Expr, axes: Axes) -> bool:
    """Whether `m` is the maximum of `x` over `axes`, as users write the shift of an exponential."""
    while True:
        if m.name == "stop_gradient":
            m = m.args[0]
        elif m.name == "select" and m.args[0].name == "isfinite" and is_const(m.args[2], 0):
            m = m.args[1]
        else:
            break
    while x.name == "stop_gradient":
        x = x.args[0]
    return m.name == "max" and m.attrs == (axes,) and m.args[0] is x


def _unshifted(x: Expr, axes: Axes) -> tuple[Expr, Expr] | None:
    """(y, m) if x is y - m with m the maximum of y over `axes`."""
    if x.name == "subtract":
        y = x.args[0]
        spread = _spread_over(x.args[1], y)
        if spread is not None and spread[1] == axes and _is_shift(spread[0], y, axes):
            return y, spread[0]
    return None


def _logsumexp(node: Expr, context: Context) -> Expr | None:
    total = node.args[0]
    if total.op is SUM and total.args[0].name == "exp":
        x, axes = total.args[0].args[0], total.attrs[0]
        if all(x.shape[k] for k in axes):
            return bind("logsumexp", x, attrs=(axes,))
    return None


def _logsumexp_shift(node: Expr, context: Context) -> Expr | None:
    for lse, m in (node.args, node.args[::-1]):
        if lse.name == "logsumexp":
            shifted = _unshifted(lse.args[0], lse.attrs[0])
            if shifted is not None and shifted[1] is m:
                return bind("logsumexp", shifted[0], attrs=lse.attrs)
    return None


def _shifted_logsumexp(node: Expr, context: Context) -> Expr | None:
    """(x - m) - logsumexp(x - m) = x - logsumexp(x)."""
    shifted, spread = node.args[0], _spread_over(node.args[1], node)
    if spread is None or spread[0].name != "logsumexp" or spread[0].args[0] is not shifted:
        return None
    unshifted = _unshifted(shifted, spread[1])
    if unshifted is None:
        return None
    y = unshifted[0]
    lse = bind("logsumexp", y, attrs=spread[0].attrs)
    return y - broadcast(lse, y.shape, node.args[1].attrs[1])


def _softmax_ratio(node: Expr, context: Context) -> Expr | None:
    """exp(x) / Σ exp(x), as a quotient or as a product with the reciprocal."""
    e, total = node.args
    if node.op is MULTIPLY and e.name != "exp":
        e, total = total, e
    if e.name != "exp":
        return None
    spread = _spread_over(total, e)
    if spread is None:
        return None
    s, axes = spread
    if node.op is MULTIPLY:
        if s.op is not DIVIDE or not is_const(s.args[0], 1):
            return None
        s = s.args[1]
    if s.op is SUM and s.attrs == (axes,) and s.args[0] is e and all(e.shape[k] for k in axes):
        return bind("softmax", e.args[0], attrs=(axes,))
    return None


def _softmax_exp(node: Expr, context: Context) -> Expr | None:
    """exp(x - logsumexp(x))"""
    u = node.args[0]
    spread = _spread_over(u.args[1], u)
    if spread is not None and spread[0].name == "logsumexp":
        s, axes = spread
        if s.args[0] is u.args[0] and s.attrs == (axes,):
            return bind("softmax", u.args[0], attrs=(axes,))
    return None


def _softmax_shift(node: Expr, context: Context) -> Expr | None:
    unshifted = _unshifted(node.args[0], node.attrs[0])
    return None if unshifted is None else bind("softmax", unshifted[0], attrs=node.attrs)


def _log_softmax(node: Expr, context: Context) -> Expr | None:
    """log softmax(x) = x - logsumexp(x), also below a slice or a gather of it."""
    p = node.args[0]
    if p.name == "softmax":
        x, axes = p.args[0], p.attrs[0]
        lse = bind("logsumexp", x, attrs=p.attrs)
        return x - broadcast(lse, x.shape, axes_except(x.ndim, axes))
    if p.name in ("slice", "gather", "reshape") and _from_softmax(p):
        return bind(p.op, bind("log", p.args[0]), *p.args[1:], attrs=p.attrs)
    return None


def _from_softmax(p: Expr) -> bool:
    while p.name in ("slice", "gather", "reshape", "permute"):
        p = p.args[0]
    return p.name == "softmax"


def _norm(node: Expr, context: Context) -> Expr | None:
    total = node.args[0]
    if total.op is SUM and total.args[0].op is SQUARE:
        return bind("norm", total.args[0].args[0], attrs=total.attrs)
    if total.op is EINSUM and len(total.args) == 2 and total.args[0] is total.args[1]:
        (left, right), output = total.attrs
        x = total.args[0]
        if x.op is EYE or left != right or len(set(left)) < len(left):
            return None
        if list(output) == [k for k in left if k in output] and len(output) < len(left):
            return bind("norm", x, attrs=(tuple(i for i, k in enumerate(left) if k not in output),))
    return None


def _squared_norm(node: Expr, context: Context) -> Expr | None:
    """‖x‖² and its powers as Σ x², which is smooth at 0; a factor of the norm stays outside."""
    x = node.args[0]
    if node.op is not SQUARE:
        half = float(const_value(node.args[1])) / 2 if node.args[1].op is CONST else 0.0
        if x.name != "norm" or half not in range(1, 33):
            return None
        return bind("power", _sum_of_squares(x), const(half, x.dtype, x.shape))
    if x.name == "norm":
        return _sum_of_squares(x)
    if x.name == "divide" and x.args[0].name == "norm":  # in this order nothing overflows early
        return _sum_of_squares(x.args[0]) / x.args[1] / x.args[1]
    if x.name == "multiply":
        for y, r in (x.args, x.args[::-1]):
            if r.name == "norm":
                return y * (y * _sum_of_squares(r))
    return None


def _sum_of_squares(norm: Expr) -> Expr:
    return sum_(bind("square", norm.args[0]), norm.attrs[0])


def _norm_twice(node: Expr, context: Context) -> Expr | None:
    """‖x‖ (‖x‖ y) = (Σ x²) y."""
    for r, rest in (node.args, node.args[::-1]):
        if r.name == "norm" and rest.op is MULTIPLY and context.single(rest):
            for q, y in (rest.args, rest.args[::-1]):
                if q is r:
                    return _sum_of_squares(r) * y
    return None


def _contracted_roots(node: Expr, context: Context) -> Expr | None:
    """A contraction of a norm with itself is one of its square."""
    inputs, output = node.attrs
    for p, (e, labels) in enumerate(zip(node.args, inputs, strict=True)):
        if e.op.radicand is not None:
            for q in range(p + 1, len(inputs)):
                if node.args[q] is e and inputs[q] == labels:
                    factors = [f for k, f in enumerate(node.args) if k not in (p, q)]
                    terms = [t for k, t in enumerate(inputs) if k not in (p, q)]
                    return einsum([bind("square", e), *factors], [labels, *terms], output)
    return None


STABLE_REDUCTIONS: list[Rule] = [
    function_rule("logsumexp", "log", _logsumexp, "log Σ eˣ = logsumexp(x)", "stable", "sum"),
    function_rule("logsumexp-shift", "add", _logsumexp_shift,
                  "m + logsumexp(x - m) = logsumexp(x) for m = max x", "stable", "logsumexp",
                  rank=0),
    function_rule("logsumexp-shifted", "subtract", _shifted_logsumexp,
                  "(x - m) - logsumexp(x - m) = x - logsumexp(x) for m = max x", "stable",
                  "broadcast", rank=0),
    function_rule("softmax", "divide multiply", _softmax_ratio, "eˣ / Σ eˣ = softmax(x)",
                  "stable", "exp", rank=0),
    function_rule("softmax-exp", "exp", _softmax_exp, "exp(x - logsumexp x) = softmax(x)",
                  "stable", "subtract", rank=0),
    function_rule("softmax-shift", "softmax", _softmax_shift,
                  "softmax(x - max x) = softmax(x)", "stable", "subtract"),
    function_rule("log-softmax", "log", _log_softmax, "log softmax(x) = x - logsumexp(x)",
                  "stable", "softmax slice gather reshape", rank=0),
    function_rule("norm", "sqrt", _norm, "√Σ x² = ‖x‖", "stable", "sum einsum"),
    function_rule("norm-squared", "square power", _squared_norm,
                  "‖x‖²ⁿ = (Σ x²)ⁿ, (y ‖x‖)² = y² Σ x²; smooth at 0", "stable",
                  "norm multiply divide"),
    function_rule("norm-twice", "multiply", _norm_twice, "‖x‖ (‖x‖ y) = (Σ x²) y; smooth at 0",
                  "stable", "norm"),
    function_rule("norm-contracted", "einsum", _contracted_roots,
                  "Σ rᵢ rᵢ = Σ rᵢ² for norms, hypot, |x| and √x; smooth at 0", "stable",
                  "norm hypot absolute sqrt"),
]  # fmt: skip
