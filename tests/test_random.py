"""symgrad.random: published vectors, JAX's numbers, statistics; NumPy and C have the same bits."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import scipy.stats

import symgrad as sg
from symgrad import random
from symgrad.diff.modes import jvp, vjp
from symgrad.errors import ConcretizationError, DtypeError, ShapeError, UnsupportedError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import arg, bind
from symgrad.ops.threefry import below, threefry
from symgrad.trace import record
from symgrad.trace.tracer import Tracer

# Random123 (Salmon et al. 2011), kat_vectors: threefry2x32, 20 rounds: counter, key, result.
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]
SEEDS = [0, 42, -1, 2**40 + 5, -(2**63), 2**63 - 1]


@pytest.fixture(autouse=True)
def x64() -> Any:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def signed(high: int, low: int) -> int:
    bits = high << 32 | low
    return bits - 2**64 if bits >= 2**63 else bits


@pytest.mark.parametrize("counter, key, result", KNOWN)
def test_published_vectors(counter: Any, key: Any, result: Any) -> None:
    assert threefry(*key, signed(*counter)).item() == signed(*result)
    nodes = [arg(k, (), "int64") for k in range(3)]
    values = dict(zip(nodes, map(np.int64, (*key, signed(*counter))), strict=True))
    assert evaluate([bind("threefry", *nodes)], values)[0] == signed(*result)


def test_remainders_of_unsigned_integers() -> None:
    rng = np.random.default_rng(0)
    high, low = rng.integers(-(2**63), 2**63, (2, 400))
    for span in (1, 2, 10, 2**16, 2**31 + 11, 2**32 - 1):
        wanted = [((int(h) % 2**64 << 64) + int(w) % 2**64) % span
                  for h, w in zip(high, low, strict=True)]  # fmt: skip
        np.testing.assert_array_equal(below(high, low, np.full(400, span)), wanted)
    np.testing.assert_array_equal(below(high, low, np.zeros(400, int)), low)


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_numbers_of_jax(seed: int) -> None:
    key, theirs = random.key(seed), jax.random.key(seed)

    def data(keys: Any) -> Any:
        return np.asarray(jax.random.key_data(keys), np.int64)

    same = np.testing.assert_array_equal
    same(key, data(theirs))
    same(random.split(key, (2, 3)), data(jax.random.split(theirs, (2, 3))))
    same(random.fold_in(key, 7), data(jax.random.fold_in(theirs, 7)))
    for dtype in (np.float64, np.float32):
        same(random.uniform(key, (50,), dtype), jax.random.uniform(theirs, (50,), dtype))
        np.testing.assert_allclose(  # XLA contracts u * 7 - 2
            random.uniform(key, (3, 4), dtype, -2.0, 5.0),
            jax.random.uniform(theirs, (3, 4), dtype, -2.0, 5.0), atol=4 * np.finfo(dtype).eps,
        )  # fmt: skip
    for low, high in ((0, 10), (-5, 17), (3, 3), (5, 2), (-(2**61), 2**61), (0, 2**62 + 1)):
        same(random.randint(key, (50,), low, high), jax.random.randint(theirs, (50,), low, high))
    same(random.bits(key, (9,)).view(np.uint64), jax.random.bits(theirs, (9,), np.uint64))
    same(random.bernoulli(key, 0.3, (50,)), jax.random.bernoulli(theirs, 0.3, (50,)))
    same(random.rademacher(key, (50,)), jax.random.rademacher(theirs, (50,)))
    logits = np.log([[0.1, 0.2, 0.7], [0.5, 0.1, 0.4]])
    same(random.categorical(key, logits, shape=(20, 2)),
         jax.random.categorical(theirs, logits, shape=(20, 2)))  # fmt: skip
    same(random.categorical(key, logits, 0), jax.random.categorical(theirs, logits, 0))
    rows, chances = np.arange(12.0).reshape(4, 3), np.array([0.1, 0.0, 0.5, 0.4])
    for args in ((7, (5,)), (rows, (2, 3)), (rows, (5,), True, chances), (4, (3,), True, chances)):
        same(random.choice(key, *args), jax.random.choice(theirs, *args))
    same(random.choice(key, rows, (5,), axis=1), jax.random.choice(theirs, rows, (5,), axis=1))
    for name in ("normal", "exponential", "gumbel", "laplace", "logistic", "cauchy"):
        ours, wanted = (getattr(m, name)(k, (200,)) for m, k in ((random, key),
                                                                 (jax.random, theirs)))  # fmt: skip
        np.testing.assert_allclose(ours, wanted, rtol=1e-12, atol=1e-14, err_msg=name)
    np.testing.assert_allclose(
        random.truncated_normal(key, -1, 2.0, (50,)),
        jax.random.truncated_normal(theirs, -1, 2.0, (50,)), rtol=1e-12,
    )  # fmt: skip
    mean, cov = np.array([1.0, -2.0]), np.array([[2.0, 0.5], [0.5, 1.0]])
    np.testing.assert_allclose(
        random.multivariate_normal(key, mean, cov, (5,)),
        jax.random.multivariate_normal(theirs, mean, cov, (5,)), rtol=1e-12,
    )  # fmt: skip
    words = jax.random.key_data(theirs)  # uint32, as JAX has them
    same(random.bits(np.asarray(words), (2,)), random.bits(key, (2,)))


DISTRIBUTIONS = {
    "uniform": scipy.stats.uniform, "normal": scipy.stats.norm, "exponential": scipy.stats.expon,
    "gumbel": scipy.stats.gumbel_r, "laplace": scipy.stats.laplace,
    "logistic": scipy.stats.logistic, "cauchy": scipy.stats.cauchy,
}  # fmt: skip


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions(name: str) -> None:
    for seed in (1, 2):
        numbers = getattr(random, name)(random.key(seed), (20_000,))
        assert scipy.stats.kstest(numbers, DISTRIBUTIONS[name].cdf).pvalue > 1e-3
        neighbours = np.corrcoef(scipy.stats.rankdata(numbers[:-1]),
                                 scipy.stats.rankdata(numbers[1:]))[0, 1]  # fmt: skip
        assert abs(neighbours) < 4 / np.sqrt(20_000)


@pytest.mark.slow
def test_integers_and_permutations_are_fair() -> None:
    counts = np.bincount(random.randint(random.key(3), (30_000,), 0, 7))
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    orders = [tuple(random.permutation(k, 3).tolist()) for k in random.split(random.key(4), 1200)]
    found = {order: orders.count(order) for order in set(orders)}
    assert len(found) == 6 and scipy.stats.chisquare(list(found.values())).pvalue > 1e-3
    rows = np.arange(12).reshape(4, 3)
    mixed = random.permutation(random.key(5), rows, 1)
    assert sorted(map(tuple, mixed.T)) == sorted(map(tuple, rows.T))
    assert sorted(random.permutation(random.key(5), 200)) == list(range(200))
    assert len(set(random.choice(random.key(5), 9, (7,), replace=False))) == 7


def _numbers(key: Any, seed: Any, x: Any) -> Any:
    a, b, c = random.split(key, 3)
    return (
        random.uniform(a, (40,)), random.uniform(a, (7,), np.float32), random.normal(b, (60,)),
        random.normal(b, (9,), np.float32), random.randint(c, (20,), -3, 11),
        random.randint(c, (5,), -(2**61), 2**62), random.bits(c, (2, 2)), random.key(seed),
        random.fold_in(a, seed), random.permutation(a, 12), random.bernoulli(a, x, (30,)),
        random.rademacher(a, (6,)), random.uniform(a, (4,), float, x, 2 * x),
        random.permutation(b, np.arange(4.0)) * x, random.categorical(c, np.log([0.2, 0.8])),
        random.choice(a, 50, (6,), replace=False), random.choice(b, np.arange(5.0), (8,)),
    )  # fmt: skip


@pytest.mark.quick(2)
@pytest.mark.parametrize("seed", SEEDS)
def test_c_and_numpy_have_the_same_bits(seed: int) -> None:
    compiled = sg.compile(_numbers, sg.i64[2], sg.i64, sg.f64)
    key, x = random.key(seed), np.float64(0.3)
    for got, wanted in zip(compiled(key, seed, x), _numbers(key, np.int64(seed), x), strict=True):
        assert np.asarray(got).dtype == np.asarray(wanted).dtype
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.slow
def test_quantiles_have_the_same_bits() -> None:
    """The middle, both tails and what lies outside; that is what `normal` is made of."""
    rng = np.random.default_rng(0)
    special = [0, 1, -0.0, 5e-324, 0.075, 0.925, -1, 2, np.nan, np.inf]
    tails = 10 ** rng.uniform(-308, 0, 500), 1 - 2.0 ** -np.arange(54)
    p = np.concatenate([rng.uniform(0, 1, 500), *tails, special])
    from scipy.special import erfcinv, erfinv, ndtri

    compiled = sg.compile(lambda p: (ndtri(p), erfinv(2 * p - 1), erfcinv(p)), sg.f64[p.size])
    node = arg(0, p.shape, "float64")
    outs, _ = record(lambda p: (ndtri(p), erfinv(2 * p - 1), erfcinv(p)), (Tracer(node, True),), {})
    wanted = evaluate(outs, {node: p})
    for got, value in zip(compiled(p), wanted, strict=True):
        np.testing.assert_array_equal(got, value)


@pytest.mark.slow
def test_keys_have_no_derivative_and_parameters_have() -> None:
    def f(key: Any, mean: Any, scale: Any) -> Any:
        noise = random.normal(key, (50,)) + random.uniform(key, (50,))
        return np.sum(np.sin(mean + scale * noise))

    key = random.key(8)
    noise = random.normal(key, (50,)) + random.uniform(key, (50,))
    by_mean, by_scale = sg.grad(f, argnums=(1, 2))(key, 0.3, 2.0)
    assert by_mean == pytest.approx(np.cos(0.3 + 2 * noise).sum(), rel=1e-12)
    assert by_scale == pytest.approx((noise * np.cos(0.3 + 2 * noise)).sum(), rel=1e-12)
    words, ct = arg(0, (), "int64"), arg(1, (), "float64")
    x = arg(2, (), "float64")
    out = bind("convert", bind("threefry", words, words, bind("convert", x, attrs=("int64",))),
               attrs=("float64",))  # fmt: skip
    assert vjp([out], [x], [ct]) == [None] and jvp([out], [x], [ct]) == [None]
    mean, cov = np.array([1.0, -2.0]), np.array([[2.0, 0.5], [0.5, 1.0]])

    def energy(m: Any, c: Any) -> Any:
        return np.sum(random.multivariate_normal(key, m, c, (20,)) ** 2)

    theirs = jax.grad(
        lambda m, c: (jax.random.multivariate_normal(jax.random.key(8), m, c, (20,)) ** 2).sum(),
        (0, 1),
    )(mean, cov)
    ours = sg.grad(energy, argnums=(0, 1))(mean, cov)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-10)
    np.testing.assert_allclose(ours[1] + ours[1].T, theirs[1] + theirs[1].T, rtol=1e-10)


def test_one_key_for_each_point() -> None:
    keys = random.split(random.key(1), 5)
    got = sg.vmap(lambda k: random.normal(k, (3,)))(keys)
    np.testing.assert_array_equal(got, [random.normal(k, (3,)) for k in keys])


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda k: random.normal(3), ShapeError, r"random\.key\(seed\)"),
        (lambda k: random.normal(np.array([0.5, 1.0])), DtypeError, "int64 array"),
        (lambda k: random.normal(random.split(random.key(0))), ShapeError, "vmap"),
        (lambda k: random.key(0.5), DtypeError, "an integer"),
        (lambda k: random.key(2**64), DtypeError, "64 bits"),
        (lambda k: random.key([1, 2]), ShapeError, "a scalar"),
        (lambda k: random.uniform(k, (3,), int), DtypeError, "float64 or float32"),
        (lambda k: random.uniform(k, (-1,)), ShapeError, "negative"),
        (lambda k: random.uniform(k, (2,), float, np.zeros(3)), ShapeError, "broadcast"),
        (lambda k: random.randint(k, (3,), 0, 2.5), DtypeError, "an integer"),
        (lambda k: random.randint(k, (3,), 0, 5, float), DtypeError, "int64 or int32"),
        (lambda k: random.normal(k, (k[0],)), ConcretizationError, "integer"),
        (lambda k: random.categorical(k, np.zeros(3), 1), ShapeError, "axis 1"),
        (lambda k: random.choice(k, 3, (4,), replace=False), ShapeError, "4 of 3 elements"),
        (lambda k: random.choice(k, 3, (), True, [0.5, 0.5]), ShapeError, "for 3 elements"),
        (lambda k: random.multivariate_normal(k, np.zeros(2), np.eye(3)), ShapeError, "covariance"),
    ],
)
def test_errors(call: Any, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        sg.trace(call, sg.i64[2])


def test_numpys_generators_are_refused_with_this_advice() -> None:
    with pytest.raises(UnsupportedError, match=r"symgrad\.random with a key as an argument"):
        sg.grad(lambda x: x * np.random.normal())(1.0)
