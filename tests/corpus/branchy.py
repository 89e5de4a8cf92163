"""Functions that decide: branches, early returns, loops whose length depends on values."""

# ruff: noqa: B905, B007, E731
from __future__ import annotations

import contextlib
import math

import numpy as np

from corpus.elsewhere import leaky
from corpus.entry import Collection

add = Collection()
X = np.array([0.3, -0.7, 1.2])


def if_else(x):
    if x > 0:
        return x**2
    else:
        return -3 * x


add(if_else, 0.7)
add(if_else, -0.7, name="if_else_other_side")


def early_return(x):
    if x[0] > 1:
        return np.sum(x**2)
    y = x * 2
    if y[1] < -1:
        return np.prod(y)
    return np.sum(y)


add(early_return, X)


def elif_chain(x):
    if x < -1:
        y = -x
    elif x < 0:
        y = x**2
    elif x < 1:
        y = x**3
    else:
        y = np.sqrt(x)
    return y * x


add(elif_chain, 0.4)


def assigned_on_one_side(x):
    y = x * 2
    if x > 0.5:
        y = np.sin(y)
        z = y + 1
    else:
        z = x
    return y * z


add(assigned_on_one_side, 0.7)


def item_stored_on_one_side(x):
    """The change must not be seen by the other side."""
    z = np.zeros(3)
    for i in range(3):
        if x[i] > 0.5:
            z[i] = x[i] ** 2
        else:
            z[i] += 0.1 * x[i]
    return z


add(item_stored_on_one_side, X)


def both_sides_change(x):
    z = x.copy()
    if x[0] > x[1]:
        z[0] *= 2
        z[1:] += z[:1]
    else:
        z[2] = z[0]
    return z * x


add(both_sides_change, X)


def alias_in_branch(x):
    z = x * 1.0
    w = z
    if x[1] < 0:
        w *= 3
    else:
        w = w * 5
    return z + w


add(alias_in_branch, X)


def helper_writes_in_branch(x):
    z = np.zeros(3)

    def bump(target, k, by):
        target[k] += by

    if x[2] > 1:
        bump(z, 0, x[0])
    else:
        bump(z, 1, x[1])
    bump(z, 2, x[2])
    return z


add(helper_writes_in_branch, X)


def list_changed_in_branch(x):
    state = [x[0], x[1]]
    if x[0] > 0:
        state[0] = state[1] * 2
    else:
        state[1] = 7.0
    return state[0] * state[1]


add(list_changed_in_branch, X)


def dict_changed_in_branch(x):
    state = {"a": x[0], "n": 0}
    if x[0] > 0:
        state["a"] = state["a"] ** 2
        state["n"] += 1
    return state["a"] * (1 + state["n"])


add(dict_changed_in_branch, X)


class Particle:
    def __init__(self, x, v):
        self.x, self.v = x, v

    def bounce(self):
        if self.x < 0:
            self.x = -self.x
            self.v = -0.9 * self.v

    def step(self, dt):
        self.x = self.x + dt * self.v
        self.v -= dt * 9.81
        self.bounce()


def bouncing_ball(p):
    ball = Particle(p[0], p[1])
    for _ in range(15):
        ball.step(0.05)
    return ball.x + 0.1 * ball.v


add(bouncing_ball, np.array([1.0, -2.0]))


def nested_ifs(x):
    a, b, c = x
    if a > 0:
        if b > 0:
            return a * b
        if c > 1:
            r = a / c
        else:
            r = a - c
    else:
        r = b
    return r**2 + c


add(nested_ifs, X)


def and_or_not(x):
    if x[0] > 0 and x[1] < 0 or not x[2] > 5:
        return x[0] * x[1]
    return x[2]


add(and_or_not, X)


def short_circuit(x):
    """The second operand divides by zero where the first is false."""
    d = x[0] - 0.3
    if d != 0 and x[1] / d > 1:
        return d
    return x[1] * x[2]


add(short_circuit, X)


def chained_comparison(x):
    total = 0.0
    for v in x:
        if -0.5 < v <= 1.0:
            total += v**2
        elif not 0 < v < 2:
            total -= v
    return total


add(chained_comparison, X)


def conditional_expression(x):
    y = [v if v > 0 else 0.1 * v for v in x]
    return sum(y) * (x[0] if x[1] < x[2] else x[1])


add(conditional_expression, X)


def safe_log(x):
    return math.log(x) if x > 0 else -1e3


add(safe_log, 0.3)


def untaken_divides_by_zero(x):
    r = x[0] - x[0]
    if r > 0:
        return x[1] / r
    return x[1] ** 2


add(untaken_divides_by_zero, X)


def max_min_values(x):
    return max(x[0], x[1], x[2]) * min(x) + max(0.0, x[1])


add(max_min_values, X)


