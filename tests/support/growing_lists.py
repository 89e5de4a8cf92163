"""Functions with lists that grow in loops of which the data decide how often they run."""

import itertools

import numpy as np

THETA = np.array([0.5, 0.2, 0.9])


# ---- what is known of such a list ----------------------------------------------------------------


def newton_history(th):
    xs = [th[0]]
    while abs(xs[-1] ** 2 - th[1] - 1) > 1e-9:
        xs.append(xs[-1] - (xs[-1] ** 2 - th[1] - 1) / (2 * xs[-1]))
    return xs[-1] + 0.1 * len(xs)


def series(th):
    term = th[0]
    terms = [term]
    while abs(terms[-1]) > 1e-8:
        term = term * 0.5 * th[1]
        terms.append(term)
    return sum(terms)


def begins_empty(th):
    seen, s = [], abs(th[0]) + 1
    while s > 0.1:
        s = s * 0.6
        seen.append(s)
    return sum(seen) * th[1] + len(seen)


def length_in_the_test(th):
    xs = [th[0] + 1]
    while len(xs) < 30 and xs[-1] > 0.05:
        xs.append(xs[-1] * 0.7 * np.cos(th[1]))
    return xs[-1] + len(xs)


def ends_by_break(th):
    xs = [th[0] + 1]
    for _ in range(50):
        xs.append(np.sin(xs[-1]) * 0.7)
        if xs[-1] < 0.1:
            break
    return xs[-1] + xs[-2] * th[1] + len(xs)


def ends_by_return(th):
    xs = [th[0] + 2]
    while True:
        xs.append(xs[-1] * 0.7)
        if abs(xs[-1] - xs[-2]) < 0.01:
            return xs[-1] * len(xs)


def largest_and_smallest(th):
    xs, t = [th[0]], 0.0
    while t < 3.0:
        t = t + 0.2 + 0.1 * abs(th[1])
        xs.append(np.sin(t) * th[2])
    return max(xs) + 2 * min(xs) + 3 * np.max(xs) * np.min(xs)


def sums_of_numpy(th):
    xs, t = [th[0]], 0.0
    while t < 3.0:
        t = t + 0.2 + 0.1 * abs(th[1])
        xs.append(np.sin(t) * th[2])
    return np.sum(xs) * th[0] + np.mean(xs)


def points(th):
    path = [th]
    while np.sum(path[-1] ** 2) > 0.01:
        path.append(0.8 * path[-1] * np.cos(path[-1]))
    return np.sum(path[-1]) + len(path) + path[0][0]


def sum_of_points(th):
    path, v = [], th.copy()
    while np.sum(v**2) > 0.01:
        v = v - 0.2 * v
        path.append(v)
    return np.sum(np.sin(sum(path)))


def two_lists(th):
    ts, ys, h = [0.0], [th[0]], 0.1
    while ts[-1] < 2.0:
        ys.append(ys[-1] + h * (-th[1] * ys[-1]))
        ts.append(ts[-1] + h)
        h = h * (1.1 if abs(ys[-1] - ys[-2]) < 0.05 else 0.95)
    return ys[-1] * ts[-1]


def two_at_a_time(th):
    xs, v = [th[0]], abs(th[0]) + 2
    while v > 0.6:
        v = v * 0.7
        xs.append(v)
        xs.append(v * th[1])
    return xs[-1] + xs[-2] * 2 + xs[-3] * 3 + len(xs)


def longer_afterwards(th):
    xs = [abs(th[0]) + 1]
    while xs[-1] > 0.1:
        xs.append(0.6 * xs[-1])
    xs.append(th[1])
    return sum(xs) + xs[-1] * xs[-2] + len(xs)


def longer_in_two_loops(th):
    xs, v = [th[0]], abs(th[0]) + 2
    while v > 0.6:
        v = v * 0.7
        xs.append(v)
    while v > 0.1:
        v = v * 0.8
        xs.append(v * th[1])
    return sum(xs) + len(xs) + xs[-1]


def longer_in_each_round(th):
    xs = [th[0]]
    for k in range(3):
        v = abs(th[1]) + k
        while v > 0.3:
            v = v * 0.7
            xs.append(v)
    return sum(xs) + len(xs) + max(xs)


def in_a_dict(th):
    log = {"f": [], "g": []}
    v = abs(th[0]) + 1
    while v > 0.2:
        log["f"].append(v * v)
        log["g"].append(np.cos(v))
        v = v * 0.8
    return log["f"][-1] + sum(log["g"])


def may_be_empty(th):
    xs, v = [], th[0]
    while v > 0.6:
        v = v * 0.7
        xs.append(v)
    if not xs:
        return th[1] * 2
    return max(xs) * th[1] + (xs[-1] if xs else 0.0)


def truth_in_a_round(th):
    xs, v = [], th[0] + 2
    while v > 0.6:
        if xs:
            v = v - 0.1
        v = v * 0.7
        xs.append(v)
    return sum(xs)


def by_a_helper(th):
    def last(values):
        return values[-1] + values[-2]

    xs, v = [th[0], th[1]], th[0] + 2
    while v > 0.6:
        v = v * 0.7
        xs.append(v)
    return last(xs) + last(list(xs)) + xs[0] + sum(xs[:2]) + f"{xs}".count("x")


