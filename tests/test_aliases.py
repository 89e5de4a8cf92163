"""In-place changes of plain arrays that live on: followed as in NumPy, or refused.

NumPy is the oracle: the same function on arrays. A function must give its value, or a MutationError
(in a few cases another error of ours) that names a line of this file. Nothing else is accepted.
Each function runs with its source at hand, where more is followed, and without.
"""

from __future__ import annotations

import functools
import gc
import itertools
import operator
import sys
import types
import warnings

import numpy as np
import pytest

import symgrad as sg
from symgrad import tree
from symgrad.errors import MutationError, MutationWarning, SymgradError, TraceError
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import arg
from symgrad.trace import Tracer, record

X = np.array([0.7, -1.3, 2.1])


def add_in_place(F, x):
    F += x


def add_and_return(F, x):
    F += x
    return F


class Bag:
    pass


# ---- followed ------------------------------------------------------------------------------------


def two_names(x):
    F = np.zeros(3)
    G = F
    F += x
    return G * x


def three_names(x):
    F = G = H = np.ones(3)
    F += x
    G *= x
    return F * G * H


def changed_twice(x):
    F = np.zeros(3)
    G = F
    F += x
    F *= 2
    F[1] = x[0]
    return G


def changed_by_the_other_name(x):
    F = np.zeros(3)
    G = F
    F += x
    G += x
    return F, G


def old_name_stays_plain(x):
    F = np.ones(3)
    before = F * x
    G = F
    F += x
    return before, G * x


def helper(x):
    F = np.zeros(3)
    add_in_place(F, x)
    add_in_place(F, 2 * x)
    return F * x


def helper_returns(x):
    F = np.zeros(3)
    F = add_and_return(F, x)
    F = add_and_return(F, x**2)
    return F


def helper_of_new_array(x):
    return add_and_return(np.zeros(3), x)


def rows(x):
    K = np.zeros((2, 3))
    for row in K:
        row += x
    return K * x


def rows_by_number(x):
    K = np.arange(6.0).reshape(2, 3)
    for k in range(2):
        row = K[k]
        row *= x
    return K


def columns(x):
    K = np.ones((3, 2))
    for k, column in enumerate(K.T):
        column *= x + k
    return K


def fortran(x):
    K = np.asfortranarray(np.arange(6.0).reshape(3, 2))
    K[:, 1].__iadd__(x)
    first = K[:, 0]
    first -= x
    return K


def diagonal_by_strides(x):
    K = np.zeros((3, 3))
    d = K.reshape(-1)[::4]
    d += x
    return K @ x


def backwards(x):
    F = np.arange(3.0)
    G = F[::-1]
    G += x
    return F


def view_of_view(x):
    F = np.zeros((2, 3))
    G = F[1:]
    H = G[0]
    H += x
    return F, G, H


def transposed(x):
    F = np.zeros((3, 1))
    G = F.T
    G += x
    return F


def reshaped(x):
    F = np.zeros(3)
    G = F.reshape(3, 1)
    F += x
    return G


def overlapping_views(x):
    F = np.arange(4.0)
    a, b = F[:3], F[1:]
    a += x
    b *= x
    return F, a, b


def part(x):
    F = np.arange(6.0)
    G = F[::2]
    G += x
    return F, G


def base_is_gone(x):
    F = np.arange(6.0).reshape(2, 3)[1]
    F *= x
    return F


def in_list(x):
    parts = [np.zeros(3), np.ones(3)]
    for a in parts:
        a += x
    return parts[0] * x, parts[1]


def item_of_list(x):
    parts = [np.zeros(3), np.ones(3)]
    first = parts[0]
    parts[0] += x
    return first * x, parts[0]


def item_of_dict(x):
    d = {"F": np.zeros(3)}
    G = d["F"]
    d["F"] += x
    return G * d["F"]


def attribute(x):
    b = Bag()
    b.F = np.zeros(3)
    G = b.F
    b.F += x
    return G * b.F


def attribute_alone(x):
    b = Bag()
    b.F = np.zeros(3)
    b.F += x
    b.F += x
    return b.F


def method(x):
    class Assembly:
        def __init__(self):
            self.K = np.zeros((2, 3))

        def add(self, k, v):
            row = self.K[k]
            row += v

    a = Assembly()
    a.add(0, x)
    a.add(1, 2 * x)
    a.add(1, x)
    return a.K


