"""Test problems of optimisation, in the two manners in which they are kept in Python.

First group-separable problems as translations of CUTEst's SIF files do them: a class for each
problem that fills tables of groups and elements, and one evaluator that walks through these,
finds the functions by name and works on columns of numbers. Then functions of global optimisation
as classes with `fun(self, x, *args)`, which count their calls and decide on values.
All are written anew from the mathematical definitions.
"""

# ruff: noqa: B905, E731
from __future__ import annotations

import math

import numpy as np
from numpy import abs, arange, asarray, cos, exp, log, pi, prod, sign, sin, sqrt, sum  # noqa: A004
from scipy.sparse import csr_matrix

from corpus.entry import Collection

add = Collection()


# ---- groups and elements -------------------------------------------------------------------------


class Problem:
    """f(x) = Σ over groups i of g_i(a_i'x - c_i + Σ over its elements j of w_j e_j(x_j))."""

    def __init__(self, n):
        self.n = n
        self.groups, self.rows, self.elements = {}, [], []

    def group(self, name, linear=(), constant=0.0, kind="gTRIVIAL", scale=1.0):
        self.groups[name] = dict(index=len(self.rows), const=constant, kind=kind, scale=scale,
                                 elements=[])  # fmt: skip
        self.rows.append(dict(linear))

    def element(self, group, kind, variables, weight=1.0, **par):
        self.groups[group]["elements"].append((len(self.elements), weight))
        self.elements.append((kind, np.array(variables), par))

    def finish(self):
        data, where = [], ([], [])
        for i, row in enumerate(self.rows):
            for j, a in row.items():
                data.append(a)
                where[0].append(i)
                where[1].append(j)
        self.A = csr_matrix((np.array(data, dtype=float), where), shape=(len(self.rows), self.n))
        return self

    def evaluate_element(self, iel, x, nargout=1):
        kind, variables, par = self.elements[iel]
        EV_ = np.zeros((len(variables), 1))
        for k in range(len(variables)):
            EV_[k] = x[variables[k]]
        self.par = par
        f_ = eval("self." + kind + "(nargout, EV_, iel)")
        return f_

    def fx(self, x):
        if x.ndim == 1:
            x = x.reshape(-1, 1)
        fx = 0.0
        gin_all = self.A @ x
        for _name, g in self.groups.items():
            gin = gin_all[g["index"], 0] - g["const"]
            for iel, w in g["elements"]:
                gin += w * self.evaluate_element(iel, x)
            fx += eval("self." + g["kind"] + "(1, gin)") / g["scale"]
        return fx

    @staticmethod
    def gTRIVIAL(nargout, GVAR_):
        return GVAR_

    @staticmethod
    def gL2(nargout, GVAR_):
        f_ = GVAR_ * GVAR_
        if nargout > 1:
            return f_, 2.0 * GVAR_
        return f_

    @staticmethod
    def gL4(nargout, GVAR_):
        return GVAR_**4

    def eSQ(self, nargout, EV_, iel_):
        f_ = EV_[0, 0] ** 2
        if not isinstance(f_, float):
            f_ = f_.item()
        return f_

    def ePROD(self, nargout, EV_, iel_):
        U_ = np.zeros((2, 2))
        U_[0, 0] = 1
        U_[1, 1] = 1
        IV_ = U_.dot(EV_)
        f_ = IV_[0, 0] * IV_[1, 0]
        if not isinstance(f_, float):
            f_ = f_.item()
        return f_

    def eCUBE(self, nargout, EV_, iel_):
        return EV_[0, 0] ** 3

    def eDIFF4(self, nargout, EV_, iel_):
        """An element of one internal variable: the difference of its two."""
        U_ = np.array([[1.0, self.par.get("p", -1.0)]])
        IV_ = U_ @ EV_
        return IV_[0, 0] ** self.par.get("power", 4)

    def eEXP(self, nargout, EV_, iel_):
        t = self.par["t"]
        EXPA = np.exp(-t * EV_[1, 0])
        return EV_[0, 0] * EXPA

    def eTHETA(self, nargout, EV_, iel_):
        """The angle of the helical valley, by quadrant."""
        x, y = EV_[0, 0], EV_[1, 0]
        if x > 0:
            theta = np.arctan(y / x) / (2 * np.pi)
        elif x < 0:
            theta = np.arctan(y / x) / (2 * np.pi) + 0.5
        else:
            theta = 0.25 * np.sign(y)
        return 10.0 * theta

    def eNORM(self, nargout, EV_, iel_):
        return np.sqrt(np.sum(EV_**2))

    def eBOX(self, nargout, EV_, iel_):
        t = self.par["t"]
        return (math.exp(-t * EV_[0, 0]) - math.exp(-t * EV_[1, 0])
                - EV_[2, 0] * (math.exp(-t) - math.exp(-10 * t)))  # fmt: skip

    def eLOGI(self, nargout, EV_, iel_):
        """A logarithm that is continued by a line."""
        v = EV_[0, 0]
        if v >= 1.0e-2:
            f_ = np.log(v)
        else:
            f_ = np.log(1.0e-2) + (v - 1.0e-2) / 1.0e-2
        return f_


