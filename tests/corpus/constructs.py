"""Constructs of Python and NumPy, one in each small function.

First those that NumPy's protocols cannot see (arrays made of numbers, assignment, conversions),
then aliases and in-place changes, helpers, library calls, and loops. Branches are in branchy.py.
"""

# ruff: noqa: B905, E731, UP033
from __future__ import annotations

import copy
import functools
import io
import itertools
import math
import numbers
import operator
from collections import defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from math import sin as math_sin

import numpy
import numpy as anything
import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.special
import scipy.stats
from numpy import array as arr
from numpy import exp, sin
from numpy.linalg import norm as length

from corpus import elsewhere
from corpus.elsewhere import rotate
from corpus.entry import Collection

add = Collection()
X = np.array([0.3, -0.7, 1.2])
M = np.array([[0.3, -0.7, 1.2], [0.9, 0.4, -0.5]])
S = 0.7


# ---- arrays made of numbers ----------------------------------------------------------------------


def array_of_scalars(x):
    return np.sum(np.array([x[0], x[1] * x[2], 1.0]) ** 2)


add(array_of_scalars, X)


def array_nested(x):
    return np.array([[x[0], 1.0], [2, x[1] * x[2]]])


add(array_nested, X)


def array_of_arrays(x):
    return np.array([x, x**2, np.ones(3)]) @ x


add(array_of_arrays, X)


def array_with_dtype(x):
    return np.array([x[0], 2, 3], dtype=float) * x


add(array_with_dtype, X)


def array_float64(x):
    return np.array([x[0] * 2, x[1]], dtype=np.float64)


add(array_float64, X)


def array_imported_name(x):
    return arr([sin(x[0]), exp(x[1])])


add(array_imported_name, X)


def array_three_deep(x):
    return np.array([[[x[0], x[1]], [x[2], 0.0]], [[1, 2], [3, x[0]]]]).sum(axis=0)


add(array_three_deep, X)


def array_of_scalar(s):
    return np.array(s) * 2


add(array_of_scalar, S)


def array_copies(x):
    y = np.array(x)
    y[0] = 5.0
    return x * y


add(array_copies, X)


def asarray_of_list(x):
    return np.asarray([x[0], x[1]]) ** 2


add(asarray_of_list, X)


def asarray_float(x):
    x = np.asarray(x, dtype=float)
    return x * np.arange(3)


add(asarray_float, X)


def asarray_is_no_copy(x):
    y = x * 1.0
    z = np.asarray(y)
    z[1] = 4.0
    return y * x


add(asarray_is_no_copy, X)


def atleast(s):
    v = np.atleast_1d(s)
    return np.atleast_2d(v * 3)[0, 0] * v


add(atleast, S)


def ravel_list(x):
    return np.ravel([x, 2 * x])


add(ravel_list, X)


def full_of_scalar(s):
    return np.full(4, s) * np.arange(4.0)


add(full_of_scalar, S)


def full_like_array(x):
    return np.full_like(x, x[1]) * x


add(full_like_array, X)


def r_scalars(x):
    return np.r_[x[0], x, 1.0, x[2]]


add(r_scalars, X)


def c_columns(x):
    return np.c_[x, x**2, np.ones(3)].T @ x


add(c_columns, X)


def sum_of_list(x):
    return np.sum([x[0], x[1] ** 2, 3.0])


add(sum_of_list, X)


def mean_max_of_list(x):
    return np.mean([x[0], x[1] ** 2]) + np.max([x[0], x[2]]) + np.prod([x[0], x[1]])


add(mean_max_of_list, X)


def ufunc_of_list(x):
    return np.exp([x[0], x[1], 0.5])


add(ufunc_of_list, X)


def dot_of_lists(x):
    return np.dot([x[0], x[1]], [1.0, 2.0]) + np.linalg.norm([x[1], x[2]])


add(dot_of_lists, X)


def list_times_array(x):
    return [1.0, 2.0, 3.0] * x + [x[0], 1.0, x[1]]


add(list_times_array, X)


def concatenate_nested(x):
    return np.concatenate([[x[0]], x, [1.0, x[1]]])


add(concatenate_nested, X)


def stacks(x):
    return np.vstack([x, 2 * x]) @ np.hstack([x[:1], x[1:]]) + np.column_stack([x, x])[0]


add(stacks, X)


def block_of_scalars(x):
    return np.block([[x[0], 1.0], [2.0, x[1]]])


add(block_of_scalars, X)


def append_insert(x):
    return np.append(x, x[0] ** 2)


add(append_insert, X)


def fromiter(x):
    return np.fromiter((v**2 for v in x), dtype=float, count=3)