def namespace(x):
    n = types.SimpleNamespace(F=np.zeros(3))
    m = n
    m.F += x
    return n.F * 2


def out_is_input(x):
    F = np.zeros(3)
    np.add(F, x, out=F)
    np.multiply(F, x, out=F)
    return F


def out_result_bound(x):
    F = np.ones(3)
    G = np.multiply(F, x, out=F)
    return F, G


def operator_iadd(x):
    F = np.zeros(3)
    G = operator.iadd(F, x)
    return F * G


def reduce_iadd(x):
    F = np.zeros(3)
    functools.reduce(operator.iadd, [x, x**2], F)
    return F


def accumulate_iadd(x):
    return list(itertools.accumulate([np.zeros(3), x, x], operator.iadd))


def matmul_in_place(x):
    F = np.eye(3)
    G = F
    F @= np.outer(np.ones(3), np.ones(3)) * x
    return G


def clip_method(x):
    F = np.arange(3.0)
    G = F
    F = np.minimum(F, x, out=F)
    return G


def closure(x):
    F = np.zeros(3)

    def read():
        return F * x

    F += x
    return read()


def closure_changes(x):
    F = np.zeros(3)
    G = F

    def change():
        nonlocal F
        F += x

    change()
    return G


def cycle(x):
    F = np.zeros(3)
    G = F
    loop = [F]
    loop.append(loop)
    F += x
    return G


def integers(x):
    F = np.array([1, 2, 3])
    G = F
    F += np.floor(x).astype(int)
    return G * x


def booleans(x):
    F = np.array([True, False, True])
    G = F
    F &= x > 0
    return np.where(G, x, 0)


def float32(x):
    F = np.zeros(3, np.float32)
    G = F
    F += x.astype(np.float32)
    return G


def results(x):
    F = np.zeros(3)
    G = F
    F += x
    return G, F[::-1], {"a": G}


def loop_over_same_name(x):
    total = 0.0
    for k in range(3):
        F = np.zeros(3)
        F += k * x
        total = total + F
    return total


def saved_then_changed(x):
    F = np.zeros(3)
    seen = []
    for _ in range(3):
        F += x
        seen.append(F)
    return seen


def copies_are_apart(x):
    F = np.zeros(3)
    G = F.copy()
    F += x
    return F, G


def zero_rank(x):
    F = np.array(0.0)
    G = F
    F += x[0]
    F += x[1]
    return G


def zero_rank_view(x):
    z = x * 1
    v = z[0, ...]
    v += 5
    return z


def squeezed(x):
    z = x[:1] * 1
    v = np.squeeze(z)
    v *= 3
    return z


def traced_names(x):
    y = x * 1
    z = y
    y += 1
    return z * y


def traced_view(x):
    y = x * 1
    z = y[1:]
    z *= x[:2]
    return y


def gradient_inside(x):
    F = np.zeros(3)
    G = F
    F += x
    return sg.grad(lambda y: np.sum(G * y**2))(x)


def swap(x):
    a, b = np.zeros(3), np.ones(3)
    a, b = b, a
    a += x
    return a, b


def conditional(x):
    F = np.zeros(3)
    G = F if len(x) == 3 else None
    F += x
    return G


def star(x):
    arrays = [np.zeros(3), np.zeros(3)]
    first, *rest = arrays
    first += x
    rest[0] -= x
    return arrays[0] * x, rest[0]


def walrus(x):
    G = (F := np.zeros(3))
    F += x
    return G


def default_of_inner(x):
    F = np.zeros(3)

    def inner(a=F):
        return a * x

    F += x
    return inner()


def generator(x):
    def steps():
        F = np.zeros(3)
        for _ in range(3):
            F += x
            yield F

    return list(steps())


def setter(x):
    class Guarded:
        def __init__(self):
            self._F = np.zeros(3)

        @property
        def F(self):
            return self._F

        @F.setter
        def F(self, value):
            self._F = value

    g = Guarded()
    g.F += x
    g.F += x
    return g.F


def executed(x):
    names = {"x": x, "F": np.zeros(3)}
    exec("G = F\nF += x\nr = G * x", names)
    return names["r"]


def blocks(x):
    K = np.zeros((7, 7))
    for i in range(0, 5, 2):
        part = K[i : i + 3, i : i + 3]
        part += np.outer(x, x)
    return K * x[0]


