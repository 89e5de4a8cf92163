"""Functions with loops as people write them; of three numbers."""

import numpy as np

N = 24
Y = np.random.default_rng(0).random(N)
THETA = np.array([0.5, 0.2, 0.9])


def carried_number(th):
    s = 0.0
    for t in range(N):
        s = s * th[0] + Y[t] * th[1]
    return s


def carried_array(th):
    m = np.zeros(3)
    for y in Y:
        m = np.tanh(m * th + y)
    return np.sum(m)


def several(th):
    a, b = 1.0, th[0]
    for t in range(N):
        a, b = b, a * 0.5 + b * th[1] + Y[t]
    return a + b


def number_becomes_array(th):
    s = 0.0
    for y in Y:
        s = s * 0.5 + y * th
    return np.sum(s**2)


def inside_only(th):
    s = 0.0
    for y in Y:
        u = y * th[0]
        s = s * th[1] + np.sin(u)
    return s + u


def fills(th):
    z = np.zeros(N)
    z[0] = th[2]
    for t in range(1, N):
        z[t] = z[t - 1] * th[0] + th[1] * Y[t]
    return np.sum(z * Y)


def fills_rows(th):
    z = np.zeros((N, 3))
    z[0] = th
    for t in range(N - 1):
        z[t + 1] = z[t] * th + Y[t]
        z[t + 1, 0] = 2 * z[t + 1, 1]
    return np.sum(z**2)


def fills_backwards(th):
    z = np.ones(N)
    for t in range(N - 2, -1, -1):
        z[t] = z[t + 1] * th[0] + Y[t]
    return np.sum(z * th[1])


def adds_in_place(th):
    z = np.zeros(3)
    alias = z
    for y in Y:
        z *= 0.5 * th
        z += th * y
        z[0] *= 0.5
    return np.sum(alias * th)


def appends(th):
    out = [th[0]]
    for y in Y:
        out.append(out[-1] * 0.5 + y * th[1])
    return out[0] * out[1] + out[7] + out[-1] + sum(out)


def appends_from_nothing(th):
    out, s = [], 0.0
    for y in Y:
        s = s * th[0] + y
        out.append(s)
    return np.sum(np.array(out) ** 2)


def zipped(th):
    s = 1.0
    for k, (a, b) in enumerate(zip(Y, reversed(Y)), 1):  # noqa: B905  (as people write it)
        s = s * a + b * th[0] + 0.01 * k
    return s


def nested(th):
    s = 1.0
    for t in range(N):
        for j in range(N):
            s = s * th[0] + Y[j] * Y[t]
        s = np.sin(s)
    return s


def counted(th):
    i, s = 0, 1.0
    while i < N - 1:
        s = s * th[0] + Y[i]
        i += 2
    return s * i


def in_a_dict(th):
    state = {"m": th[0], "v": np.zeros(2)}
    for y in Y:
        state["m"] = 0.9 * state["m"] + y
        state["v"] = np.tanh(state["v"] + state["m"] * th[:2])
    return state["m"] + np.sum(state["v"])


class Model:
    def __init__(self, th):
        self.th, self.h = th, th[0]

    def step(self, y):
        self.h = self.th[1] * self.h + self.th[2] * y
        return np.log(1 + self.h**2)


def in_an_object(th):
    model = Model(th)
    loss = 0.0
    for y in Y:
        loss += model.step(y)
    return loss


def branches_inside(th):
    s = th[0]
    for y in Y:
        if s > 0.7:
            s = s * 0.5
        elif s > 0.3:
            s = s + y * th[1]
        else:
            s = s * s + th[2]
    return s


def continues(th):
    s = th[0]
    for y in Y:
        if s > 1:
            s = s * 0.25
            continue
        s = s + y * th[1]
    return s


def breaks(th):
    s = th[0]
    for y in Y:
        s = s + y * th[1]
        if s > 1.5:
            break
    return s * s


def returns(th):
    s = th[0]
    for k, y in enumerate(Y):
        s = s + y * th[1]
        if s > 1.5:
            return s * k
    return -s


def breaks_with_else(th):
    s = th[0]
    for y in Y:
        s = s + y * th[1]
        if s > 1.5:
            break
    else:
        s = s * 100
    return s


def int_becomes_float(th):
    s, k = 0, 0
    for y in Y:
        s += y * th[0]
        k += 2
    return s * k


def first_round_differs(th):
    previous, s = None, 0.0
    for y in Y:
        if previous is not None:
            s = s + (y - previous) ** 2 * th[0]
        previous = y * th[1]
    return s


def sum_of_neighbours(th):
    s = 0.0
    for t in range(1, N):
        s += (Y[t] * th[0] - Y[t - 1] * th[1]) ** 2
    return s


def outer_product(th):
    z = np.zeros((N, N))
    for i in range(N):
        for j in range(N):
            z[i, j] = Y[i] * th[0] + Y[j] ** 2 * th[1]
    return np.sum(np.sin(z))


def even_and_odd(th):
    s = 0.0
    for t in range(N):
        if t % 2 == 0:
            s += Y[t] * th[0]
        else:
            s -= Y[t] * th[1] ** 2
    return s


def halves(th):
    x, k = th[0] * 100, 0
    while x > 1.0:
        x = x / 2 + 0.1 * th[1]
        k += 1
    return x + k


def newton(th):
    x = 1.0 + th[0]
    while abs(x**2 - 2 * th[1] - 1) > 1e-9:
        x = x - (x**2 - 2 * th[1] - 1) / (2 * x)
    return x


def bisection(th):
    low, high = 0.0, 2.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if middle**3 + middle > th[0] + th[1]:
            high = middle
        else:
            low = middle
    return low * th[2]


def until_a_break(th):
    x, k = th[0] * 50, 0
    while True:
        x = x * 0.7 + th[1]
        k += 1
        if x < 2 or k > 40:
            break
    return x * k


# ---- loops that end where the data say, inside of others that do ---------------------------------


def while_in_break(th):
    s, t = th[0], 0.5
    for k in range(9):
        if k % 2 == 1 and s < np.tanh(t) * th[2]:
            break
        n = 0
        while t < 0.9 and n < 6:
            t, n = np.sin(0.3 * s + t), n + 1
        s, t = 0.7 * s + th[1], 0.4 * t
    return s + t


def while_in_while(th):
    s, n = th[2], 0
    while s > 0.1 and n < 20:
        t = s
        while t > 0.3:
            t = np.sin(0.8 * t) - 0.01 * th[0]
        s, n = 0.6 * s + 0.05 * t, n + 1
    return s


def whiles_three_deep(th):
    s = th[2] + 0.5
    while s > 0.4:
        t = s
        while t > 0.3:
            u = t
            while u > 0.2:
                u = np.sin(0.8 * u) * np.cos(th[1])
            t = 0.7 * t + 0.1 * u
        s = 0.6 * s + 0.2 * t
    return s


def array_in_while_in_break(th):
    v = np.array([th[0], th[1], 0.3])
    for _ in range(12):
        if v[0] > 3.0:
            break
        w = v * 1.0
        while np.max(w) > 0.15:
            w = np.sin(0.8 * w) * np.array([0.9, 0.8, 0.7])
        v = v * 1.1 + w[::-1]
    return np.sum(v)