add(fromiter, X)


def diag_of_list(x):
    return np.diag([x[0], x[1], x[2]]) @ x


add(diag_of_list, X)


def linspace_to_scalar(s):
    return np.linspace(0.0, s, 5) ** 2


add(linspace_to_scalar, S)


def meshgrid_of_parts(x):
    a, b = np.meshgrid(x[:2], x)
    return a * b


add(meshgrid_of_parts, X)


# ---- assignment ----------------------------------------------------------------------------------


def zeros_then_items(x):
    z = np.zeros(3)
    z[0] = x[1]
    z[2] = x[0] * x[1]
    return z


add(zeros_then_items, X)


def empty_then_loop(x):
    out = np.empty(len(x))
    for i in range(len(x)):
        out[i] = x[i] ** 2 + i
    return out


add(empty_then_loop, X)


def ones_slices(x):
    z = np.ones(5)
    z[1:4] = x
    z[::2] *= 2
    z[-1] += x[0]
    return z


add(ones_slices, X)


def slice_augmented(x):
    z = np.zeros(4)
    z[1:] += x
    z[:-1] -= x**2
    return z


add(slice_augmented, X)


def zeros_like_fill(x):
    z = np.zeros_like(x)
    z[:] = x * 2
    z[1] = 7.0
    return z


add(zeros_like_fill, X)


def empty_like_rows(m):
    out = np.empty_like(m)
    for i, row in enumerate(m):
        out[i] = row / np.sum(row**2)
    return out


add(empty_like_rows, M)


def matrix_items(x):
    A = np.zeros((3, 3))
    for i in range(3):
        for j in range(i + 1):
            A[i, j] = A[j, i] = x[i] * x[j] + 0.1
    return A


add(matrix_items, X)


def matrix_column(m):
    A = np.zeros((2, 4))
    A[:, 1:] = m
    A[:, 0] = m.sum(axis=1)
    A[0] *= 3
    return A


add(matrix_column, M)


def fill_by_mask(x):
    z = np.zeros(3)
    mask = np.array([True, False, True])
    z[mask] = x[mask] ** 2
    return z


add(fill_by_mask, X)


def mask_of_values(x):
    y = x.copy()
    y[x < 0] = 0.1 * x[x < 0]
    return y


add(mask_of_values, X)


def mask_to_constant(x):
    y = x * 2
    y[y > 1] = 1.0
    return y * x


add(mask_to_constant, X)


def fancy_store(x):
    z = np.zeros(5)
    z[[4, 0, 2]] = x
    z[[0, 1]] += x[:2]
    return z


add(fancy_store, X)


def add_at(x):
    z = np.zeros(2)
    np.add.at(z, [0, 1, 0], x)
    return z


add(add_at, X)


def out_argument(x):
    z = np.zeros(3)
    np.multiply(x, 2.0, out=z)
    np.add(z, x**2, out=z)
    return z


add(out_argument, X)


def out_seen_by_alias(x):
    z = np.zeros(3)
    w = z
    np.exp(x, out=z)
    return w * x


add(out_seen_by_alias, X)


def divide_where(x):
    return np.divide(1.0, x, out=np.zeros(3), where=x > 0)


add(divide_where, X)


def list_of_zeros(x):
    z = [0.0] * 3
    z[0] = x[1]
    z[2] += x[0] ** 2
    return np.array(z)


add(list_of_zeros, X)


def list_of_lists(x):
    A = [[0.0] * 2 for _ in range(2)]
    A[0][1] = x[0]
    A[1][0] = x[1] * x[2]
    return np.array(A) @ np.array(A)


add(list_of_lists, X)


def dict_of_values(x):
    d = {}
    for name, v in zip("abc", x):
        d[name] = v**2
    d["a"] *= x[2]
    return sum(d.values())


add(dict_of_values, X)


def copyto(x):
    z = np.zeros(3)
    np.copyto(z, x)
    return z * x


add(copyto, X)


def put_and_fill(x):
    z = np.empty(3)
    z.fill(x[0])
    return z * x


add(put_and_fill, X)


def fill_diagonal(x):
    A = np.ones((3, 3))
    np.fill_diagonal(A, x)
    return A @ x


add(fill_diagonal, X)


def identity_scaled(s):
    A = np.eye(3)
    A[0, 1] = s
    A *= s
    return A @ A


add(identity_scaled, S)


def flat_store(x):
    A = np.zeros((2, 2))
    A.flat[1] = x[0]
    A[1] = x[1:]
    return A


add(flat_store, X)


def captured_template(x):
    z = X.copy()
    z[0] = x[2]
    return z * x