def rosenbr():
    p = Problem(2)
    p.group("G1", {1: 10.0}, kind="gL2")
    p.group("G2", {0: 1.0}, 1.0, "gL2")
    p.element("G1", "eSQ", [0], -10.0)
    return p.finish()


def arwhead(n):
    p = Problem(n)
    for i in range(n - 1):
        p.group(f"L{i}", {i: -4.0}, -3.0)
        p.group(f"Q{i}", kind="gL2")
        p.element(f"Q{i}", "eSQ", [i])
        p.element(f"Q{i}", "eSQ", [n - 1])
    return p.finish()


def tridia(n):
    p = Problem(n)
    p.group("G0", {0: 1.0}, 1.0, "gL2")
    for i in range(1, n):
        p.group(f"G{i}", {i: 2.0, i - 1: -1.0}, 0.0, "gL2", 1.0 / (i + 1))
    return p.finish()


def woods():
    p = Problem(4)
    p.group("A", {1: 10.0}, kind="gL2")
    p.element("A", "eSQ", [0], -10.0)
    p.group("B", {0: -1.0}, -1.0, "gL2")
    p.group("C", {3: math.sqrt(90.0)}, kind="gL2")
    p.element("C", "eSQ", [2], -math.sqrt(90.0))
    p.group("D", {2: -1.0}, -1.0, "gL2")
    p.group("E", {1: 1.0, 3: 1.0}, 2.0, "gL2", 0.1)
    p.group("F", {1: 1.0, 3: -1.0}, 0.0, "gL2", 10.0)
    return p.finish()


def powellsg(n):
    p = Problem(n)
    for k in range(0, n, 4):
        p.group(f"A{k}", {k: 1.0, k + 1: 10.0}, 0.0, "gL2")
        p.group(f"B{k}", {k + 2: 1.0, k + 3: -1.0}, 0.0, "gL2", 0.2)
        p.group(f"C{k}")
        p.element(f"C{k}", "eDIFF4", [k + 1, k + 2], p=-2.0)
        p.group(f"D{k}", {k: 1.0, k + 3: -1.0}, 0.0, "gL4", 0.1)
    return p.finish()


def cube():
    p = Problem(2)
    p.group("A", {0: 1.0}, 1.0, "gL2")
    p.group("B", {1: 10.0}, 0.0, "gL2")
    p.element("B", "eCUBE", [0], -10.0)
    return p.finish()


def helix():
    p = Problem(3)
    p.group("A", {2: 10.0}, 0.0, "gL2")
    p.element("A", "eTHETA", [0, 1], -10.0)
    p.group("B", {}, 10.0, "gL2")
    p.element("B", "eNORM", [0, 1], 10.0)
    p.group("C", {2: 1.0}, 0.0, "gL2")
    return p.finish()