FOLLOWED = [
    two_names, three_names, changed_twice, changed_by_the_other_name, old_name_stays_plain, helper,
    helper_returns, helper_of_new_array, rows, rows_by_number, columns, fortran,
    diagonal_by_strides, backwards, view_of_view, transposed, reshaped, overlapping_views, part,
    base_is_gone, in_list, item_of_list, item_of_dict, attribute, attribute_alone, method,
    namespace, out_is_input, out_result_bound, operator_iadd, reduce_iadd, accumulate_iadd,
    matmul_in_place, clip_method, closure, closure_changes, cycle, integers, booleans, float32,
    results, loop_over_same_name, saved_then_changed, copies_are_apart, zero_rank, zero_rank_view,
    squeezed, traced_names, traced_view, swap, conditional, star, walrus, default_of_inner,
    generator, setter, executed, blocks,
]  # fmt: skip


def traced(f, x=X):
    node = arg(0, x.shape, x.dtype.name)
    outs, structure = record(f, (Tracer(node),), {})
    return structure.unflatten(evaluate(outs, {node: x}))


@pytest.mark.parametrize("f", FOLLOWED, ids=lambda f: f.__name__)
def test_followed(f, source):
    same_as_numpy(f)


def same_as_numpy(f):
    got, want = tree.flatten(traced(f)), tree.flatten(f(X.copy()))
    assert got[1] == want[1]
    for g, w in zip(got[0], want[0], strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-15)


def test_gradients():
    """Against closed forms of what the functions mean."""

    def ours(x):
        return np.sum(two_names(x)) + np.sum(rows(x)) + np.sum(diagonal_by_strides(x) ** 2)

    np.testing.assert_allclose(sg.grad(ours)(X), 6 * X + 4 * X**3, rtol=1e-14)
    np.testing.assert_allclose(sg.jit(gradient_inside)(X), 2 * X * X, rtol=1e-14)


# ---- views of traced arrays ----------------------------------------------------------------------

VIEWS = [
    lambda z: z, lambda z: z[...], lambda z: z[None], lambda z: z[0], lambda z: z[:, 1],
    lambda z: z[::-1, ::2], lambda z: z.T, lambda z: z.ravel(), lambda z: z.reshape(3, 2),
    lambda z: z.T.reshape(-1), lambda z: z.swapaxes(0, 1), lambda z: np.moveaxis(z, 0, 1),
    lambda z: np.rollaxis(z, 1), lambda z: np.squeeze(z[:1]), lambda z: np.expand_dims(z, 0),
    lambda z: np.atleast_1d(z), lambda z: np.atleast_3d(z), lambda z: np.broadcast_to(z, (2, 2, 3)),
    lambda z: np.split(z, 2)[0], lambda z: np.array_split(z, 2, axis=1)[0], lambda z: np.flip(z),
    lambda z: np.rot90(z), lambda z: z.real, lambda z: np.conj(z), lambda z: z.conj(),
    lambda z: np.diagonal(z), lambda z: np.diag(z), lambda z: np.diag(z[0]),
    lambda z: np.broadcast_arrays(z, 1.0)[0], lambda z: np.broadcast_arrays(z, z[None])[0],
    lambda z: np.meshgrid(z[0], z[1])[0], lambda z: np.meshgrid(z[0], z[1], copy=False)[0],
    lambda z: z.flatten(), lambda z: z.copy(), lambda z: z.astype(float), lambda z: +z,
    lambda z: z[[0]], lambda z: z.take([0]), lambda z: np.transpose(z), lambda z: z[0, 0, ...],
    lambda z: z[:1, :1].reshape(()), lambda z: np.squeeze(z[:1, :1]),
    lambda z: z[0:1, 0].reshape(1), lambda z: np.concatenate([z]), lambda z: np.triu(z),
    lambda z: z.mT, lambda z: list(z)[1],
]  # fmt: skip


def view_added_to(z, y, s):
    y += 2.5 * s
    return z, y


def view_set(z, y, s):
    y[...] = 7.0 * s
    return z, y


def both_changed(z, y, s):
    z *= 2.0 * s
    y *= 3.0
    z += 1.0
    return z, y