add(captured_template, X)


def accumulate_scalar(x):
    total = 0
    for v in x:
        total += v * total + v
    return total


add(accumulate_scalar, X)


def swap_items(x):
    y = x.copy()
    y[0], y[2] = y[2], y[0]
    return y * np.arange(3)


add(swap_items, X)


def swap_rows(m):
    A = m.copy()
    A[[0, 1]] = A[[1, 0]]
    return A * M


add(swap_rows, M)


def ellipsis_newaxis(m):
    z = np.zeros((2, 3, 1))
    z[..., 0] = m
    z[:, 1] += m[:, 0, None]
    return z


add(ellipsis_newaxis, M)


def integer_array_truncates(x):
    z = np.zeros(3, dtype=int)
    z[0] = 2.9
    return z * x


add(integer_array_truncates, X)


# ---- conversions and Python's own functions ------------------------------------------------------


def float_of_element(x):
    return float(x[0]) * float(x[1]) ** 2


add(float_of_element, X)


def float_of_sum(x):
    return float(np.sum(x**2))


add(float_of_sum, X)


def item_method(x):
    return x[0].item() * x.sum().item()


add(item_method, X)


def int_of_static(x):
    n = int(np.ceil(len(x) / 2))
    return x[:n] ** 2


add(int_of_static, X)


def int_of_shape_array(m):
    n = int(np.prod(m.shape))
    return m.reshape(n) * np.arange(n)


add(int_of_shape_array, M)


def round_value(x):
    return round(x[0] * 3) * x[1] + np.round(x, 1) @ x


add(round_value, X)


def abs_builtin(x):
    return abs(x) + abs(x[1])


add(abs_builtin, X)


def min_max_builtin(x):
    return max(x[0], x[1]) * min(x[1], x[2], 0.5)


add(min_max_builtin, X)


def max_of_array(x):
    return max(x) + min(list(x))


add(max_of_array, X)


def max_with_key(x):
    return max(x, key=lambda v: v * v) ** 2


add(max_with_key, X)


def sum_builtin(x):
    return sum(x) + sum(v * v for v in x) + sum([x[0], x[1]], 1.0)


add(sum_builtin, X)


def sorted_builtin(x):
    s = sorted(x)
    return s[0] * 1.0 + s[1] * 2.0 + s[2] * 3.0


add(sorted_builtin, X)


def sort_numpy(x):
    return np.sort(x) * np.arange(1, 4)


add(sort_numpy, X)


def sort_in_place(x):
    y = x.copy()
    y.sort()
    return y[::-1] * np.arange(1, 4)


add(sort_in_place, X)


def argsort_take(x):
    order = np.argsort(x)
    return x[order] * np.arange(1, 4)


add(argsort_take, X)


def argmax_index(x):
    k = np.argmax(x)
    return x[k] * x[0]


add(argmax_index, X)


def pow_builtin(x):
    return pow(x[2], 3) + pow(2.0, x[0]) + divmod(x[2], 0.5)[1]


add(pow_builtin, X)


def math_functions(x):
    return math.sin(x[0]) * math.exp(x[1]) + math.sqrt(x[2]) + math.pow(x[2], 1.5) + math.pi


add(math_functions, X)


def math_imported_name(s):
    return math_sin(s) + math.atan2(s, 2.0) + math.hypot(s, 1.0) + math.log(s, 2)


add(math_imported_name, S)


def math_more(s):
    return math.erf(s) + math.lgamma(s + 1) + math.tanh(s) + math.log1p(s) + math.fabs(-s)


add(math_more, S)


def math_prod_dist(x):
    return math.prod([x[0], x[1]]) + math.degrees(x[2]) + math.dist(x, [1.0, 0.0, 2.0])


add(math_prod_dist, X)


def math_floor(x):
    return math.floor(x[2] * 4) * x[0] + math.ceil(x[1]) * x[2]


add(math_floor, X)


def module_under_another_name(x):
    return anything.array([x[0], numpy.sin(x[1])])


add(module_under_another_name, X)


def norm_imported_name(x):
    return length(x) + length([x[0], x[1]])


add(norm_imported_name, X)


def vectorize(x):
    f = np.vectorize(lambda a, b: a * a + math.sin(b))
    return f(x, 0.5) + f(x, x)


add(vectorize, X)


def apply_along_axis(m):
    return np.apply_along_axis(lambda row: np.sum(row**2) * row, 1, m)


add(apply_along_axis, M)


def reduce_functools(x):
    return functools.reduce(lambda a, b: a * 0.5 + b, x, 1.0) + functools.reduce(operator.mul, x)


add(reduce_functools, X)