def box3():
    p = Problem(3)
    for i in range(1, 7):
        p.group(f"G{i}", kind="gL2")
        p.element(f"G{i}", "eBOX", [0, 1, 2], t=0.1 * i)
    return p.finish()


def biggs(m):
    p = Problem(4)
    for i in range(1, m + 1):
        t = 0.1 * i
        p.group(f"G{i}", {}, math.exp(-t) - 5 * math.exp(-10 * t), "gL2")
        p.element(f"G{i}", "eEXP", [2, 0], t=t)
        p.element(f"G{i}", "eEXP", [3, 1], -1.0, t=t)
    return p.finish()


def hilbert(n):
    p = Problem(n)
    p.group("OBJ")
    for i in range(n):
        for j in range(i):
            p.element("OBJ", "ePROD", [i, j], 1.0 / (i + j + 1))
        p.element("OBJ", "eSQ", [i], 0.5 / (2 * i + 1))
    return p.finish()


def barrier(n):
    p = Problem(n)
    p.group("OBJ", {i: 1.0 for i in range(n)}, kind="gL2")
    for i in range(n):
        p.element("OBJ", "eLOGI", [i], -0.1)
    return p.finish()


add(rosenbr().fx, np.array([-1.2, 1.0]), name="ROSENBR")
add(arwhead(5).fx, np.array([1.0, 0.8, 1.2, 0.9, 1.1]), name="ARWHEAD")
add(tridia(5).fx, np.array([1.0, 0.8, 1.2, 0.9, 1.1]), name="TRIDIA")
add(woods().fx, np.array([-3.0, -1.0, -3.0, -1.0]), name="WOODS")
add(powellsg(4).fx, np.array([3.0, -1.0, 0.5, 1.0]), name="POWELLSG")
add(cube().fx, np.array([-1.2, 1.0]), name="CUBE")
add(helix().fx, np.array([-1.0, 0.3, 0.2]), name="HELIX")
add(box3().fx, np.array([0.3, 8.0, 1.4]), name="BOX3")
add(biggs(6).fx, np.array([1.0, 2.0, 1.1, 0.9]), name="BIGGS4")
add(hilbert(4).fx, np.array([-3.0, 1.0, 2.0, 0.5]), name="HILBERT")
add(barrier(3).fx, np.array([0.5, 0.005, 2.0]), name="BARRIER")


class Column:
    """Without tables: parameters as attributes, a loop over the data, residuals in a column."""

    y = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39])

    def __init__(self):
        self.m = len(self.y)
        self.x0 = np.ones((3, 1))

    def bard(self, x):
        x = x.reshape((-1, 1))
        r = np.zeros((self.m, 1))
        for i in range(1, self.m + 1):
            u, v = float(i), 16.0 - i
            w = min(u, v)
            r[i - 1] = self.y[i - 1] - (x[0] + u / (v * x[1] + w * x[2]))
        return float((r.T @ r)[0, 0])

    def osborne(self, x):
        r = []
        for k, yk in enumerate(self.y):
            t = 10.0 * k
            r.append(yk - (x[0] + x[1] * np.exp(-t * x[3]) + x[2] * np.exp(-t * x[4])))
        r = np.asarray(r)
        return r.dot(r)

    def kowosb(self, x):
        f = 0
        for k in range(self.m):
            u = 4.0 / (k + 1)
            f = f + (self.y[k] - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])) ** 2
        return f


_COLUMN = Column()
add(_COLUMN.bard, np.array([0.9, 1.1, 1.0]), name="BARD")
add(_COLUMN.osborne, np.array([0.5, 1.5, -1.0, 0.01, 0.02]), name="OSBORNEA")
add(_COLUMN.kowosb, np.array([0.25, 0.39, 0.415, 0.39]), name="KOWOSB")

# ---- global optimisation -------------------------------------------------------------------------


class Benchmark:
    def __init__(self, dimensions=2):
        self._dimensions = dimensions
        self.nfev = 0
        self.fglob = 0.0

    @property
    def N(self):
        return self._dimensions


