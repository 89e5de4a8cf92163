"""Logistic regression on real data: from a NumPy function to formulas, a fit, and C that ships.

    python examples/logistic_regression.py [--out DIRECTORY]

The breast-cancer data set of scikit-learn (569 tumours, 30 measurements, standardised). The loss is
written as in a textbook, overflow and all; symgrad derives gradient and Hessian, shows both as
formulas, compiles them, and writes them as C.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

import symgrad as sg
from symgrad.errors import CompilerNotFoundError
from symgrad.runtime.compiler import find_compiler

LAM = 1.0


def loss(params, X, y, lam):
    """L2-regularised logistic loss; the intercept b is not regularised."""
    z = X @ params["w"] + params["b"]
    return np.sum(np.log(1 + np.exp(-y * z))) + 0.5 * lam * np.sum(params["w"] ** 2)


def numpy_value_and_grad(params, X, y, lam):
    """What a careful person writes by hand: stable, and as few passes as NumPy allows."""
    m = y * (X @ params["w"] + params["b"])
    e = np.exp(-np.abs(m))
    value = np.sum(np.maximum(-m, 0) + np.log1p(e)) + 0.5 * lam * params["w"] @ params["w"]
    r = -y * np.where(m >= 0, e, 1) / (1 + e)
    return value, {"b": np.sum(r), "w": X.T @ r + lam * params["w"]}


def numpy_hessian_ww(params, X, y, lam):
    """The block of the Hessian that belongs to w, by hand."""
    e = np.exp(-np.abs(X @ params["w"] + params["b"]))
    return (X.T * (e / (1 + e) ** 2)) @ X + lam * np.eye(X.shape[1])


@contextmanager
def progress(what):
    """A line for work that may take more than a second."""
    print(f"… {what}", end="", flush=True)
    start = time.perf_counter()
    yield
    print(f" ({time.perf_counter() - start:.2f} s)")


def medians(*functions, rounds=41):
    """Median seconds of each function, run in turns so that other load hits all alike."""
    times = [[] for _ in functions]
    for _ in range(rounds):
        for f, record in zip(functions, times, strict=True):
            start = time.perf_counter()
            f()
            record.append(time.perf_counter() - start)
    return [statistics.median(t) for t in times]


def main_c(name, params, X, y):
    """A C program that calls the exported gradient and prints it with 17 digits."""
    numbers = ",\n".join(
        ", ".join(f"{float(v)!r}" for v in row) for row in np.array_split(X.ravel(), 1000)
    )
    return f"""#include <stdio.h>
#include "{name}.h"

static const double X[{X.size}] = {{{numbers}}};
static const double y[{y.size}] = {{{", ".join(repr(float(v)) for v in y)}}};
static const double w[{X.shape[1]}] = {{{", ".join(repr(float(v)) for v in params["w"])}}};