@pytest.mark.parametrize("change", [view_added_to, view_set, both_changed])
@pytest.mark.parametrize("k", range(len(VIEWS)))
def test_views_of_traced_arrays(k, change):
    """As in NumPy, or refused; what NumPy refuses is refused."""

    def f(x):
        z = x * 1
        return change(z, VIEWS[k](z), x[0, 0])

    A = np.arange(1.0, 7.0).reshape(2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, for broadcast_arrays
        try:
            want = f(A.copy())
        except ValueError:
            with pytest.raises(SymgradError):
                traced(f, A)
            return
        try:
            got = traced(f, A)
        except TraceError:
            return
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-15)


def test_most_views_are_followed():
    refused = []
    for k, view in enumerate(VIEWS):

        def f(x, view=view):
            z = x * 1
            return view_added_to(z, view(z), 1.0)

        try:
            traced(f, np.ones((2, 3)))
        except TraceError:
            refused.append(k)
    # Reshapes that copy or do not, as the memory lies; what is read-only; copy=False.
    assert refused == [7, 8, 9, 17, 25, 26, 29, 31, 40, 42]


def test_arguments_of_rank_zero_are_arrays():
    def f(x):
        y = x
        y += 1
        return x * y

    assert sg.jit(f)(3.0) == 12.0  # a number has no other names
    argument = np.array(3.0)
    with pytest.warns(MutationWarning, match="caller"):
        assert sg.jit(f)(argument) == 16.0
    assert argument == 3.0


def test_under_a_debugger():
    """What looks at local variables keeps arrays alive longer; nothing else may come of it."""

    def look(frame, event, argument):
        assert frame.f_locals is not None
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        got = [traced(f) for f in (loop_over_same_name, two_names, attribute_alone)]
    finally:
        sys.settrace(before)
    for g, f in zip(got, (loop_over_same_name, two_names, attribute_alone), strict=True):
        np.testing.assert_allclose(g, f(X), rtol=1e-15)


# ---- refused -------------------------------------------------------------------------------------

GLOBAL = np.zeros(3)
TABLE = np.zeros((2, 3))
BAG = Bag()
BAG.F = np.zeros(3)
LIST = [np.zeros(3)]


def read_by_numpy(x):
    F = np.ones(3)
    G = F
    F += x
    return np.sum(G) * x


def items_read_by_numpy(x):
    parts = [np.zeros(3), np.ones(3)]
    for a in parts:
        a += x
    return parts[0] * parts[1] * x


def default_read_by_numpy(x):
    F = np.zeros(3)

    def inner(a=F):
        return a * 2

    F += x
    return inner() * x


def read_in_helper(x):
    F = np.ones(3)
    add_in_place(F, x)
    return float(F[0]) * x


def compared_by_numpy(x):
    F = np.zeros(3)
    G = F
    F += x
    return x if np.any(G > 0) else 2 * x


def searched_by_numpy(x):
    F = np.zeros(3)
    G = F
    F += x
    return x[np.argmax(G)]


def finite_by_numpy(x):
    F = np.zeros(3)
    G = F
    F += x
    return np.where(G == 0, x, 2 * x)


def copied_by_numpy(x):
    F = np.zeros(3)
    G = F
    F += x
    return G.copy() * x


def listed_by_numpy(x):
    F = np.zeros(3)
    G = F
    F += x
    return sum(G.tolist()) * x


def view_read_by_numpy(x):
    F = np.zeros((2, 3))
    row = F[0]
    row += x
    return F.sum(0) * x


def written_by_numpy(x):
    F = np.zeros(3)
    G = F
    F += x
    G[0] = 5.0
    return F


def view_written_by_numpy(x):
    F = np.zeros(3)
    G = F[:]
    F += x
    G.fill(7.0)
    return F


def updated_by_numpy(x):
    F = np.zeros(3)
    G = F
    F += x
    G *= 2
    return F


def index_by_numpy(x):
    F = np.array([0, 1, 2])
    G = F
    F += np.array([0, 0, 0]) * np.floor(x).astype(int)
    return x[G]


def bytes_by_numpy(x):
    F = np.zeros(3)
    G = F
    F += x
    return x * len(set(G.tobytes()))


def other_dtype(x):
    F = np.zeros(3)
    G = F.view(np.int64)
    F += x
    return G * x


def changes_global(x):
    F = GLOBAL
    F += x
    return F


def changes_global_row(x):
    row = TABLE[1]
    row += x
    return row


def changes_default(x, F=np.zeros(3)):  # noqa: B008
    F += x
    return F