def helper_that_branches(x):
    return sum(leaky(v) ** 2 for v in x) + leaky(x[1], slope=x[0])


add(helper_that_branches, X)


def break_in_loop(x):
    total = 0.0
    for v in x:
        if v < 0:
            break
        total += v**2
    return total + v


add(break_in_loop, X)


def continue_in_loop(x):
    total = 1.0
    for v in x:
        if v < 0:
            continue
        total *= v
    return total


add(continue_in_loop, X)


def loop_returns(x):
    for k, v in enumerate(x):
        if v > 1:
            return v * (k + 1)
    return 0.0 * x[0]


add(loop_returns, X)


def loop_else_on_value(x):
    for v in x:
        if v > 5:
            r = v
            break
    else:
        r = x[0] * x[2]
    return r


add(loop_else_on_value, X)


def first_crossing(x):
    """A position found by a loop, then used as an index."""
    level = 0.0
    k = 0
    while k < len(x) and x[k] > level:
        k += 1
    return x[k] * x[0] if k < len(x) else x[0]


add(first_crossing, X)


def bisection(a):
    lo, hi = 0.0, 4.0
    for _ in range(60):
        mid = 0.5 * (lo + hi)
        if mid * mid < a:
            lo = mid
        else:
            hi = mid
    return a * 0.5 * (lo + hi)


add(bisection, 2.0)


def newton_while(a):
    x = 1.0
    while abs(x**3 - a) > 1e-12:
        x = x - (x**3 - a) / (3 * x**2)
    return x


add(newton_while, 2.5)


def newton_break(a):
    x = a
    for it in range(100):
        step = (math.exp(x) + x - a) / (math.exp(x) + 1)
        x -= step
        if abs(step) < 1e-13:
            break
    else:
        raise RuntimeError("no convergence")
    return x


add(newton_break, 1.5)


def newton_system(p):
    """Two equations, Jacobian by hand, until the residual is small."""
    z = np.array([1.0, 1.0])
    for _ in range(30):
        r = np.array([z[0] ** 2 + z[1] ** 2 - p[0], z[0] - z[1] * p[1]])
        if np.linalg.norm(r) < 1e-12:
            break
        J = np.array([[2 * z[0], 2 * z[1]], [1.0, -p[1]]])
        z = z - np.linalg.solve(J, r)
    return z[0] + 3 * z[1]


add(newton_system, np.array([4.0, 0.7]))


def secant(c):
    f = lambda t: t - c * math.cos(t)
    a, b = 0.0, 1.0
    fa, fb = f(a), f(b)
    while abs(fb) > 1e-13:
        a, b = b, b - fb * (b - a) / (fb - fa)
        fa, fb = fb, f(b)
    return b


add(secant, 0.8)


def kepler(p):
    M, e = p
    E = M if e < 0.8 else math.pi
    while True:
        delta = (E - e * math.sin(E) - M) / (1 - e * math.cos(E))
        E = E - delta
        if abs(delta) < 1e-13:
            return E


add(kepler, np.array([0.9, 0.4]))


def power_iteration(x):
    A = np.array([[2.0, x[0], 0.0], [x[0], 3.0, x[1]], [0.0, x[1], 1.0]])
    v = np.ones(3) / np.sqrt(3)
    last = 0.0
    for _ in range(200):
        w = A @ v
        eig = v @ w
        v = w / np.linalg.norm(w)
        if abs(eig - last) < 1e-13:
            break
        last = eig
    return eig


add(power_iteration, X)


def fixed_point(x):
    y, rounds = 0.0, 0
    while rounds < 50:
        new = math.cos(x * y)
        if abs(new - y) < 1e-12:
            break
        y = new
        rounds += 1
    return y


add(fixed_point, 0.8)


def collatz_like(x):
    n = 0
    while x > 1:
        if x > 3:
            x = x / 2
        else:
            x = x - 0.7
        n += 1
    return x * n


add(collatz_like, 11.3)


def adaptive_step(x):
    """Euler's method whose step is halved where the slope is large."""
    t, y, h = 0.0, x, 0.2
    while t < 1.0:
        slope = -y + math.sin(5 * t)
        if abs(slope) > 1.0:
            h = max(h / 2, 0.05)
        step = min(h, 1.0 - t)
        if step < 1e-9:
            break
        y += step * slope
        t += step
    return y


add(adaptive_step, 1.8)


def line_search(x):
    """Gradient descent with backtracking: the number of halvings depends on values."""
    f = lambda z: np.sum(z**4) + np.sum(z**2) + x[0] * z[0]
    z = np.array([1.0, x[1]])
    for _ in range(3):
        g = 4 * z**3 + 2 * z + np.array([1.0, 0.0]) * x[0]
        t = 1.0
        while f(z - t * g) > f(z) - 0.1 * t * (g @ g):
            t *= 0.5
        z = z - t * g
    return f(z)


