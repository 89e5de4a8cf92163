"""Calls of SciPy, as losses contain them: distributions, special functions, matrices."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special
import scipy.stats
from scipy.interpolate import BSpline, CubicSpline, PchipInterpolator, interp1d
from scipy.spatial.distance import cdist

from corpus.entry import Collection

add = Collection()
REAL = np.array([0.3, -0.7, 1.2])
POSITIVE = np.array([0.3, 1.7, 1.2])
UNIT = np.array([0.2, 0.85, 0.5])
COUNTS = np.array([0, 3, 1])

# ---- distributions: name, methods, argument, shapes ----------------------------------------------

DISTRIBUTIONS = [
    ("norm", "logpdf pdf cdf logcdf sf logsf", REAL, ()),
    ("norm", "ppf", UNIT, ()),
    ("expon", "logpdf pdf cdf sf logsf", POSITIVE, ()),
    ("expon", "ppf", UNIT, ()),
    ("logistic", "logpdf cdf", REAL, ()),
    ("cauchy", "logpdf", REAL, ()),
    ("laplace", "logpdf pdf", REAL, ()),
    ("gumbel_r", "logpdf cdf", REAL, ()),
    ("t", "logpdf pdf", REAL, (3.5,)),
    ("gamma", "logpdf pdf", POSITIVE, (2.3,)),
    ("lognorm", "logpdf pdf cdf", POSITIVE, (0.7,)),
    ("weibull_min", "logpdf cdf sf logsf", POSITIVE, (1.4,)),
    ("beta", "logpdf pdf", UNIT, (2.3, 1.4)),
]


def distribution(name, method):
    def call(x, *shapes):
        return getattr(getattr(scipy.stats, name), method)(x, *shapes)

    return call


def located(name, method):
    def call(x, loc, scale, *shapes):
        return getattr(getattr(scipy.stats, name), method)(x, *shapes, loc=loc, scale=scale)

    return call


for _name, _methods, _x, _shapes in DISTRIBUTIONS:
    for _method in _methods.split():
        _where = tuple(range(1 + len(_shapes)))
        add(distribution(_name, _method), _x, *_shapes, argnums=_where, name=f"{_name}_{_method}")
    if _method != "ppf":
        _where = tuple(range(3 + len(_shapes)))
        add(located(_name, _method), _x, -0.1 if _x is not UNIT else 0.0, 1.3, *_shapes,
            argnums=_where, name=f"{_name}_{_method}_located")  # fmt: skip

add(lambda mu, k: scipy.stats.poisson.logpmf(k, mu), POSITIVE, COUNTS, name="poisson_logpmf_mu")
add(lambda mu, k: scipy.stats.poisson.pmf(k, mu), POSITIVE, COUNTS, name="poisson_pmf_mu")
add(lambda p, k: scipy.stats.binom.logpmf(k, 5, p), UNIT, COUNTS, name="binom_logpmf_p")
add(lambda p, k: scipy.stats.bernoulli.logpmf(k, p), UNIT, np.array([1, 0, 1]),
    name="bernoulli_logpmf_p")  # fmt: skip
add(lambda x, m: scipy.stats.multivariate_normal.logpdf(x, m, np.diag([1.0, 2.0, 0.5]) + 0.1),
    REAL, UNIT, argnums=(0, 1), name="multivariate_normal_mean")  # fmt: skip


def multivariate_normal_covariance(x):
    A = np.array([[x[0], 0.2], [0.2, x[1]]])
    return scipy.stats.multivariate_normal(mean=np.zeros(2), cov=A).logpdf(np.array([0.3, x[2]]))


# ---- special functions ---------------------------------------------------------------------------

for _names, _x in [
    ("erf erfc erfcx ndtr log_ndtr expit log_expit j0 j1 i0 i0e i1 i1e", REAL),
    ("erfinv", REAL * 0.5),
    ("ndtri logit", UNIT),
    ("gammaln digamma psi gamma entr loggamma", POSITIVE),
]:
    for _name in _names.split():
        add(getattr(scipy.special, _name), _x, name=f"special_{_name}")

for _name in "xlogy xlog1py betaln beta".split():
    add(getattr(scipy.special, _name), POSITIVE, UNIT, argnums=(0, 1), name=f"special_{_name}")

add(lambda x: scipy.special.polygamma(1, x), POSITIVE, name="special_polygamma")
add(lambda x: scipy.special.multigammaln(x, 2), 3.4, name="special_multigammaln")
add(scipy.special.logsumexp, REAL, name="special_logsumexp")
add(scipy.special.softmax, REAL, name="special_softmax")
add(scipy.special.log_softmax, REAL, name="special_log_softmax")
add(lambda x: scipy.special.softmax(np.outer(x, [1.0, 2.0]), axis=1), REAL,
    name="special_softmax_axis")  # fmt: skip

# ---- matrices, distances, splines ----------------------------------------------------------------

_SPD = np.array([[2.0, 0.3, 0.1], [0.3, 1.5, 0.2], [0.1, 0.2, 1.0]])
_VECTOR = np.array([0.4, -1.0, 0.6])


def symmetric(x):
    return _SPD + np.outer(x, x)


for _name, _call in {
    "solve": lambda x: scipy.linalg.solve(symmetric(x), _VECTOR),
    "solve_pos": lambda x: scipy.linalg.solve(symmetric(x), _VECTOR, assume_a="pos"),
    "inv": lambda x: scipy.linalg.inv(symmetric(x)),
    "det": lambda x: scipy.linalg.det(symmetric(x)),
    "norm": lambda x: scipy.linalg.norm(symmetric(x)),
    "cholesky_upper": lambda x: scipy.linalg.cholesky(symmetric(x)),
    "cholesky_lower": lambda x: scipy.linalg.cholesky(symmetric(x), lower=True),
    "cho_solve": lambda x: scipy.linalg.cho_solve(scipy.linalg.cho_factor(symmetric(x)), _VECTOR),
    "cho_solve_lower": lambda x: scipy.linalg.cho_solve(
        (scipy.linalg.cholesky(symmetric(x), lower=True), True), np.eye(3)
    ),
    "triangular": lambda x: scipy.linalg.solve_triangular(symmetric(x), _VECTOR, lower=True),
    "triangular_upper": lambda x: scipy.linalg.solve_triangular(symmetric(x), _VECTOR),
    "triangular_trans": lambda x: scipy.linalg.solve_triangular(
        symmetric(x), _VECTOR, trans="T", lower=True
    ),
    "expm": lambda x: scipy.linalg.expm(0.3 * symmetric(x)),
    "block_diag": lambda x: scipy.linalg.block_diag(np.outer(x, x), [[1.0, x[0]]]),
    "toeplitz": lambda x: scipy.linalg.toeplitz(x, [x[0], 2.0, x[1]]),
    "eigvalsh": lambda x: scipy.linalg.eigvalsh(symmetric(x)),
}.items():
    add(_call, REAL, name=f"linalg_{_name}")

add(multivariate_normal_covariance, POSITIVE + 0.4)
add(scipy.optimize.rosen, REAL, name="optimize_rosen")
_POINTS = np.array([[0.2, 0.7], [1.5, -0.3], [0.4, 2.0]])
for _metric in "euclidean sqeuclidean cityblock".split():
    add(lambda a, b, metric=_metric: cdist(a, b, metric), _POINTS, _POINTS[:2] * 1.7 + 0.3,
        argnums=(0, 1), name=f"cdist_{_metric}")  # fmt: skip

_NODES = np.array([-1.0, 0.0, 0.7, 1.5, 2.0])
_HEIGHTS = np.array([1.0, 3.0, -1.0, 0.5, 0.9])
add(lambda x: CubicSpline(_NODES, _HEIGHTS)(x), REAL, name="spline_cubic")
add(CubicSpline(_NODES, _HEIGHTS), REAL, name="spline_cubic_made_outside")
add(lambda x: PchipInterpolator(_NODES, _HEIGHTS)(x), REAL, name="spline_pchip")
add(lambda x: interp1d(_NODES, _HEIGHTS)(x), REAL, name="spline_interp1d")
_KNOTS = np.array([0, 0, 0, 0, 0.4, 1, 1, 1, 1.0])
add(lambda c: BSpline(_KNOTS, c, 3)(UNIT), _HEIGHTS, name="spline_coefficients")
add(lambda x: BSpline(_KNOTS, _HEIGHTS, 3)(x), UNIT, name="spline_places")