int main(void)
{{
    double b = {float(params["b"])!r}, db, dw[{X.shape[1]}];
    static double work[{name.upper()}_WORKSPACE + 1];
    (void)work;
    int status = {name}(b, w, X, y, {LAM!r}, &db, dw WORK);
    printf("%.17g\\n", db);
    for (int i = 0; i < {X.shape[1]}; ++i) {{
        printf("%.17g\\n", dw[i]);
    }}
    return status;
}}
"""


def ship(gradient, hessian, params, X, y, folder):
    """Write both as C, compile the gradient with a main of its own, and compare its output."""
    files = [*gradient.export(folder, overwrite=True), *hessian.export(folder, overwrite=True)]
    print("written:", ", ".join(str(f) for f in files))
    name = gradient.source.name
    text = main_c(name, params, X, y)
    text = text.replace(" WORK", ", work" if gradient.source.workspace_bytes else "")
    (folder / "main.c").write_text(text)
    try:
        compiler = find_compiler()
    except CompilerNotFoundError:
        print("no C compiler here: the stand-alone program is written but not built")
        return
    program = folder.resolve() / "gradient"
    with progress("compiling the stand-alone program"):
        sources = [str(folder / f"{name}.c"), str(folder / "main.c")]
        subprocess.run(
            [*compiler.argv, "-std=c99", "-O2", *sources, "-o", str(program), "-lm"], check=True
        )
    printed = np.array(
        subprocess.run([str(program)], capture_output=True, check=True).stdout.split(), float
    )
    expected = gradient(params, X, y, LAM)
    error = np.max(np.abs(printed - np.append(expected["b"], expected["w"])))
    print(f"stand-alone C against Python: largest difference {error:.1e}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("logistic_regression_c"))
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)

    data = load_breast_cancer()
    X = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    y = np.where(data.target == 1, 1.0, -1.0)
    n, d = X.shape
    start = {"w": np.zeros(d), "b": 0.0}

    with progress("deriving and compiling value, gradient and Hessian"):
        value_and_grad = sg.compile(sg.value_and_grad(loss), start, X, y, LAM)
        gradient = sg.compile(sg.grad(loss), start, X, y, LAM, name="logistic_gradient")
        hessian = sg.compile(sg.hessian(loss), start, X, y, LAM, name="logistic_hessian")

    print("\nGradient:\n" + gradient.graph.formula())
    print("\nHessian:\n" + hessian.graph.formula())
    print("\nRewrites that made the naive loss stable:\n" + value_and_grad.graph.explain())

    def pack(p):
        return np.append(p["w"], p["b"])

    def unpack(v):
        return {"w": v[:d], "b": v[d]}

    def fun(v):
        value, slope = value_and_grad(unpack(v), X, y, LAM)
        return value, pack(slope)

    def hess(v):
        h = hessian(unpack(v), X, y, LAM)
        return np.block([[h["w"]["w"], h["w"]["b"][:, None]], [h["b"]["w"], h["b"]["b"]]])

    print()
    zero = np.zeros(d + 1)
    with progress("fitting with L-BFGS and the compiled gradient"):
        lbfgs = minimize(
            fun, zero, jac=True, method="L-BFGS-B", options=dict(ftol=0, gtol=1e-9, maxiter=2000)
        )
    with progress("fitting with Newton-CG and the compiled Hessian"):
        newton = minimize(
            fun, zero, jac=True, hess=hess, method="Newton-CG", options=dict(xtol=1e-12)
        )
    with progress("fitting with scikit-learn"):
        peer = LogisticRegression(C=1 / LAM, solver="newton-cholesky", tol=1e-12, max_iter=200).fit(
            X, data.target
        )
    theirs = np.append(peer.coef_[0], peer.intercept_)
    best = unpack(newton.x)
    print(
        f"loss {newton.fun:.10f}, accuracy {np.mean(np.sign(X @ best['w'] + best['b']) == y):.4f}"
    )
    print(
        f"L-BFGS     {lbfgs.nit:3d} iterations, largest difference to scikit-learn {np.max(np.abs(lbfgs.x - theirs)):.1e}"
    )
    print(
        f"Newton-CG  {newton.nit:3d} iterations, largest difference to scikit-learn {np.max(np.abs(newton.x - theirs)):.1e}"
    )

    by_hand = numpy_value_and_grad(best, X, y, LAM)
    ours = value_and_grad(best, X, y, LAM)
    np.testing.assert_allclose(pack(ours[1]), pack(by_hand[1]), rtol=1e-9, atol=1e-9)
    h = hessian(best, X, y, LAM)
    np.testing.assert_allclose(h["w"]["w"], numpy_hessian_ww(best, X, y, LAM), rtol=1e-9, atol=1e-9)
    with progress("timing"):
        times = medians(
            lambda: numpy_value_and_grad(best, X, y, LAM),
            lambda: value_and_grad(best, X, y, LAM),
            lambda: numpy_hessian_ww(best, X, y, LAM),
            lambda: hessian(best, X, y, LAM),
        )
    print("median of one call, µs     NumPy by hand    symgrad")
    print(f"  value and gradient       {1e6 * times[0]:13.1f}{1e6 * times[1]:11.1f}")
    print(f"  Hessian (NumPy: w only)  {1e6 * times[2]:13.1f}{1e6 * times[3]:11.1f}\n")

    ship(gradient, hessian, best, X, y, folder)


if __name__ == "__main__":
    main()