add(line_search, np.array([0.4, -0.8]))


def continued_fraction(x):
    """Modified Lentz's method until a factor is 1."""
    f = c = 1.0
    d = 0.0
    for k in range(1, 200):
        a, b = k * x, 1.0 + k
        d = b + a * d
        c = b + a / c
        d = 1 / d
        delta = c * d
        f *= delta
        if abs(delta - 1) < 1e-15:
            break
    return f


add(continued_fraction, 0.6)


def series_until_small(x):
    term, total, k = 1.0, 1.0, 0
    while abs(term) > 1e-16 * abs(total):
        k += 1
        term *= x / k
        total += term
    return total


add(series_until_small, 1.3)


def two_whiles(x):
    a = x
    while a > 1:
        b = a
        while b > 0.5:
            b -= 0.4
        a = a * 0.5 + b * 0.1
    return a


add(two_whiles, 3.75)


def insertion_sort(x):
    y = [v for v in x]
    for i in range(1, len(y)):
        j = i
        while j > 0 and y[j - 1] > y[j]:
            y[j - 1], y[j] = y[j], y[j - 1]
            j -= 1
    return sum((k + 1) * v for k, v in enumerate(y))


add(insertion_sort, np.array([0.9, -0.3, 0.5, 0.1]))


def running_maximum(x):
    best = -math.inf
    where = 0
    for k, v in enumerate(x):
        if v > best:
            best, where = v, k
    return best**2 * (where + 1)


add(running_maximum, X)


def stack_machine(x):
    stack = []
    for v in x:
        stack.append(v)
        while len(stack) > 1 and stack[-1] > stack[-2]:
            b, a = stack.pop(), stack.pop()
            stack.append(a * b + 1)
    return sum(stack)


add(stack_machine, X)


def walrus(x):
    if (y := x[0] * 2) > 0.5:
        return y**2
    total = 0.0
    while (total := total + y) < 1:
        pass
    return total


add(walrus, X)
add(walrus, np.array([0.2, 1.0, 0.0]), name="walrus_in_while")


def match_literals(x, kind="quad"):
    match kind:
        case "lin":
            return x[0]
        case "quad" if x[0] > 0:
            return x[0] ** 2
        case _:
            return x[1]


add(match_literals, X)


def match_structure(x):
    shape = ("rect", x[0], x[2]) if x[1] < 0 else ("circle", x[0])
    match shape:
        case ("circle", r):
            return math.pi * r**2
        case ("rect", w, h):
            return w * h


add(match_structure, X)


def try_except(x):
    try:
        if x[0] < 0:
            raise ValueError("negative")
        y = math.sqrt(x[0])
    except ValueError:
        y = 0.0
    else:
        y = y * 2
    finally:
        z = x[1]
    return y * z


add(try_except, X)


def try_takes_the_handler(x):
    try:
        if x[1] < 0:
            raise ValueError("negative")
        y = x[0]
    except ValueError:
        y = x[2] ** 2
    return y


add(try_takes_the_handler, X)


def suppressed(x):
    y = x[0]
    with contextlib.suppress(ZeroDivisionError):
        y = y * 3
        if x[2] > 1:
            raise ZeroDivisionError
        y = 0.0
    return y


add(suppressed, X)


def generator_with_branches(x):
    def positives(v):
        for e in v:
            if e > 0:
                yield e

    return sum(e**2 for e in positives(x))


add(generator_with_branches, X)


def generator_filter(x):
    return sum(v**2 for v in x if v > 0) + len([v for v in x if v < 0]) * x[0]


add(generator_filter, X)


def any_all(x):
    if any(v < 0 for v in x) and not all(v < 1 for v in x):
        return np.sum(x) ** 2
    return x[0]


add(any_all, X)


def np_any_all(x):
    if np.any(x < 0) and not np.all(x < 1):
        return np.sum(x) ** 2
    return x[0]


add(np_any_all, X)


def recursion_on_value(x):
    def fold(v, depth):
        if v < 0.3 or depth > 20:
            return v * depth
        return fold(v * v * 0.9, depth + 1) + 0.1 * v

    return fold(x, 0)


add(recursion_on_value, 0.95)


def quicksort(x):
    def sort(v):
        if len(v) < 2:
            return v
        head, rest = v[0], v[1:]
        return [*sort([e for e in rest if e < head]), head, *sort([e for e in rest if e >= head])]

    return sum((k + 1) * e for k, e in enumerate(sort(list(x))))


add(quicksort, X)


def asserts(x):
    assert x[0] > 0, "positive, please"
    assert np.all(np.abs(x) < 10)
    return np.log(x[0]) * x[1]


add(asserts, X)


def raises_for_others(x):
    if x[0] > 5:
        raise ValueError(f"too large: {x[0]}")
    return x[0] ** 2