def map_filter(x):
    return sum(map(lambda v: v**2, filter(lambda v: True, x)))


add(map_filter, X)


def methods_of_plain_arrays(x):
    A = np.arange(9.0).reshape(3, 3)
    return A.dot(x) + A.T.dot(x) + np.ones(3).dot(x)


add(methods_of_plain_arrays, X)


def methods_of_traced(x):
    return x.dot(x) + x.sum() * x.mean() + x.max() + x.std() + x.cumsum()[1] + x.prod()


add(methods_of_traced, X)


def float_scalar_times(x):
    return np.float64(2.0) * x + np.pi * x[0] + np.float64(3) ** x[1]


add(float_scalar_times, X)


def isinstance_ndarray(x):
    if isinstance(x, np.ndarray):
        return x**2
    raise TypeError("an array, please")


add(isinstance_ndarray, X)


def isinstance_float(s):
    if not isinstance(s, (int, float)):
        raise TypeError("a number, please")
    return s**3


add(isinstance_float, S)


def isinstance_number(x):
    y = x[0]
    if isinstance(y, numbers.Number) or np.isscalar(y):
        y = np.array([y, y])
    return y * 2


add(isinstance_number, X)


def callable_or_array(x, w):
    return w(x) if callable(w) else w * x


add(callable_or_array, X, np.array([1.0, 2.0, 3.0]))


def formats(x):
    text = f"{x[0]:.3f} {x} {x.shape} {float(x[1]):8.2e}"
    assert text
    return x**2 * len("abc")


add(formats, X)


def prints(x):
    print("value", x[0], "of", x, end="\n", file=io.StringIO())
    return x**2


add(prints, X)


def ndim_size(x):
    return x * np.ndim(x) + np.size(x) + x.shape[0] + x.ndim + x.size + len(x.T)


add(ndim_size, X)


def tolist(x):
    a, b, c = x.tolist()
    return a * b + c


add(tolist, X)


def unpacking(x):
    a, *rest = x
    (b, c) = rest
    return a * b - c


add(unpacking, X)


def star_call(x):
    return np.hypot(*x[:2]) + math.hypot(*x[1:])


add(star_call, X)


def comparison_with_none(x, w=None):
    return x if w is None or w is False else x * w


add(comparison_with_none, X)


def complex_of_reals(x):
    z = x[0] + 1j * x[1]
    return np.abs(z * z + 1) + np.real(np.exp(z))


add(complex_of_reals, X)


def deep_copy(x):
    y = copy.deepcopy(x)
    y = copy.copy(y)
    return x * y


add(deep_copy, X)


def astype_float(x):
    return x.astype(float) + x.astype(np.float64)


add(astype_float, X)


def booleans_as_numbers(x):
    return (x > 0) * x + np.sum(x > 0) * x[0] + (x[0] > x[1]) * 2.0


add(booleans_as_numbers, X)


def dtype_of_argument(x):
    z = np.zeros(3, dtype=x.dtype)
    z[1] = x[0]
    return z


add(dtype_of_argument, X)


# ---- aliases and views ---------------------------------------------------------------------------


def alias_of_argument(x):
    y = x * 1.0
    z = y
    z *= 2
    return y * x


add(alias_of_argument, X)


def alias_of_zeros(x):
    F = np.zeros(3)
    G = F
    F += x
    return G * x


add(alias_of_zeros, X)


def argument_changed(x):
    x[0] = 2.0 * x[1]
    x *= 3
    return x**2


add(argument_changed, X)


def argument_alias_changed(x):
    y = x
    y *= 2
    return np.sum(x**2)


add(argument_alias_changed, X)


def helper_changes_argument(x):
    z = np.zeros(3)
    elsewhere.fill(z, x**2)
    return z


add(helper_changes_argument, X)


def rows_are_views(m):
    K = np.zeros((2, 3))
    for row in K:
        row += m[0]
    K[1][0] = m[1, 1]
    return K


add(rows_are_views, M)


def view_written_through(x):
    z = np.zeros((2, 2))
    v = z.reshape(-1)
    v[1] = x[0]
    z.T[1, 1] = x[1]
    d = z[1:]
    d += x[2]
    return z


add(view_written_through, X)


def view_then_base(x):
    z = x * 1.0
    head = z[:2]
    z[0] = 5 * x[1]
    return head * 2


add(view_then_base, X)


def list_alias(x):
    a = [x[0], x[1]]
    b = a
    b[0] = x[2]
    b.append(x[0] * 3)
    return np.array(a)


add(list_alias, X)


