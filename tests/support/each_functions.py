"""Functions that NumPy calls for each element or row, each with the loop that says the same."""

import numpy as np

W = np.linspace(-1.0, 1.0, 3)


def matrix(x):
    return np.outer(x, x) + np.outer(W, x)


def long(x):
    return np.outer(np.linspace(0.0, 1.0, 400), x)


def damped(t, rate=1.0):
    if t > 0.3:
        return np.sin(t) * rate
    return t * t - rate


def norm_of_rows(x):
    return np.sum(np.apply_along_axis(np.linalg.norm, 1, matrix(x)) * W)


def norm_of_rows_loop(x):
    return sum(np.sqrt(np.sum(row**2)) * w for row, w in zip(matrix(x), W, strict=True))


def of_columns(x):
    return np.sum(np.apply_along_axis(lambda c: c * np.sum(c**2), 0, matrix(x)) * W)


def of_columns_loop(x):
    return sum(np.sum(c * np.sum(c**2)) * w for c, w in zip(matrix(x).T, W, strict=True))


def with_arguments(x):
    def g(row, a, b=1.0):
        return a * np.sum(row**3) + b

    made = np.apply_along_axis(g, axis=-1, arr=matrix(x), a=x[0], b=x[1])
    return np.sum(made * W)


def with_arguments_loop(x):
    return sum((x[0] * np.sum(row**3) + x[1]) * w for row, w in zip(matrix(x), W, strict=True))


def decides(x):
    def g(row):
        if row[0] > 0.3:
            return row[1] * 2
        return -row[0] * row[2]

    return np.sum(np.apply_along_axis(g, 1, long(x)))


def decides_loop(x):
    s = 0.0
    for row in long(x):
        s = s + (row[1] * 2 if row[0] > 0.3 else -row[0] * row[2])
    return s


def matrices_of_rows(x):
    made = np.apply_along_axis(lambda r: np.outer(r, r[:2]), 1, long(x))
    return np.sum(made[:, :, 0] - 2 * made[:, :, 1])


def matrices_of_rows_loop(x):
    return sum(np.sum(r * r[0]) - 2 * np.sum(r * r[1]) for r in long(x))


def two_axes_before(x):
    cube = np.multiply.outer(matrix(x), x)
    return np.sum(np.apply_along_axis(lambda r: r[0] * r[1:], 1, cube) * W)


def two_axes_before_loop(x):
    cube = np.multiply.outer(matrix(x), x)
    s = 0.0
    for i in range(3):
        for j in range(3):
            s = s + cube[i, 0, j] * (cube[i, 1, j] + cube[i, 2, j]) * W[j]
    return s


def over_axes(x):
    cube = np.multiply.outer(matrix(x), x)
    made = np.apply_over_axes(np.sum, cube, [0, -1])
    return np.sum(made[0, :, 0] * W)


def over_axes_loop(x):
    cube = np.multiply.outer(matrix(x), x)
    return sum(np.sum(cube[:, j, :]) * W[j] for j in range(3))


def vectorized(x):
    return np.sum(np.vectorize(damped)(long(x)))


def vectorized_loop(x):
    return sum(damped(t) for row in long(x) for t in row)


def vectorized_few(x):
    return np.sum(np.vectorize(damped)(x[:, None], x) * W)


def vectorized_few_loop(x):
    return sum(damped(a, b) * w for a in x for b, w in zip(x, W, strict=True))


def vectorized_with_keywords(x):
    return np.sum(np.vectorize(damped)(x, rate=x[::-1]) * W)


def vectorized_with_keywords_loop(x):
    return sum(damped(a, b) * w for a, b, w in zip(x, x[::-1], W, strict=True))


def vectorized_without_some(x):
    def g(t, table, k):
        return table[0] * t + table[k] * t**2

    f = np.vectorize(g, excluded=[1, "k"])
    return np.sum(f(x, x * 2, k=1) * W)


def vectorized_without_some_loop(x):
    return sum((2 * x[0] * t + 2 * x[1] * t**2) * w for t, w in zip(x, W, strict=True))


def vectorized_with_two_results(x):
    a, b = np.vectorize(lambda t: (np.sin(t), t * t), otypes=[float, float])(long(x))
    return np.sum(a * b)


def vectorized_with_two_results_loop(x):
    return sum(np.sin(t) * t * t for row in long(x) for t in row)


def vectorized_cut_off(x):
    return np.sum(np.vectorize(lambda t: 10 * t, otypes=[int])(x) * x)


def vectorized_cut_off_loop(x):
    return sum(np.trunc(10 * t) * t for t in x)


PAIRS = [
    (norm_of_rows, norm_of_rows_loop),
    (of_columns, of_columns_loop),
    (with_arguments, with_arguments_loop),
    (decides, decides_loop),
    (matrices_of_rows, matrices_of_rows_loop),
    (two_axes_before, two_axes_before_loop),
    (over_axes, over_axes_loop),
    (vectorized, vectorized_loop),
    (vectorized_few, vectorized_few_loop),
    (vectorized_with_keywords, vectorized_with_keywords_loop),
    (vectorized_without_some, vectorized_without_some_loop),
    (vectorized_with_two_results, vectorized_with_two_results_loop),
    (vectorized_cut_off, vectorized_cut_off_loop),
]