def in_a_branch(th):
    xs, v = [th[0]], th[0] + 2
    if th[1] > 0.1:
        while v > 0.6:
            v = v * 0.7
            xs.append(v)
    return sum(xs) + len(xs)


def counts_of_ints(th):
    ns, v = [0], th[0] + 2
    while v > 0.6:
        v = v * 0.7
        ns.append(ns[-1] + 2)
    return v * ns[-1] * len(ns)


def length_of_a_list_in_a_round(th):
    xs = [th[0]]
    for _ in range(30):
        xs.append(np.sin(xs[-1]) + 1.0 / len(xs))
    return xs[-1]


def until_two_are_near(th):
    xs = [th[0]]
    while len(xs) < 3 or abs(xs[-1] - xs[-2]) > 1e-6:
        xs.append(np.cos(xs[-1]) * th[1])
    return xs[-1]


def array_instead(th):
    out, t, n = np.zeros(200), 0.0, 0
    for k in range(200):
        t = t + 0.2 + 0.1 * abs(th[1])
        out[k] = np.sin(t) * th[2]
        n += 1
        if t > 3.0:
            break
    return np.sum(out**2) + n


KNOWN = [
    newton_history, series, begins_empty, length_in_the_test, ends_by_break, ends_by_return,
    largest_and_smallest, sums_of_numpy, points, sum_of_points, two_lists, two_at_a_time,
    longer_afterwards, longer_in_two_loops, longer_in_each_round, in_a_dict, may_be_empty,
    truth_in_a_round, by_a_helper, in_a_branch, counts_of_ints, length_of_a_list_in_a_round,
    until_two_are_near, array_instead,
]  # fmt: skip


# ---- what is not ---------------------------------------------------------------------------------


def halved(th):
    xs = [abs(th[0]) + 1]
    while xs[-1] > 0.01:
        xs.append(0.97 * xs[-1])
    return xs


def as_an_array(th):
    return np.sum(np.array(halved(th)) ** 2)


def gone_through(th):
    s = 0.0
    for x in halved(th):
        s += x**2
    return s


def gone_through_by_a_generator(th):
    return sum(x**2 for x in halved(th))


def numbered(th):
    n = 0
    for k, _ in enumerate(halved(th)):
        n = k
    return n * th[0]


def unpacked(th):
    first, _ = halved(th)
    return first


def starred(th):
    return max(*halved(th))


def by_its_number(th):
    return halved(th)[2]


def by_a_traced_number(th):
    xs = halved(th)
    return xs[len(xs) - 1]


def far_from_the_end(th):
    return halved(th)[-9]


def reversed_part(th):
    return halved(th)[::-1][0]


def changed(th):
    xs = halved(th)
    xs[-1] = th[1]
    return sum(xs)


def shortened(th):
    return halved(th).pop()


def compared(th):
    return th[0] if halved(th) == [] else th[1]


def as_a_shape(th):
    return np.sum(np.zeros(len(halved(th)))) + th[0]


def sum_of_ints(th):
    ns, v = [0], th[0] + 2
    while v > 0.01:
        v = v * 0.97
        ns.append(ns[-1] + 2)
    return v * sum(ns)


def front_changed(th):
    xs, v = [th[0]], th[0]
    while v > 0.01:
        v = v * 0.97
        xs.append(v)
    xs[0] = th[1]
    return xs[-1]


def kept_by_somebody_who_catches(th):
    xs, v = [], th[0]
    while v > 0.01:
        v = v * 0.97
        xs.append(v)
    try:
        return xs[-1]
    except IndexError:
        return th[1]


def accumulated(th):
    xs, v = [], th[0]
    while v > 0.01:
        v = v * 0.97
        xs.append(v)
    return list(itertools.accumulate(xs))[-1]


def first_ones(th):
    return sum(itertools.islice(halved(th), 2))


def changed_by_a_method(th):
    xs = halved(th)
    xs.__setitem__(-1, th[1])
    return xs[-1]


def changed_by_its_class(th):
    xs = halved(th)
    list.__setitem__(xs, -1, th[1])
    return xs[-1]


UNKNOWN = [
    accumulated, first_ones, changed_by_a_method, changed_by_its_class,
    halved, as_an_array, gone_through, gone_through_by_a_generator, numbered, unpacked, starred,
    by_its_number, by_a_traced_number, far_from_the_end, reversed_part, changed, shortened,
    compared, as_a_shape, sum_of_ints, front_changed, kept_by_somebody_who_catches,
]  # fmt: skip


def last_of_perhaps_none(th):
    xs, v = [], th[0]
    while v > 0.6:
        v = v * 0.7
        xs.append(v)
    return xs[-1]


def largest_of_perhaps_none(th):
    xs, v = [], th[0]
    while v > 0.6:
        v = v * 0.7
        xs.append(v)
    return max(xs)


# ---- arrays that others have ---------------------------------------------------------------------


def variable_changed(th):
    path, v = [th.copy()], th.copy()
    while np.sum(v**2) > 0.01:
        v = v * 0.9
        path.append(v)
    v[0] = 7.0
    return np.sum(path[-1] * th)


def element_changed(th):
    path, v = [th.copy()], th * 1.0
    while np.sum(v**2) > 0.01:
        path.append(v)
        v = v * 0.9
    path[-1][0] = 7.0
    return np.sum(path[-1] * th) + np.sum(v)
