"""CasADi's C of the small kernels: the same NumPy functions, run on its SX symbols.

Runs where CasADi is (`pip install casadi`), and needs nothing of symgrad:

    python benchmarks/small/beside_casadi.py FOLDER

FOLDER/NAME.c is the C of `ca.cse` of each kernel, FOLDER/NAME.npz its results at the inputs of
`table.py`.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

import casadi as ca
import numpy as np


class Symbol:
    """An SX of one element that NumPy takes for an object like any other."""

    __slots__ = ("sx",)

    def __init__(self, sx):
        self.sx = ca.SX(sx)

    def __neg__(self):
        return Symbol(-self.sx)

    def __pow__(self, power):
        return Symbol(self.sx**power)


def bare(value):
    """An SX, or a number, of what NumPy handed over."""
    return value.sx if isinstance(value, Symbol) else float(value)


def _binary(name, of, swapped=False):
    def method(a, b):
        if isinstance(b, np.ndarray):
            return NotImplemented
        a, b = bare(a), bare(b)
        return Symbol(of(b, a) if swapped else of(a, b))

    setattr(Symbol, name, method)


for _name, _of in {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "truediv": lambda a, b: a / b,
}.items():  # fmt: skip
    _binary(f"__{_name}__", _of)
    _binary(f"__r{_name}__", _of, True)
for _name, _of in {"gt": ca.gt, "lt": ca.lt, "ge": ca.ge, "le": ca.le}.items():
    _binary(f"__{_name}__", _of)
_binary("arctan2", ca.atan2)
for _name in ("sin", "cos", "tan", "exp", "log", "log1p", "sqrt", "arctan", "tanh", "arcsin"):
    _of = getattr(ca, _name.replace("arc", "a"))
    setattr(Symbol, _name, lambda self, of=_of: Symbol(of(self.sx)))


def flat(value):
    """Leaves of nested tuples."""
    return [x for v in value for x in flat(v)] if isinstance(value, tuple | list) else [value]


def objects(sx, shape):
    """An array of the elements of a column, in the order of memory."""
    out = np.empty(int(np.prod(shape)), object)
    for k in range(out.size):
        out[k] = Symbol(sx[k])
    return out.reshape(shape) if shape else out[0]


def column(value):
    """The other way round."""
    items = value.ravel() if isinstance(value, np.ndarray) else [value]
    return ca.vertcat(*[ca.SX(bare(v)) for v in items])


class Calculus:
    """What kernels ask of symgrad, in CasADi: derivatives at fresh symbols, put in afterwards."""

    @staticmethod
    def _at(f, args, argnums, rule):
        numbers = (argnums,) if isinstance(argnums, int) else argnums
        shapes = [np.shape(a) for a in args]
        symbols = [ca.SX.sym(f"s{k}", int(np.prod(s))) for k, s in enumerate(shapes)]
        outs = f(*[objects(s, t) for s, t in zip(symbols, shapes, strict=True)])
        made = rule(outs, [(symbols[n], shapes[n]) for n in numbers])
        given = [column(a) for a in args]
        done = ca.substitute([ca.vec(e) for e, _ in made], symbols, given)
        return [objects(e, s) for e, (_, s) in zip(done, made, strict=True)]

    @classmethod
    def jacobian(cls, f, argnums=0):
        def derived(*args):
            def rule(outs, wrt):
                out = outs if isinstance(outs, np.ndarray) else np.array(outs, object)
                # rows in the order of memory: CasADi's matrices lie in columns
                return [(ca.jacobian(column(out), s).T, (*out.shape, *t)) for s, t in wrt]

            found = cls._at(f, args, argnums, rule)
            return found[0] if isinstance(argnums, int) else tuple(found)

        return derived

    @classmethod
    def grad(cls, f, argnums=0):
        def derived(*args):
            def rule(out, wrt):
                return [(ca.gradient(out.sx, s), t) for s, t in wrt]

            found = cls._at(f, args, argnums, rule)
            return found[0] if isinstance(argnums, int) else tuple(found)

        return derived

    @classmethod
    def value_and_grad(cls, f, argnums=0):
        return lambda *args: (f(*args), cls.grad(f, argnums)(*args))

    @classmethod
    def hessian(cls, f, argnums=0):
        def derived(*args):
            def rule(out, wrt):
                whole, _ = ca.hessian(out.sx, ca.vertcat(*[s for s, _ in wrt]))
                ends = np.cumsum([0, *[s.numel() for s, _ in wrt]])
                return [
                    (whole[ends[i] : ends[i + 1], ends[j] : ends[j + 1]].T, (*t, *u))
                    for i, (_, t) in enumerate(wrt) for j, (_, u) in enumerate(wrt)
                ]  # fmt: skip

            found = cls._at(f, args, argnums, rule)
            n = 1 if isinstance(argnums, int) else len(argnums)
            rows = [tuple(found[k * n : (k + 1) * n]) for k in range(n)]
            return found[0] if isinstance(argnums, int) else tuple(rows)

        return derived


class Linalg:
    """np.linalg on arrays of symbols."""

    @staticmethod
    def solve(a, b):
        n = len(a)
        matrix = ca.reshape(column(a.T), n, n)
        right = ca.reshape(column(b.T), n, -1)
        return objects(ca.vec(ca.solve(matrix, right).T), b.shape)


class Numpy:
    """NumPy, with functions that arrays of symbols lack."""

    linalg = Linalg

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def where(condition, a, b):
        def one(c, x, y):
            return Symbol(ca.if_else(bare(c), bare(x), bare(y)))

        return np.frompyfunc(one, 3, 1)(condition, a, b)


def build(kernel):
    """A CasADi function of a kernel, after `cse`; one column for each argument and result."""
    symbols = [ca.SX.sym(f"x{k}", int(np.prod(s))) for k, s in enumerate(kernel.shapes)]
    args = [objects(s, t) for s, t in zip(symbols, kernel.shapes, strict=True)]
    # all entries, as ours: CasADi would leave zeros out of its results
    outs = [ca.densify(column(v)) for v in flat(kernel.function(*args))]
    return ca.Function(kernel.name, symbols, ca.cse(outs))


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    sys.modules["symgrad"] = types.SimpleNamespace(**{
        k: getattr(Calculus, k) for k in ("jacobian", "grad", "value_and_grad", "hessian")
    })  # fmt: skip
    import table

    modules = {sys.modules[k.function.__module__] for k in table.KERNELS}
    for module in modules:
        module.np = Numpy()
    for kernel in table.KERNELS:
        function = build(kernel)
        function.generate(f"{kernel.name}.c")
        Path(f"{kernel.name}.c").rename(folder / f"{kernel.name}.c")
        for module in modules:
            module.np = np
        results = [function(*[np.ravel(x) for x in kernel.inputs(seed)]) for seed in range(4)]
        for module in modules:
            module.np = Numpy()
        packed = {
            f"{seed}_{k}": np.array(v).ravel()
            for seed, r in enumerate(results) for k, v in enumerate(flat(r))
        }  # fmt: skip
        np.savez(folder / f"{kernel.name}.npz", **packed)
        print(kernel.name, function.n_instructions())


if __name__ == "__main__":
    main()
