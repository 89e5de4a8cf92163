"""Arrays with several names in and after loops of which one round stands for all.

A loop may leave a variable as it was, hand it to another one, or make it a view; what is changed
afterwards must be seen under all names, as Python has it. The oracle is the function itself.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest

import symgrad as sg
from symgrad.errors import BranchError, MutationError, SymgradError

X = np.array([0.5, 1.5, 2.5, 3.5])
ROUNDS = 100  # enough that no loop is written out


def no_round_leaves_the_array(x, y):
    a = x.copy()
    b = a
    while y > 1:
        a = a * 2
        y = y / 2
    a += 1.0
    return b, a, y


def no_round_leaves_it_in_a_dict(x, y):
    d = {"a": x.copy()}
    b = d["a"]
    while y > 1:
        d["a"] = d["a"] * 2
        y = y / 2
    d["a"][1] = 7.0
    return b, d["a"]


def iterated_while_its_name_moves_on(x, y):
    a, t = x.copy(), 0.0
    for v in a:
        while y > 1:
            a = a * 2
            y = y / 2
        a[:] = a + 1.0
        t = t + v
    return t, a


def two_names_for_what_a_round_leaves(x, y):
    u = x.copy()
    while y > 1:
        new = u * 2
        u = new
        y = y / 2
    u[0] += 1.0
    return u, y


def argument_moves_on(x, y):
    while y > 1:
        x = x * 2
        y = y / 2
    x[0] += 1.0
    return x


def another_name_in_each_round(x, y):
    b, t = x.copy(), 0.0
    for k in range(ROUNDS):
        a = b
        t = t + np.sin(a[k % 4] * y)
    a += 1.0
    return b, t


def rows_by_a_name(x, y):
    m, t = np.zeros((ROUNDS, 4)), 0.0
    for k in range(ROUNDS):
        row = m[k]
        row[:] = x * y + 0.01 * k
        t = t + np.sin(row[0])
    return m, t


def parts_of_rows_by_a_name(x, y):
    m = np.outer(np.arange(ROUNDS), x)
    for k in range(1, ROUNDS):
        part = m[k, 1:]
        part += m[k - 1, :3] * y / 7
    return m


def rows_of_a_walk(x, y):
    m = np.zeros((ROUNDS, 4))
    for k, row in enumerate(m):
        row[0] = x[0] * y + 0.01 * k
        row[1:] += x[1:]
    return m


def columns_by_a_name(x, y):
    m = np.zeros((4, ROUNDS))
    for k in range(ROUNDS):
        column = m[:, k]
        column[1] = y
        column *= x[1] + k
    return m


def row_at_a_traced_place(x, y):
    m = np.outer(x, x)
    row = m[np.argmax(x)]
    row[0] = y
    m[np.argmin(x), 1:] = row[1:] + y
    return m, row


def seen_by_the_other_name(x, y):
    a, b, t = x * 2, x.copy(), 0.0
    for _ in range(ROUNDS):
        b[0] += 0.1 * y
        t = t + a[0]
        a = b
    return t, a


def elements_of_a_list(x, y):
    path, u = [], x.copy()
    for _ in range(ROUNDS):
        path.append(u)
        u = u * 0.99 + y
    u[0] = 0.0
    path[0][0], path[-1][1] = 100.0, 50.0
    return sum(p[0] + p[1] for p in path), u


def last_element_of_a_list(x, y):
    path, u = [x], x.copy()
    first = u
    for _ in range(ROUNDS):
        u = u * 0.99 + y
        path.append(u)
    u[0], first[0] = 0.0, 11.0
    return sum(p[0] + p[1] for p in path), first


def changes_the_last_element(x, y):
    path = [x.copy()]
    for _ in range(ROUNDS):
        path[-1][0] += 1.0
        path.append(path[-1] * 0.9 + y)
    return path[0], path[50], path[-1]


def one_array_many_times(x, y):
    path, u, w = [], x.copy(), x * 3
    for _ in range(ROUNDS):
        path.append(w)
        u = u * 0.99 + y
    w[0] = 0.0
    return sum(p[0] for p in path), u


def a_list_by_another_name(x, y):
    p, q, t = [x[0], x[1]], [0.0, 0.0], 0.0
    for _ in range(ROUNDS):
        q = p
        t = t + np.sin(q[0] * y)
    q[0] = 7.0
    return p, t


def a_dict_by_another_name(x, y):
    d, t = {"a": x.copy()}, 0.0
    for _ in range(ROUNDS):
        e = d
        t = t + np.sin(e["a"][0] * y)
    e["a"][0] = 9.0
    return d["a"], t


def old_and_new(x, y):
    old, new, t = x * 1.0, x.copy(), 0.0
    for _ in range(ROUNDS):
        old = new
        new = np.sin(new) + 0.1 * y
        t = t + np.sum((new - old) ** 2)
    new[0] = 3.0
    return t, old, new


def best_of_all(x, y):
    best, lowest, u = x.copy(), 100.0, x.copy()
    for k in range(ROUNDS):
        u = u * 0.97 + 0.01 * y
        v = np.sum(np.cos(u * k))
        if v < lowest:
            best, lowest = u, v
        u[0] += 0.001
    return best, lowest


def names_of_an_earlier_loop(x, y):
    m, t = np.outer(np.arange(ROUNDS), x), 0.0
    for k in range(ROUNDS):
        row = m[k]
        t = t + row @ row
    m[0] = y
    for k in range(1, ROUNDS):
        m[k] += 0.1 * m[k - 1]
    return t, m


def first_round_is_certain(x, y):
    k, error = 0, 1.0
    while error > 1e-3 and k < 50:
        new = 0.5 * (x + y / x)
        error = np.max(np.abs(new - x))
        x = new
        k += 1
    return new, k


def until_it_breaks(x, y):
    while True:
        new = 0.5 * (x + y / x)
        if np.max(np.abs(new - x)) < 1e-6:
            break
        x = new
    return new


RIGHT = [
    no_round_leaves_the_array, no_round_leaves_it_in_a_dict, iterated_while_its_name_moves_on,
    two_names_for_what_a_round_leaves, argument_moves_on, another_name_in_each_round,
    rows_by_a_name, parts_of_rows_by_a_name, rows_of_a_walk, columns_by_a_name,
    row_at_a_traced_place, seen_by_the_other_name, elements_of_a_list, last_element_of_a_list,
    changes_the_last_element, one_array_many_times, a_list_by_another_name, a_dict_by_another_name,
    old_and_new, best_of_all, names_of_an_earlier_loop, first_round_is_certain, until_it_breaks,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::symgrad.errors.MutationWarning")
@pytest.mark.parametrize("f", RIGHT, ids=lambda f: f.__name__)
@pytest.mark.quick(11)
def test_as_in_python(f):
    graph = sg.trace(f, X, 1.0)
    for y in (0.5, 3.0, 9.0):
        for got, want in zip(graph.evaluate(X, y), f(X.copy(), y), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, err_msg=str(y))


def unbound_without_a_round(x, y):
    while y > 1.0:
        z = x * 2
        y = y / 2
    return z


def shares_with_the_one_before(x, y):
    u = x.copy()
    for _ in range(ROUNDS):
        u = u * 0.99 + y
        v = u[1:]
    u[1] = 5.0
    return v


def which_of_two(x, y):
    a, b = x.copy(), x * 2
    c = a
    for _ in range(ROUNDS):
        a, b = b, a
        y = np.sin(y)
    a += 1.0
    return c, y


def which_round(x, y):
    a = x.copy()
    b = a
    for k in range(ROUNDS):
        if y * 20 < k:
            a = a * 2
    a += 1.0
    return b


def row_of_the_last_round(x, y):
    m = np.outer(np.arange(ROUNDS), x)
    for k in range(ROUNDS):
        row = m[k]
        y = np.sin(y) + row[0]
    row += 1.0
    return m, y


REFUSED = {
    unbound_without_a_round: (BranchError, "variable z has no value here if the loop at"),
    shares_with_the_one_before: (MutationError, "may share its memory with another one"),
    which_of_two: (MutationError, "may share its memory with another one"),
    which_round: (MutationError, "may share its memory with another one"),
    row_of_the_last_round: (MutationError, "may share its memory with another one"),
}


@pytest.mark.parametrize("f", REFUSED, ids=lambda f: f.__name__)
def test_what_cannot_be_told(f):
    error, words = REFUSED[f]
    with pytest.raises(error, match=words) as caught:
        sg.trace(f, X, 1.0)
    assert "test_loop_aliases.py:" in str(caught.value)


DATA = np.outer(np.arange(float(ROUNDS)), X)


def test_rows_of_captured_arrays_stay():
    def f(x, k):
        row = DATA[k]
        row[0] = x[0]
        return DATA[k]

    before = DATA.copy()
    with pytest.raises(SymgradError, match="outside"):
        sg.trace(f, X, np.int64(3))
    np.testing.assert_array_equal(DATA, before)


def test_jit_follows_the_source():
    def f(x, y):
        z = np.zeros(3)
        z[0] = x[0]
        return z if y > 0 else z - x[1]

    for g in (sg.jit(f), sg.jit(sg.jit(f)), functools.partial(sg.jit(f))):
        for y in (1.0, -1.0):
            np.testing.assert_array_equal(g(X, y), f(X, y))
    value, pull = sg.vjp(f, X, -1.0)
    np.testing.assert_array_equal(value, f(X, -1.0))
    np.testing.assert_array_equal(pull(np.ones(3))[0], [1.0, -3.0, 0.0, 0.0])