class Ackley01(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        u = sum(x**2)
        v = sum(cos(2 * pi * x))
        return -20.0 * exp(-0.2 * sqrt(u / self.N)) - exp(v / self.N) + 20.0 + exp(1.0)


class Corana(Benchmark):
    def __init__(self, dimensions=4):
        Benchmark.__init__(self, dimensions)

    def fun(self, x, *args):
        self.nfev += 1
        d = [1.0, 1000.0, 10.0, 100.0]
        r = 0
        for j in range(4):
            zj = math.floor(abs(x[j] / 0.2) + 0.49999) * sign(x[j]) * 0.2
            if abs(x[j] - zj) < 0.05:
                r += 0.15 * ((zj - 0.05 * sign(zj)) ** 2) * d[j]
            else:
                r += d[j] * x[j] * x[j]
        return r


class Deceptive(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        alpha = asarray([1.0 / (i + 2.0) for i in range(self.N)])
        beta = 2.0
        g = np.zeros((self.N,))
        for i in range(self.N):
            if x[i] <= 0.0:
                g[i] = x[i]
            elif x[i] < 0.8 * alpha[i]:
                g[i] = -x[i] / alpha[i] + 0.8
            elif x[i] < alpha[i]:
                g[i] = 5.0 * x[i] / alpha[i] - 4.0
            elif x[i] < (1.0 + 4 * alpha[i]) / 5.0:
                g[i] = 5.0 * (x[i] - alpha[i]) / (alpha[i] - 1.0) + 1.0
            elif x[i] <= 1.0:
                g[i] = (x[i] - 1.0) / (1.0 - alpha[i]) + 4.0 / 5.0
            else:
                g[i] = x[i] - 1.0
        return -(((1.0 / self.N) * sum(g)) ** beta)


class Schwefel06(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        return max(abs(x[0] + 2 * x[1] - 7), abs(2 * x[0] + x[1] - 5))


class ZeroSum(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        if abs(sum(x)) < 3e-16:
            return 0.0
        return 1.0 + (10000.0 * abs(sum(x))) ** 0.5


class OddSquare(Benchmark):
    def __init__(self, dimensions=2):
        Benchmark.__init__(self, dimensions)
        self.a = asarray([1, 1.3, 0.8, -0.4, -1.3, 1.6, -0.2, -0.6, 0.5, 1.4])

    def fun(self, x, *args):
        self.nfev += 1
        b = self.a[0 : self.N]
        d = self.N * max((x - b) ** 2.0)
        h = sum((x - b) ** 2.0)
        return -exp(-d / (2.0 * pi)) * cos(pi * d) * (1.0 + 0.02 * h / (d + 0.01))


class Zimmerman(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        h1 = lambda x: 9.0 - x[0] - x[1]
        h2 = lambda x: (x[0] - 3.0) ** 2.0 + (x[1] - 2.0) ** 2.0 - 16.0
        h3 = lambda x: x[0] * x[1] - 14.0
        penalty = lambda t: 100.0 * (1.0 + t)
        return max(h1(x), penalty(h2(x)) * sign(h2(x)), penalty(h3(x)) * sign(h3(x)),
                   penalty(-x[0]) * sign(x[0]), penalty(-x[1]) * sign(x[1]))  # fmt: skip


class NeedleEye(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        f = fp = 0.0
        eye = 0.0001
        for val in x:
            if abs(val) >= eye:
                fp = 1.0
                f += 100.0 + abs(val)
            else:
                f += 1.0
        if fp < 1e-6:
            f = f / self.N
        return f


class Cola(Benchmark):
    """Places in the plane whose distances are given, the first two partly fixed."""

    def __init__(self):
        Benchmark.__init__(self, 9)
        k = arange(36.0).reshape(6, 6)
        self.d = np.tril(2.0 + np.sin(k), -1)

    def fun(self, x, *args):
        self.nfev += 1
        xi = np.atleast_2d(asarray([0.0, x[0]] + list(x[1::2])))
        xj = np.repeat(xi, np.size(xi, 1), axis=0)
        xi = xi.T
        yi = np.atleast_2d(asarray([0.0, 0.0] + list(x[2::2])))
        yj = np.repeat(yi, np.size(yi, 1), axis=0)
        yi = yi.T
        inner = (sqrt((xi - xj) ** 2 + (yi - yj) ** 2 + np.eye(6)) - self.d) ** 2
        return sum(sum(np.tril(inner, -1), axis=1), axis=0)


class LennardJones(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        k = int(self.N / 3)
        s = 0.0
        for i in range(k - 1):
            for j in range(i + 1, k):
                a, b = 3 * i, 3 * j
                xd, yd, zd = x[a] - x[b], x[a + 1] - x[b + 1], x[a + 2] - x[b + 2]
                ed = xd * xd + yd * yd + zd * zd
                ud = ed * ed * ed
                if ed > 0.0:
                    s += (1.0 / ud - 2.0) / ud
        return s


class Bukin06(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        return 100 * sqrt(abs(x[1] - 0.01 * x[0] ** 2)) + 0.01 * abs(x[0] + 10)


class CrossInTray(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        u = exp(abs(100 - sqrt(x[0] ** 2 + x[1] ** 2) / pi))
        return -0.0001 * (abs(sin(x[0]) * sin(x[1]) * u) + 1) ** 0.1


class Damavandi(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        try:
            num = sin(pi * (x[0] - 2.0)) * sin(pi * (x[1] - 2.0))
            den = (pi**2) * (x[0] - 2.0) * (x[1] - 2.0)
            factor1 = 1.0 - (abs(num / den)) ** 5.0
            factor2 = 2 + (x[0] - 7.0) ** 2.0 + 2 * (x[1] - 7.0) ** 2.0
            return factor1 * factor2
        except ZeroDivisionError:
            return np.nan


class Griewank(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        i = arange(1.0, np.size(x) + 1.0)
        return sum(x**2 / 4000) - prod(cos(x / sqrt(i))) + 1


class Keane(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        val = sin(x[0] - x[1]) ** 2 * sin(x[0] + x[1]) ** 2
        return val / sqrt(x[0] ** 2 + x[1] ** 2)


class Levy03(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        y = 1 + (x - 1) / 4
        v = sum((y[:-1] - 1) ** 2 * (1 + 10 * sin(pi * y[1:]) ** 2))
        return sin(pi * y[0]) ** 2 + v + (y[-1] - 1) ** 2


class Penalty01(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        a, b, c = 10.0, 100.0, 4.0
        xx = abs(x)
        u = np.where(xx > a, b * (xx - a) ** c, 0.0)
        y = 1.0 + (x + 1.0) / 4.0
        s = (y[:-1] - 1.0) ** 2.0 * (1.0 + 10.0 * sin(pi * y[1:]) ** 2.0)
        return sum(u) + (pi / 30.0) * (10.0 * sin(pi * y[0]) ** 2.0 + sum(s) + (y[-1] - 1) ** 2.0)


class PermFunction01(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        b = 0.5
        k = np.atleast_2d(arange(self.N) + 1).T
        j = np.atleast_2d(arange(self.N) + 1)
        s = (j**k + b) * ((x / j) ** k - 1)
        return sum(sum(s, axis=1) ** 2)


class Plateau(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        return 30.0 + sum(np.floor(abs(x))) + 0.01 * sum(x * x)


class Rastrigin(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        return 10.0 * self.N + sum(x**2.0 - 10.0 * cos(2.0 * pi * x))


class Schwefel22(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        return sum(abs(x)) + prod(abs(x))


class Shubert01(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        j = np.atleast_2d(range(1, 6)).T
        y = j * cos((j + 1) * x + j)
        return prod(sum(y, axis=0))


class Trefethen(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        val = 0.25 * x[0] ** 2 + 0.25 * x[1] ** 2 + exp(sin(50.0 * x[0]))
        val += sin(60 * exp(x[1])) + sin(70 * sin(x[0])) + sin(sin(80 * x[1]))
        return val - sin(10 * (x[0] + x[1]))


class Tripod(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        p1 = float(x[0] >= 0)
        p2 = float(x[1] >= 0)
        return (p2 * (1.0 + p1) + abs(x[0] + 50.0 * p2 * (1.0 - 2.0 * p1))
                + abs(x[1] + 50.0 * (1.0 - 2.0 * p2)))  # fmt: skip


class Watson(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        i = np.atleast_2d(arange(30.0)).T
        a = i / 29.0
        j = arange(5.0)
        k = arange(6.0)
        t1 = sum((j + 1) * a**j * x[1:], axis=1)
        t2 = sum(a**k * x, axis=1)
        inner = (t1 - t2**2 - 1) ** 2
        return sum(inner) + x[0] ** 2


class Weierstrass(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        kmax, a, b = 12, 0.5, 3.0
        k = np.atleast_2d(arange(kmax + 1.0)).T
        t1 = a**k * cos(2 * pi * b**k * (x + 0.5))
        t2 = self.N * sum(a**k.T * cos(pi * b**k.T))
        return sum(sum(t1, axis=0)) - t2


class XinSheYang04(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        u = sum(sin(x) ** 2)
        v = sum(x**2)
        w = sum(sin(sqrt(abs(x))) ** 2)
        return (u - exp(-v)) * exp(-w)


class Mishra05(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        return (0.01 * x[0] + 0.1 * x[1] + (sin((cos(x[0]) + cos(x[1])) ** 2) ** 2
                + cos((sin(x[0]) + sin(x[1])) ** 2) ** 2 + x[0]) ** 2)  # fmt: skip


class McCormickBounded(Benchmark):
    """Bounds are kept by a penalty that is added while the function runs."""

    def fun(self, x, *args):
        self.nfev += 1
        lower, upper = [-1.5, -3.0], [4.0, 3.0]
        total = 0.0
        for k in range(self.N):
            if x[k] < lower[k]:
                total += 10 * (lower[k] - x[k]) ** 2
            if x[k] > upper[k]:
                total += 10 * (x[k] - upper[k]) ** 2
        return total + sin(x[0] + x[1]) + (x[0] - x[1]) ** 2 - 1.5 * x[0] + 2.5 * x[1] + 1


class Step(Benchmark):
    def fun(self, x, *args):
        self.nfev += 1
        return sum(np.floor(abs(x))) + 0.5 * log(1 + sum(x**2))


_P2, _P4 = np.array([0.7, -1.3]), np.array([0.36, 1.21, -0.83, 2.05])
for _function, _at in [
    (Ackley01(), _P2), (Corana(), np.array([0.5, 1.21, -0.9, 2.05])),
    (Deceptive(4), np.array([0.3, -0.2, 0.9, 0.15])),
    (Schwefel06(), _P2), (ZeroSum(), _P2), (OddSquare(), _P2), (Zimmerman(), np.array([6.8, 2.1])),
    (NeedleEye(), np.array([0.3, 0.00005])), (Cola(), np.linspace(-2.0, 2.1, 9)),
    (LennardJones(6), np.array([0.1, 0.2, 0.3, 1.1, 0.9, -0.4])), (Bukin06(), _P2),
    (CrossInTray(), _P2), (Damavandi(), _P2), (Griewank(), _P2), (Keane(), _P2),
    (Levy03(4), _P4), (Penalty01(3), np.array([11.0, 0.4, -2.0])), (PermFunction01(), _P2),
    (Plateau(), _P2), (Rastrigin(), _P2), (Schwefel22(), _P2), (Shubert01(), _P2),
    (Trefethen(), _P2), (Tripod(), _P2), (Watson(6), np.linspace(-0.5, 0.8, 6)),
    (Weierstrass(), _P2), (XinSheYang04(), _P2), (Mishra05(), _P2),
    (McCormickBounded(), np.array([4.5, 0.3])), (Step(), _P2),
]:  # fmt: skip
    add(_function.fun, _at, name=type(_function).__name__)
