"""Every P0 operation against 50-digit arithmetic: value, J v, Jᵀ w and Hessian of the compiled C.

The cases are those of oracle_table.py, and awkward shapes and third derivatives from
shape_table.py. Their functions run a second time on object arrays of `taylor.Taylor`, which carry
exact derivatives. NumPy only moves these numbers around and adds and multiplies them; every
function, mean, norm and factorization is written here from its definition.
Run as a script for the tables of counts and largest errors.
"""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np

import symgrad as sg
from support import oracle_table, shape_table, taylor
from support.taylor import MP, Taylor

# ---- NumPy on object arrays --------------------------------------------------------------------


def _count(x, axis):
    axes = range(np.ndim(x)) if axis is None else np.ravel(axis)
    return math.prod(np.shape(x)[k] for k in axes)


def _mean(x, axis=None, keepdims=False):
    return np.sum(x, axis=axis, keepdims=keepdims) / _count(x, axis)


def _var(x, axis=None, ddof=0, keepdims=False):
    squares = (x - _mean(x, axis, keepdims=True)) ** 2
    return np.sum(squares, axis=axis, keepdims=keepdims) / (_count(x, axis) - ddof)


def _std(x, **options):
    return NUMPY.sqrt(_var(x, **options))


def _clip(x, low, high):
    return NUMPY.minimum(NUMPY.maximum(x, low), high)


def _norm(x, axis=None, keepdims=False):
    return NUMPY.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


def _logsumexp(x, axis=None, keepdims=False):
    return NUMPY.log(np.sum(NUMPY.exp(x), axis=axis, keepdims=keepdims))


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
    d = _stacked(2, _det)(a)
    return NUMPY.sign(d), NUMPY.log(NUMPY.absolute(d))


def _cholesky(a):
    low = a * 0
    for i in range(len(a)):
        for j in range(i + 1):
            rest = a[i, j] - low[i, :j] @ low[j, :j] if j else a[i, j]
            low[i, j] = taylor.sqrt(rest) if i == j else rest / low[j, j]
    return low


def _solve_triangular(a, b, lower):
    # + a * 0: what NumPy put in as integer zeros are to be numbers of our own
    return _solve((np.tril(a) if lower else np.triu(a)) + a * 0, b)


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


def objects(numbers, shape):
    """An object array of mpmath numbers, which NumPy is not to look into."""
    array = np.empty(len(numbers), dtype=object)
    array[:] = numbers
    return array.reshape(shape)


def derivatives(scalar, *places):
    """The derivative array of one Taylor number, with the axes of each array of variables."""
    keys = itertools.product(*(p.ravel() for p in places))
    shape = sum((p.shape for p in places), ())
    return objects([scalar.derivative(*map(int, k)) for k in keys], shape)


def prepare(f, args, order):
    """Arguments as symgrad takes them, exact results, their places, and random output weights."""
    args = tuple(np.asarray(a) if np.ndim(a) else float(a) for a in args)
    xs, places = variables(args, order)
    exact = np.asarray(f(EXACT, *xs), dtype=object)
    zero = Taylor({(): MP.zero}, order)
    outs = [zero.lift(o) for o in exact.ravel()]
    # a scalar stays a Python number, as the functions take it
    w = np.random.default_rng(7).normal(size=exact.shape) if exact.ndim else 0.7
    weighted = sum((o * float(c) for o, c in zip(outs, np.ravel(w), strict=True)), zero)
    return args, outs, exact.shape, places, w, weighted


def compare(f, args):
    """Errors of value, J v, Jᵀ w and Hessian for all arguments of a case."""
    args, outs, shape, places, w, weighted = prepare(f, args, 2)
    rng = np.random.default_rng(8)
    vs = tuple(rng.normal(size=np.shape(a)) if np.ndim(a) else float(rng.normal()) for a in args)

    def ours(*ys):
        return f(oracle_table.OURS, *ys)

    def everything(ys, us, c):
        scalar = lambda *zs: np.sum(ours(*zs) * c)
        return (ours(*ys), sg.jvp(ours, ys, us)[1], sg.vjp(ours, *ys)[1](c),
                sg.hessian(scalar, tuple(range(len(ys))))(*ys))  # fmt: skip

    value, pushed, pulled, second = sg.jit(everything)(args, vs, w)
    flat = [float(v) for a in vs for v in np.ravel(a)]
    forward = [MP.fsum(o.derivative(i) * v for i, v in enumerate(flat)) for o in outs]
    return (
        error(value, objects([o.value for o in outs], shape)),
        error(pushed, objects(forward, shape)),
        max(error(a, derivatives(weighted, p)) for a, p in zip(pulled, places, strict=True)),
        max(error(second[i][j], derivatives(weighted, p, q))
            for i, p in enumerate(places) for j, q in enumerate(places)),
    )  # fmt: skip


def compare_third(f, args):
    """Errors of the third derivative in the first argument: three times reverse, and forward."""
    args, _, _, places, w, weighted = prepare(f, args, 3)

    def scalar(*ys):
        return np.sum(f(oracle_table.OURS, *ys) * w)

    reverse = sg.jacrev(sg.jacrev(sg.grad(scalar)))
    forward = sg.jacfwd(sg.jacfwd(sg.jacfwd(scalar)))
    exact = derivatives(weighted, places[0], places[0], places[0])
    got = sg.jit(lambda *ys: (reverse(*ys), forward(*ys)))(*args)
    return tuple(error(g, exact) for g in got)


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
power maximum minimum arctan2 hypot logaddexp mod floor_divide where clip sum prod mean max min var
std logsumexp norm dot outer tensordot einsum trace diagonal diag solve inv det slogdet cholesky
solve_triangular reshape ravel transpose swapaxes concatenate stack expand_dims newaxis squeeze
broadcast_to flip pad take cumsum diff erf erfc gammaln expit xlogy softmax log_softmax scan cond
""".split() + [
    "sum axis", "prod axis", "mean axis", "max axis", "min axis", "transpose axes",
    "integer index", "negative step", *CASE_OF,
]  # fmt: skip


def uncovered():
    """First-release operations without a case."""
    names = {c[0] for c in oracle_table.cases()}
    elementwise = {n.split(" (")[0] for n in names}
    return [p for p in P0 if CASE_OF.get(p, p) not in names | elementwise]


def report(cases, measure, labels):
    """Print the largest error of every kind over the cases, and the worst cases."""
    rows = [(measure(f, args), name) for name, f, args in cases]
    for errors, name in sorted(rows, key=lambda r: -max(r[0]))[:5]:
        print(f"  {name:28}" + "".join(f"{e:10.1e}" for e in errors))
    worst = map(max, zip(*(errors for errors, _ in rows), strict=True))
    text = ", ".join(f"{label} {w:.1e}" for label, w in zip(labels, worst, strict=True))
    print(f"{len(rows)} cases against {MP.dps} digits; largest error: {text}")


if __name__ == "__main__":
    every = ("value", "forward", "reverse", "Hessian")
    report(oracle_table.cases(), compare, every)
    report(shape_table.cases(), compare, every)
    report(shape_table.third_cases(), compare_third, ("third reverse", "third forward"))
    left = ", ".join(uncovered()) or "none"
    print(f"{len(P0)} first-release operations; without a case: {left}")
