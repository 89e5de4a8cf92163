"""Every P0 operation against 50-digit arithmetic: value, J v, Jᵀ w and Hessian of the compiled C.

The cases are those of oracle_table.py. Their functions run a second time on object arrays of
`taylor.Taylor`, which carry exact first and second derivatives. NumPy only moves these numbers
around; every function, reduction and factorization is written here from its definition.
Run as a script for the table of counts and largest errors.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import oracle_table
import taylor
from taylor import MP, Taylor

import symgrad as sg

# ---- NumPy on object arrays --------------------------------------------------------------------


def _mean(x, axis=None, keepdims=False):
    total = np.sum(x, axis=axis, keepdims=keepdims)
    return total / (np.size(x) // max(1, np.size(total)))


def _var(x, axis=None, ddof=0, keepdims=False):
    squares = (x - _mean(x, axis, keepdims=True)) ** 2
    total = np.sum(squares, axis=axis, keepdims=keepdims)
    return total / (np.size(x) // np.size(total) - ddof)


def _std(x, **options):
    return NUMPY.sqrt(_var(x, **options))


def _clip(x, low, high):
    return NUMPY.minimum(NUMPY.maximum(x, low), high)


def _norm(x, axis=None):
    return NUMPY.sqrt(np.sum(x * x, axis=axis))


def _logsumexp(x, axis=None):
    return NUMPY.log(np.sum(NUMPY.exp(x), axis=axis))


def _softmax(x, axis=None):
    e = NUMPY.exp(x)
    return e / np.sum(e, axis=axis, keepdims=True)


def _log_softmax(x, axis=None):
    return NUMPY.log(_softmax(x, axis))


def _eliminate(a, b):
    """Rows of [a | b] after Gaussian elimination with pivoting, and the sign of the permutation."""
    rows, n, sign = np.concatenate([a, b], axis=1), len(a), 1
    for k in range(n):
        pivot = max(range(k, n), key=lambda i: abs(rows[i, k].value))
        if pivot != k:
            rows[[k, pivot]] = rows[[pivot, k]]
            sign = -sign
        for i in range(k + 1, n):
            rows[i] = rows[i] - rows[k] * (rows[i, k] / rows[k, k])
    return rows, sign


def _back(rows, n):
    """Solution of the triangular system that `_eliminate` leaves."""
    x = rows[:, n:].copy()
    for k in reversed(range(n)):
        x[k] = (x[k] - rows[k, k + 1 : n] @ x[k + 1 :]) / rows[k, k]
    return x


def _stacked(core_dims, f):
    """`f` on the last `core_dims` axes of its first argument, over all leading axes of both."""

    def over(a, *rest):
        lead = np.shape(a)[: np.ndim(a) - core_dims]
        if not lead:
            return f(a, *rest)
        out = [over(a[i], *(r[i] for r in rest)) for i in range(lead[0])]
        return np.stack([np.asarray(o, dtype=object) for o in out])

    return over


def _solve(a, b):
    if np.ndim(b) == 1:
        return _back(_eliminate(a, b[:, None])[0], len(a))[:, 0]
    return _back(_eliminate(a, b)[0], len(a))


def _inv(a):
    return _solve(a, a * 0 + np.eye(len(a), dtype=int))


def _det(a):
    rows, sign = _eliminate(a, a[:, :0])
    return np.prod(np.diagonal(rows)) * sign


def _slogdet(a):
    d = _det(a)
    return taylor.sign(d), taylor.log(abs(d))


def _cholesky(a):
    low = a * 0
    for i in range(len(a)):
        for j in range(i + 1):
            rest = a[i, j] - low[i, :j] @ low[j, :j] if j else a[i, j]
            low[i, j] = taylor.sqrt(rest) if i == j else rest / low[j, j]
    return low


def _solve_triangular(a, b, lower):
    return _solve(np.tril(a) if lower else np.triu(a), b)


class _Numpy:
    """NumPy's names: ours where a definition is needed, else NumPy's own, which moves objects."""

    linalg = SimpleNamespace(
        norm=_norm, solve=_stacked(2, _solve), inv=_stacked(2, _inv), det=_stacked(2, _det),
        slogdet=_slogdet, cholesky=_stacked(2, _cholesky),
    )  # fmt: skip
    mean, var, std = map(staticmethod, (_mean, _var, _std))
    clip = staticmethod(_clip)

    def __getattr__(self, name):
        if name in taylor.UNARY:
            return np.frompyfunc(taylor.UNARY[name], 1, 1)
        if name in taylor.BINARY:
            return np.frompyfunc(taylor.BINARY[name], 2, 1)
        return getattr(np, name)


NUMPY = _Numpy()
EXACT = SimpleNamespace(
    m=NUMPY, s=NUMPY, logsumexp=_logsumexp, softmax=_softmax, log_softmax=_log_softmax,
    solve_triangular=_solve_triangular,
)  # fmt: skip


# ---- comparing ---------------------------------------------------------------------------------


def variables(args, order):
    """The arguments as Taylor numbers, every element a variable of its own, and their indices."""
    made, places, count = [], [], 0
    for a in args:
        index = np.arange(count, count + np.size(a)).reshape(np.shape(a))
        count += np.size(a)
        make = np.frompyfunc(lambda v, i: Taylor.variable(float(v), int(i), order), 2, 1)
        made.append(make(np.asarray(a, dtype=object), index))
        places.append(index)
    return made, places


def error(got, exact) -> float:
    """Largest difference relative to the larger of 1 and the largest element."""
    got, exact = np.asarray(got, dtype=object), np.asarray(exact, dtype=object)
    assert got.shape == exact.shape, (got.shape, exact.shape)
    if not got.size:
        return 0.0
    off = max(abs(MP.mpf(float(g)) - e) for g, e in zip(got.ravel(), exact.ravel(), strict=True))
    return float(off / max(MP.one, *(abs(e) for e in exact.ravel())))


def derivatives(outs, places):
    """Derivative of a scalar Taylor number with respect to the variables at `places`."""
    return [np.frompyfunc(lambda i: outs.derivative(i), 1, 1)(p) for p in places]


def compare(f, args):
    """Errors of value, J v, Jᵀ w and Hessian for all arguments of a case."""
    args = tuple(np.asarray(a) if np.ndim(a) else float(a) for a in args)
    numbers = tuple(range(len(args)))
    xs, places = variables(args, 2)
    exact = np.asarray(f(EXACT, *xs), dtype=object)
    zero = Taylor({(): MP.zero}, 2)
    outs = [zero.lift(o) for o in exact.ravel()]
    rng = np.random.default_rng(7)
    # random directions; a scalar stays a Python number, as the functions take it
    vs = tuple(rng.normal(size=np.shape(a)) if np.ndim(a) else float(rng.normal()) for a in args)
    w = rng.normal(size=exact.shape) if exact.ndim else float(rng.normal())

    def ours(*ys):
        return f(oracle_table.OURS, *ys)

    def everything(ys, us, c):
        return (ours(*ys), sg.jvp(ours, ys, us)[1], sg.vjp(ours, *ys)[1](c),
                sg.hessian(lambda *zs: np.sum(ours(*zs) * c), numbers)(*ys))

    value, pushed, pulled, second = sg.jit(everything)(args, vs, w)

    flat = [MP.mpf(float(v)) for a in vs for v in np.ravel(a)]
    forward = [MP.fsum(o.derivative(i) * v for i, v in enumerate(flat)) for o in outs]
    weighted = sum((o * float(c) for o, c in zip(outs, np.ravel(w), strict=True)), zero)
    reverse = derivatives(weighted, places)

    def block(p, q):
        each = np.frompyfunc(weighted.derivative, 2, 1)
        return each(p.reshape(p.shape + (1,) * q.ndim), q)

    return (
        error(value, np.array([o.value for o in outs], dtype=object).reshape(exact.shape)),
        error(pushed, np.array(forward, dtype=object).reshape(exact.shape)),
        max(error(a, b) for a, b in zip(pulled, reverse, strict=True)),
        max(error(second[i][j], block(p, q))
            for i, p in enumerate(places) for j, q in enumerate(places)),
    )


# ---- which operations are covered ----------------------------------------------------------------

# First-release operations that are not called what their case is called.
CASE_OF = {
    "broadcast add": "add (3, 1) (4,)", "matmul mat·vec": "matmul mv",
    "matmul mat·mat": "matmul mm", "batched matmul": "matmul batched", "tril/triu": "tril triu",
    "swapaxes/moveaxis": "moveaxis", "hstack/vstack": "hstack vstack",
    "fancy int array": "fancy index", "fancy 2 arrays": "fancy two", "functional set": "at set",
    "basic int/slice/ellipsis": "basic index",
}  # fmt: skip
P0 = """
negative absolute sqrt square exp expm1 log log1p log2 log10 sin cos tan sinh cosh tanh sign floor
ceil trunc reciprocal arcsin arccos arctan arcsinh arccosh arctanh add subtract multiply divide
power maximum minimum arctan2 hypot logaddexp mod floor_divide where clip sum prod mean max min var std
logsumexp norm dot outer tensordot einsum trace diagonal diag solve inv det slogdet cholesky
solve_triangular reshape ravel transpose swapaxes concatenate stack expand_dims newaxis squeeze
broadcast_to flip pad take cumsum diff erf erfc gammaln expit xlogy softmax log_softmax scan cond
""".split() + ["sum axis", "prod axis", "mean axis", "max axis", "min axis", "transpose axes",
               "integer index", "negative step", *CASE_OF]  # fmt: skip


def uncovered():
    """First-release operations without a case."""
    names = {c[0] for c in oracle_table.cases()}
    elementwise = {n.split(" (")[0] for n in names}
    return [p for p in P0 if CASE_OF.get(p, p) not in names | elementwise]


if __name__ == "__main__":
    worst, rows = [0.0] * 4, []
    for name, f, args in oracle_table.cases():
        errors = compare(f, args)
        worst = [max(a, b) for a, b in zip(worst, errors, strict=True)]
        rows.append((max(errors), name, errors))
    for _, name, errors in sorted(rows, reverse=True)[:8]:
        print(f"{name:28}" + "".join(f"{e:10.1e}" for e in errors))
    print(f"{len(rows)} cases against {MP.dps} digits; largest error: value {worst[0]:.1e}, "
          f"forward {worst[1]:.1e}, reverse {worst[2]:.1e}, Hessian {worst[3]:.1e}")
    print(f"{len(P0)} first-release operations, without a case: {', '.join(uncovered()) or 'none'}")