def default_argument_list(x):
    def collect(v, into):
        into.append(v)
        return into

    found = []
    for v in x:
        collect(v**2, found)
    return np.array(found)


add(default_argument_list, X)


def copy_is_apart(x):
    y = x.copy()
    y[0] = 1.0
    z = x[:]
    return x * y + z


add(copy_is_apart, X)


def plus_is_apart(x):
    y = x
    y = y + 1
    return x * y


add(plus_is_apart, X)


def diagonal_by_stride(x):
    A = np.zeros((3, 3))
    A.ravel()[::4] = x
    return A


add(diagonal_by_stride, X)


def two_views_overlap(x):
    z = np.zeros(4)
    a, b = z[:3], z[1:]
    a += x
    b *= 2
    return z


add(two_views_overlap, X)


def shift_in_place(x):
    z = x * 1.0
    z[1:] = z[:-1] * 2
    return z


add(shift_in_place, X)


def attribute_state(x):
    class Box:
        pass

    box = Box()
    box.total = 0.0
    box.values = np.zeros(3)
    for i, v in enumerate(x):
        box.total += v**2
        box.values[i] = box.total
    return box.values


add(attribute_state, X)


# ---- helpers -------------------------------------------------------------------------------------


def helper_elsewhere(x):
    return elsewhere.rotate(x[:2], x[2]) + rotate(x[1:], 0.3)


add(helper_elsewhere, X)


class Model:
    scale = 2.0

    def __init__(self, w):
        self.w = w

    @property
    def doubled(self):
        return 2 * self.w

    @staticmethod
    def square(v):
        return np.array([v[0] ** 2, v[1] * v[2]])

    @classmethod
    def make(cls, w):
        return cls(w)

    def __call__(self, x):
        return self.square(x * self.w) * self.scale

    def loss(self, x):
        return np.sum(self(x)) + np.sum(self.doubled * x)


add(Model(np.array([1.0, 2.0, 3.0])).loss, X, name="method")
add(Model(np.array([1.0, 2.0, 3.0])), X, name="callable_object")


def object_made_inside(x):
    return Model.make(x).loss(np.ones(3)) + Model(x[0])(x)[0]


add(object_made_inside, X)


class Vector:
    def __init__(self, *c):
        self.c = list(c)

    def __add__(self, o):
        return Vector(*[a + b for a, b in zip(self.c, o.c)])

    def __mul__(self, k):
        return Vector(*[a * k for a in self.c])

    def __matmul__(self, o):
        return sum(a * b for a, b in zip(self.c, o.c))

    def __len__(self):
        return len(self.c)

    def __getitem__(self, k):
        return self.c[k]


def own_operators(x):
    v = Vector(*x)
    w = v + v * 2.0
    return w @ v + len(w) * w[0]


add(own_operators, X)


@dataclass
class State:
    position: float
    velocity: float
    history: list = field(default_factory=list)

    def step(self, force, dt=0.1):
        self.velocity += dt * force
        self.position += dt * self.velocity
        self.history.append(self.position)


def mutable_object(x):
    s = State(x[0], x[1])
    for k in range(3):
        s.step(-x[2] * s.position + k)
    return np.array(s.history)


add(mutable_object, X)


def partial_of_function(x):
    def poly(a, b, t):
        return a * t**2 + b * t

    return functools.partial(poly, x[0], b=x[1])(t=x[2])


add(partial_of_function, X)
add(functools.partial(lambda k, x: np.array([k * x[0], x[1]]), 3.0), X, name="partial_itself")
add(lambda x: np.array([x[0], x[1] ** 2]), X, name="lambda_itself")
_LAMBDAS = {"a": lambda x: x[0] * 2, "b": lambda x: np.array([x[1]])[0] ** 2, "c": lambda x: x[2]}
add(_LAMBDAS["b"], X, name="lambda_among_three")


def closures_in_loop(x):
    fs = [lambda v, k=k: k * v**k for k in range(1, 4)]
    return np.array([f(v) for f, v in zip(fs, x)])


add(closures_in_loop, X)


def nonlocal_counter(x):
    total = 0.0

    def push(v):
        nonlocal total
        total = total * 0.5 + v

    for v in x:
        push(v * v)
    return total


add(nonlocal_counter, X)


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs) * 1.5

    return wrapper


@logged
def decorated(x):
    return np.array([x[0] * x[1], x[2]])


add(decorated, X)


@functools.lru_cache(maxsize=None)
def coefficients(n):
    return tuple(1 / math.factorial(k) for k in range(n))


def cached_helper(x):
    return sum(c * x**k for k, c in enumerate(coefficients(4)))


add(cached_helper, X)