add(raises_for_others, X)


def none_until_set(x):
    best = None
    for v in x:
        if best is None or v > best:
            best = v
    return best**2


add(none_until_set, X)


def flag_variable(x):
    done = False
    total = 0.0
    k = 0
    while not done:
        total += x[k % 3] ** 2
        k += 1
        done = total > 2.0
    return total


add(flag_variable, X)


def state_machine(x):
    state, total = "idle", 0.0
    for v in x:
        if state == "idle" and v > 0:
            state = "run"
        elif state == "run" and v < 0:
            state = "idle"
        total += v**2 if state == "run" else 0.1 * v
    return total


add(state_machine, X)


def truth_of_number(x):
    y = x[0] - 0.3
    return x[1] if y else x[2] ** 2


add(truth_of_number, X)


def or_default(x):
    return (x[0] or 2.0) * (x[1] and x[2])


add(or_default, X)


def equality_branch(x):
    if x[0] == 0.3:
        return x[1] ** 2
    return x[0]


add(equality_branch, X)


def view_in_loop_with_branch(x):
    grid = np.zeros((2, 3))
    for row, s in zip(grid, [1.0, -1.0]):
        for k in range(3):
            if s * x[k] > 0:
                row[k] = x[k] ** 2
    return grid


add(view_in_loop_with_branch, X)


def several_results(x):
    if x[0] > 0:
        return x[0], x[1:]
    return x[1], x[:2]


add(several_results, X)


def clamp_inside_loop(x):
    v = 0.0
    for k in range(11):
        v += x[k % 3]
        if v > 1.0:
            v = 1.0
        elif v < -0.2:
            v = -0.2
        v *= 0.95
    return v


add(clamp_inside_loop, X)


def trapezoid_adaptive(p):
    """Adaptive quadrature by a stack of intervals."""
    f = lambda t: math.exp(-p[0] * t * t) * p[1]
    todo, total = [(0.0, 2.0)], 0.0
    while todo:
        a, b = todo.pop()
        m = 0.5 * (a + b)
        whole = (b - a) / 6 * (f(a) + 4 * f(m) + f(b))
        halves = (m - a) / 6 * (f(a) + 4 * f(0.5 * (a + m)) + f(m))
        halves += (b - m) / 6 * (f(m) + 4 * f(0.5 * (m + b)) + f(b))
        if abs(whole - halves) < 1e-5:
            total += halves
        else:
            todo += [(a, m), (m, b)]
    return total


add(trapezoid_adaptive, np.array([0.8, 1.5]))


def piecewise_table(x):
    """Tax brackets."""
    brackets = [(1.0, 0.1), (2.5, 0.2), (math.inf, 0.35)]
    tax, lower = 0.0, 0.0
    for upper, rate in brackets:
        if x <= lower:
            break
        tax += (min(x, upper) - lower) * rate
        lower = upper
    return tax * x


add(piecewise_table, 1.9)


def golden_section(c):
    """Minimum of a quartic by golden section, then its value."""
    f = lambda t: t**4 - c * t**2 + 0.3 * t
    a, b = 0.0, 2.0
    ratio = (math.sqrt(5) - 1) / 2
    while b - a > 1e-6:
        l, r = b - ratio * (b - a), a + ratio * (b - a)
        if f(l) < f(r):
            b = r
        else:
            a = l
    return f((a + b) / 2)


add(golden_section, 1.7)


def runge_kutta_event(p):
    """Integration until an event, then interpolation to it."""
    y, v, t = p[0], p[1], 0.0
    while True:
        y_new, v_new = y + 0.1 * v, v - 0.1 * 9.81
        if y_new < 0:
            s = y / (y - y_new)
            return t + 0.1 * s
        y, v, t = y_new, v_new, t + 0.1


add(runge_kutta_event, np.array([1.0, 2.0]))


def pivoting_elimination(x):
    """Gauss's elimination with rows exchanged by value."""
    A = np.array([[x[0], 2.0, 1.0], [3.0, x[1], 0.5], [1.0, x[2], -2.0]])
    b = np.array([1.0, x[0], 2.0])
    for k in range(3):
        p = k
        for i in range(k + 1, 3):
            if abs(A[i, k]) > abs(A[p, k]):
                p = i
        if p != k:
            A[[k, p]] = A[[p, k]]
            b[[k, p]] = b[[p, k]]
        for i in range(k + 1, 3):
            m = A[i, k] / A[k, k]
            A[i, k:] -= m * A[k, k:]
            b[i] -= m * b[k]
    z = np.zeros(3)
    for i in range(2, -1, -1):
        z[i] = (b[i] - A[i, i + 1 :] @ z[i + 1 :]) / A[i, i]
    return z


add(pivoting_elimination, X)