def changes_captured():
    F = np.zeros(3)

    def f(x):
        G = F
        G += x
        return G

    return f


def changes_attribute(x):
    BAG.F += x
    return BAG.F


def changes_item(x):
    LIST[0] += x
    return LIST[0]


def changes_with_out(x):
    np.add(GLOBAL, x, out=GLOBAL)
    return GLOBAL


def changes_array_of_outer(x):
    F = np.zeros(3)

    def inner(y):
        G = F
        G += y
        return np.sum(G)

    return sg.grad(inner)(x) + F


def set_item(x):
    F = np.zeros((2, 3))
    F[0] += x
    return F


def fill(x):
    F = np.zeros(3)
    F.fill(x[0])
    return F


def other_out(x):
    F = np.zeros(3)
    np.add(np.ones(3), x, out=F)
    return F


def sum_into(x):
    F = np.zeros(())
    np.sum(x, out=F)
    return F


def read_only(x):
    F = np.broadcast_to(np.zeros(1), (3,))
    F += x
    return F


def of_bytes(x):
    F = np.frombuffer(bytearray(24))
    F += x
    return F


def the_argument(x):
    y = x
    y += 1
    return y


REFUSED = [
    read_by_numpy, items_read_by_numpy, default_read_by_numpy, read_in_helper, compared_by_numpy,
    searched_by_numpy, finite_by_numpy,
    copied_by_numpy, listed_by_numpy, view_read_by_numpy, written_by_numpy, view_written_by_numpy,
    updated_by_numpy, index_by_numpy, bytes_by_numpy, other_dtype, changes_global,
    changes_global_row, changes_default, changes_captured(), changes_attribute, changes_item,
    changes_with_out, changes_array_of_outer, set_item, fill, other_out, sum_into, read_only,
    of_bytes,
]  # fmt: skip
# What is followed where the source is at hand.
BY_SOURCE = [
    read_by_numpy, items_read_by_numpy, default_read_by_numpy, read_in_helper, searched_by_numpy,
    finite_by_numpy, copied_by_numpy, view_read_by_numpy, written_by_numpy, view_written_by_numpy,
    updated_by_numpy, index_by_numpy, listed_by_numpy, compared_by_numpy, set_item, fill,
    other_out, sum_into,
]  # fmt: skip


@pytest.mark.quick(16)
@pytest.mark.parametrize("f", REFUSED, ids=lambda f: f.__qualname__)
def test_refused(f, source):
    if source and f in BY_SOURCE:
        same_as_numpy(f)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of NumPy, about the other numbers
        with pytest.raises(TraceError) as info:
            traced(f)
    assert str(info.value).startswith(f"{__file__}:")
    for plain in (GLOBAL, TABLE):
        assert not plain.any() and plain.flags.writeable


def test_errors_say_what_to_write(source):
    for f, words in ((read_by_numpy, r"F = F \+ x"), (changes_global, "outlives")):
        if not (source and f in BY_SOURCE):
            with pytest.raises(MutationError, match=words):
                traced(f)


def test_the_callers_array_stays_as_it_was(source):
    argument = X.copy()
    with pytest.warns(MutationWarning, match="stays as it was") as given:
        np.testing.assert_array_equal(sg.jit(the_argument)(argument), X + 1)
    assert [w.filename for w in given] == [__file__]
    np.testing.assert_array_equal(argument, X)


def test_refusals_cannot_be_caught():
    def f(x):
        try:
            return sg.grad(lambda y: np.sum(add_and_return(GLOBAL, y)))(x)
        except SymgradError:
            return x

    with pytest.raises(MutationError):
        traced(f)


def test_one_name_is_traced_once(source):
    """The usual accumulator: nothing is run again, and nothing is kept."""
    runs = []

    def f(x):
        runs.append(1)
        total = np.zeros(3)
        matrix = np.zeros((3, 3)).T
        for k in range(4):
            total += k * x
            matrix -= x
        return total, matrix

    traced(f)
    assert len(runs) == 1
    traced(lambda x: (runs.append(1), two_names(x))[1])
    assert len(runs) == (2 if source else 4)


def test_arrays_are_let_go(source):
    alive = []

    def f(x):
        F = np.zeros(3)
        G = F
        alive.append(__import__("weakref").ref(F))
        F += x
        return G

    traced(f)
    gc.collect()
    assert [reference() for reference in alive] == [None] * (1 if source else 3)
