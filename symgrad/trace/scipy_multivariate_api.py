"""scipy.stats of whole arrays: the multivariate normal distribution, standard scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from symgrad.errors import ShapeError, UnsupportedError
from symgrad.trace.scipy_api import solve_triangular
from symgrad.trace.scipy_stats_api import HALF_LOG_TAU, number
from symgrad.trace.state import fail


def zscore(a: Any, axis: Any = 0, ddof: int = 0, nan_policy: str = "propagate") -> Any:
    """Differences from the mean in standard deviations."""
    x = number(a)
    if nan_policy != "propagate":
        raise fail(UnsupportedError, f"scipy.stats.zscore: nan_policy={nan_policy!r} is not traced")
    return (x - np.mean(x, axis=axis, keepdims=True)) / np.std(
        x, axis=axis, ddof=ddof, keepdims=True
    )


# ---- the multivariate normal distribution ----------------------------------------------------


@dataclass(frozen=True)
class MultivariateNormal:
    """scipy.stats.multivariate_normal(mean, cov) of traced parameters; cov positive definite."""

    mean: Any = None
    cov: Any = 1

    def logpdf(self, x: Any) -> Any:
        return multivariate_logpdf(None, x, self.mean, self.cov)

    def pdf(self, x: Any) -> Any:
        return np.exp(self.logpdf(x))


def multivariate_normal(
    self: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False, seed: Any = None
) -> MultivariateNormal:
    """A frozen distribution; a singular covariance is an error when it is computed with."""
    return MultivariateNormal(mean, cov)


def multivariate_logpdf(
    self: Any, x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False
) -> Any:
    """-½ (x - mean)ᵀ cov⁻¹ (x - mean) - ½ log det(2π cov), by the Cholesky factor of `cov`."""
    label = "scipy.stats.multivariate_normal"
    if allow_singular:
        raise fail(UnsupportedError, f"{label}: allow_singular=True is not supported")
    x, cov = number(x), number(cov)
    mean = number(0.0 if mean is None else mean)
    if cov.ndim == 2:
        n = cov.shape[0]
    else:
        n = max(mean.size, cov.size if cov.ndim else 1)
        cov = cov * np.eye(n)
    if cov.shape != (n, n) or mean.ndim and mean.shape != (n,):
        raise fail(ShapeError, f"{label}: a mean of shape {mean.shape}, a covariance {cov.shape}")
    if n == 1 and (x.ndim == 0 or x.shape[-1] != 1):
        x = x[..., None] if x.ndim else x
    elif x.ndim == 0 or x.shape[-1] != n:
        raise fail(ShapeError, f"{label}: points of shape {x.shape} in {n} dimensions")
    rest = np.reshape(x - mean, (-1, n))
    factor = np.linalg.cholesky(cov)
    white = solve_triangular(factor, np.transpose(rest), lower=True)
    distance = np.sum(white * white, axis=0)
    value = -0.5 * distance - np.sum(np.log(np.diagonal(factor))) - n * HALF_LOG_TAU
    # As SciPy, which drops axes of size one.
    return np.reshape(value, tuple([k for k in x.shape[:-1] if k != 1]))


def multivariate_pdf(self: Any, *args: Any, **kwargs: Any) -> Any:
    """The exponential of `multivariate_logpdf`."""
    return np.exp(multivariate_logpdf(self, *args, **kwargs))


def _frozen_logpdf(self: Any, x: Any) -> Any:
    return multivariate_logpdf(None, x, self.mean, self.cov)


def _frozen_pdf(self: Any, x: Any) -> Any:
    return np.exp(_frozen_logpdf(self, x))


_CLASS = "scipy.stats._multivariate.multivariate_normal_"
NAMES: dict[str, Callable[..., Any]] = {
    "scipy.stats.zscore": zscore,
    _CLASS + "frozen.logpdf": _frozen_logpdf,
    _CLASS + "frozen.pdf": _frozen_pdf,
    _CLASS + "gen.__call__": multivariate_normal,
    _CLASS + "gen.logpdf": multivariate_logpdf,
    _CLASS + "gen.pdf": multivariate_pdf,
}