def generator_helper(x):
    def differences(v):
        for a, b in zip(v[:-1], v[1:]):
            yield b - a

    return sum(d**2 for d in differences(x))


add(generator_helper, X)


def power_by_squaring(x, n):
    if n == 0:
        return 1.0
    if n % 2:
        return x * power_by_squaring(x, n - 1)
    half = power_by_squaring(x, n // 2)
    return half * half


def recursion(x):
    return power_by_squaring(x, 5) + power_by_squaring(x[0], 6)


add(recursion, X)


def keyword_arguments(x):
    def affine(v, *, scale=1.0, shift=0.0, **rest):
        return v * scale + shift + rest.get("more", 0.0)

    return affine(x, shift=x[0], **{"scale": x[1], "more": 2.0})


add(keyword_arguments, X)

Pair = namedtuple("Pair", "first second")


def named_tuple(x):
    p = Pair(x[0], np.array([x[1], x[2]]))
    p = p._replace(first=p.first * 2)
    return p.first * p.second


add(named_tuple, X)


def comprehension_nested(x):
    return np.array([[a * b for a in x] for b in x if True])


add(comprehension_nested, X)


def dict_comprehension(x):
    d = {k: v**2 for k, v in enumerate(x)}
    return sum(d[k] * (k + 1) for k in sorted(d))


add(dict_comprehension, X)


def itertools_products(x):
    return sum(a * b for a, b in itertools.combinations(x, 2)) + list(itertools.accumulate(x))[-1]


add(itertools_products, X)


def deque_window(x):
    window = deque(maxlen=2)
    total = 0.0
    for v in x:
        window.append(v)
        total += sum(window) ** 2
    return total


add(deque_window, X)


def grouped(x):
    groups = defaultdict(list)
    for k, v in zip([0, 1, 0], x):
        groups[k].append(v)
    return sum(np.mean(g) ** 2 for g in groups.values())


add(grouped, X)


def params_dict(params, x):
    return np.tanh(x @ params["w"] + params["b"])


add(params_dict, {"w": np.array([0.1, 0.2, -0.3]), "b": 0.4}, M)


def params_list(params):
    a, (b, c) = params
    return np.array([a * b, c])


add(params_list, [0.3, [1.2, -0.5]])


def list_argument(x):
    return x[0] * x[1] + sum(x)


add(list_argument, [0.5, 2.0, -1.0])


def static_flag(x, n, mode="square", verbose=False):
    if verbose:
        print(x)
    if mode == "square":
        return sum(x**k for k in range(n))
    return x


add(static_flag, X, 3)


def axis_argument(m, axis):
    return m.sum(axis=axis) ** 2


add(axis_argument, M, 1)


def size_argument(s, n):
    return np.arange(n) * s + np.zeros(n)


add(size_argument, S, 4)


# ---- library calls -------------------------------------------------------------------------------


def sparse_constant(x):
    A = scipy.sparse.csr_array(np.array([[1.0, 0, 2], [0, 3, 0]]))
    return A @ x


add(sparse_constant, X)


def sparse_transposed(x):
    A = scipy.sparse.csr_matrix(np.array([[1.0, 0, 2], [0, 3, 0]]))
    return A.T @ (A @ x)


add(sparse_transposed, X)


def special_functions(x):
    return (
        scipy.special.logsumexp(x) + scipy.special.softmax(x)[0] + scipy.special.expit(x).sum()
        + scipy.special.gammaln(x + 2).sum() + scipy.special.erf(x[0]) + scipy.special.ndtr(x[1])
    )  # fmt: skip


add(special_functions, X)


def logsumexp_axis_weights(m):
    return (
        scipy.special.logsumexp(m, axis=1, b=[1.0, 2.0, 0.5])
        + scipy.special.logsumexp(m, axis=0, keepdims=True).sum()
    )


add(logsumexp_axis_weights, M)


def normal_distribution(x):
    return (
        scipy.stats.norm.logpdf(x, 0.2, 1.5) + scipy.stats.norm.cdf(x) + scipy.stats.norm.pdf(x)
        + scipy.stats.norm.sf(x, loc=0.1) + scipy.stats.norm.logcdf(x) + scipy.stats.norm.ppf(0.3)
    )  # fmt: skip


add(normal_distribution, X)


def frozen_distribution(x):
    prior = scipy.stats.norm(loc=0.5, scale=2.0)
    return prior.logpdf(x).sum() + prior.cdf(x[0])


add(frozen_distribution, X)


def more_distributions(x):
    p = np.exp(x)
    return (
        scipy.stats.gamma.logpdf(p, 2.0, scale=0.5) + scipy.stats.expon.logpdf(p, scale=2.0)
        + scipy.stats.t.logpdf(x, 4.0) + scipy.stats.lognorm.logpdf(p, 0.7)
        + scipy.stats.beta.logpdf(p / 10, 2.0, 3.0)
    )  # fmt: skip


add(more_distributions, X)


def poisson_logpmf(x):
    return scipy.stats.poisson.logpmf(np.array([0, 2, 5]), np.exp(x)).sum()


add(poisson_logpmf, X)


def multivariate_normal(x):
    cov = np.array([[2.0, 0.3, 0.0], [0.3, 1.0, 0.1], [0.0, 0.1, 0.5]])
    return scipy.stats.multivariate_normal.logpdf(x, np.zeros(3), cov)


add(multivariate_normal, X)

_SPD = np.array([[2.0, 0.3, 0.1], [0.3, 1.5, 0.2], [0.1, 0.2, 1.0]])


def scipy_linalg(x):
    A = _SPD + np.outer(x, x)
    c = scipy.linalg.cho_factor(A)
    return (
        scipy.linalg.cho_solve(c, x) + scipy.linalg.solve(A, x)
        + scipy.linalg.solve_triangular(scipy.linalg.cholesky(A, lower=True), x, lower=True)
    )  # fmt: skip


add(scipy_linalg, X)


def scipy_expm(x):
    return scipy.linalg.expm(np.outer(x, x) * 0.3) @ x


add(scipy_expm, X)


def scipy_block_diag(x):
    return scipy.linalg.block_diag(np.outer(x[:2], x[:2]), x[2]) + scipy.linalg.toeplitz(x)


add(scipy_block_diag, X)


def cdist(m):
    from scipy.spatial.distance import cdist as distances

    return distances(m, M[:, ::-1] + 1.0)


add(cdist, M)


def numpy_linalg(x):
    A = _SPD + np.outer(x, x)
    sign, logdet = np.linalg.slogdet(A)
    return np.linalg.solve(A, x) + np.linalg.inv(A)[0] + sign * logdet + np.linalg.det(A)


add(numpy_linalg, X)


def eigenvalues(x):
    return np.linalg.eigvalsh(_SPD + np.outer(x, x))


add(eigenvalues, X)


def interp_points(x):
    return np.interp(x, [-1.0, 0.0, 1.0, 2.0], [1.0, 3.0, -1.0, 0.5])


add(interp_points, X)


def searchsorted_then_index(x):
    knots = np.array([-1.0, 0.0, 1.0, 2.0])
    slopes = np.array([0.0, 1.0, 3.0, -1.0, 2.0])
    return slopes[np.searchsorted(knots, x)] * x


add(searchsorted_then_index, X)


def table_lookup(x):
    table = np.array([1.0, 3.0, -1.0, 0.5])
    k = int(np.floor(x[2] * 2))
    return table[k] * x[0]


add(table_lookup, X)


def piecewise(x):
    return np.piecewise(x, [x < 0, x >= 0], [lambda v: v**2, lambda v: 3 * v])


add(piecewise, X)


def select_choose(x):
    return np.select([x < 0, x < 1], [x**2, x**3], default=1.0) + np.where(x > 0, x, -x)


add(select_choose, X)


def median_quantile(x):
    return np.median(x) + np.quantile(x, 0.3) + np.percentile(x, 75)


add(median_quantile, X)


def average_weights(x):
    return np.average(x, weights=[1.0, 2.0, 3.0]) + np.ptp(x) + np.var(x, ddof=1)


add(average_weights, X)


def polynomials(x):
    return np.polyval([1.0, -2.0, 0.5], x) + np.polyval(x, 0.7)


add(polynomials, X)


def gradient_diff(x):
    return np.diff(x) ** 2 @ np.array([1.0, 2.0]) + np.trapezoid(x**2, dx=0.5)


add(gradient_diff, X)


def ufunc_methods(x):
    return (
        np.add.reduce(x) + np.multiply.accumulate(x)[2] + np.add.outer(x, x).sum()
        + np.logaddexp.reduce(x) + np.logaddexp.accumulate(x)[1] + np.maximum.reduce(x)
    )  # fmt: skip


add(ufunc_methods, X)


def einsum_tensordot(m):
    return np.einsum("ij,ik->jk", m, m) + np.tensordot(m, m, axes=([0], [0])) + np.kron(m, m)[0, 0]


add(einsum_tensordot, M)


def roll_flip_tile(x):
    return np.roll(x, 1) * np.flip(x) + np.tile(x, 2)[1:4] + np.repeat(x, 2)[:3]


add(roll_flip_tile, X)


def outer_cross(x):
    return np.outer(x, [1.0, 2.0, 3.0]) @ np.cross(x, [1.0, 0.0, 2.0])


add(outer_cross, X)


def nan_handling(x):
    y = np.array([np.nan, 1.0, 2.0])
    return np.nansum(y * x) + np.nan_to_num(y) @ x


add(nan_handling, X)


def tril_indices(x):
    L = np.zeros((2, 2))
    L[np.tril_indices(2)] = x
    return L @ L.T


add(tril_indices, X)


def ix_block(m):
    A = np.zeros((3, 4))
    A[np.ix_([0, 2], [1, 2, 3])] += m
    return A


add(ix_block, M)


def take_along(m):
    return np.take_along_axis(m, np.array([[2], [0]]), axis=1) * m


add(take_along, M)


def errstate(x):
    with np.errstate(divide="ignore"):
        return np.log(np.abs(x))


add(errstate, X)


# ---- loops ---------------------------------------------------------------------------------------


def loop_range(x):
    y = x
    for _ in range(20):
        y = 0.9 * y + 0.1 * np.sin(y)
    return y


add(loop_range, X)


def loop_array(x):
    total = 0.0
    for v in x:
        total = total * v + 1
    return total


add(loop_array, X)


def loop_enumerate_zip(x):
    total = 0.0
    for i, (a, b) in enumerate(zip(x, x[::-1])):
        total += i * a * b
    return total


add(loop_enumerate_zip, X)


def loop_reversed(x):
    total = 0.0
    for i in reversed(range(3)):
        total = total * 0.7 + x[i]
    for k in range(2, -1, -1):
        total = total * 0.7 + x[k]
    return total


add(loop_reversed, X)


def loop_of_rows(m):
    total = np.zeros(3)
    for row in m:
        total = total * 0.5 + row * np.sum(total + 1)
    return total


add(loop_of_rows, M)


def loop_list_append(x):
    out = [x[0]]
    for i in range(10):
        out.append(0.8 * out[-1] + 0.1 * x[i % 3])
    return np.array(out)


add(loop_list_append, X)


def loop_recurrence(x):
    y = np.zeros(12)
    y[0] = x[0]
    y[1] = x[1]
    for t in range(2, 12):
        y[t] = 0.5 * y[t - 1] - 0.3 * y[t - 2] + x[2]
    return y


add(loop_recurrence, X)


def loop_int_to_float(x):
    total = 0
    count = 1
    for v in x:
        total += v
        count *= 2
    return total / count


add(loop_int_to_float, X)


def loop_variable_afterwards(x):
    for v in x:
        last = v**2
    return last + v


add(loop_variable_afterwards, X)


def loop_zero_rounds(x):
    total = x[0]
    for _ in range(0):
        total = total * x[1]
    for _ in []:
        total = 0.0
    return total


add(loop_zero_rounds, X)


def loop_nested(x):
    total = 0.0
    for i in range(3):
        for j in range(i, 3):
            total += x[i] * x[j] ** 2 / (1 + i + j)
    return total


add(loop_nested, X)


def loop_static_conditions(x):
    total = 0.0
    for i in range(8):
        if i % 2 == 0:
            total += x[i % 3]
        elif i == 5:
            continue
        else:
            total *= x[1]
        if i == 6:
            break
    return total


add(loop_static_conditions, X)


def while_counter(x):
    i, total = 0, 1.0
    while i < 10:
        total = total * 0.5 + x[i % 3]
        i += 1
    return total


add(while_counter, X)


def loop_matrix_power(m):
    A = m[:, :2] * 0.5
    P = np.eye(2)
    for _ in range(9):
        P = P @ A + 0.1 * np.eye(2)
    return P


add(loop_matrix_power, M)


def loop_tuple_state(x):
    a, b = x[0], x[1]
    for _ in range(10):
        a, b = b, 0.5 * a + 0.3 * b
    return a + 2 * b


add(loop_tuple_state, X)


def loop_else(x):
    for v in x:  # noqa: B007
        pass
    else:
        return v * 3
    return 0.0


add(loop_else, X)


def loop_ndenumerate(m):
    total = 0.0
    for (i, j), v in np.ndenumerate(m):
        total += (i + 2 * j) * v**2
    return total


add(loop_ndenumerate, M)


def loop_ndindex(m):
    out = np.zeros(m.shape)
    for index in np.ndindex(m.shape):
        out[index] = m[index] ** 2
    return out


add(loop_ndindex, M)


def loop_horner(x):
    result = 0.0
    for c in [1.0, -0.5, 0.25, 2.0]:
        result = result * x + c
    return result


add(loop_horner, X)
