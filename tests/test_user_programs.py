"""Random programs in user-level NumPy: a minute of them, with a new seed each day.

`python tests/fuzz/run.py --minutes 60` looks for longer. A failure prints the programs, minimised;
SYMGRAD_FUZZ_SEED=N repeats a day, SYMGRAD_FUZZ_SECONDS=N looks for longer or not at all.
"""

from __future__ import annotations

import datetime
import math
import os

import numpy as np
import pytest

from fuzz import grammar, jets, oracles, paths
from fuzz.kept import KEPT
from fuzz.pool import Pool
from fuzz.run import explore
from fuzz.shrink import minimised, runs
from symgrad.emit import rows
from symgrad.expr.op import OPS

SEED = int(os.environ.get("SYMGRAD_FUZZ_SEED", datetime.date.today().strftime("%Y%m%d000")))
SECONDS = float(os.environ.get("SYMGRAD_FUZZ_SECONDS", "7"))


@pytest.mark.slow
def test_programs_of_today():
    """Values, gradients, Hessian products and Jacobians of random programs, in child processes."""
    print(f"SYMGRAD_FUZZ_SEED={SEED}")
    report = explore(SEED, SECONDS, shrink=30, examples=1)
    files = [f.file() for found in report.groups().values() for f in found[:1]]
    assert not files, f"SYMGRAD_FUZZ_SEED={SEED}\n" + "\n\n".join(files) + report.text()
    assert report.programs - sum(report.skipped.values()) > SECONDS / 25


@pytest.mark.slow
def test_kept_programs():
    """What once failed; what is expected is computed now, by NumPy and by hyper-dual numbers."""
    with Pool(1) as pool:
        for (text, options), outcome in pool.run((text, options) for _, options, text in KEPT):
            told = [f"{stage}: {kind}: {message}" for stage, kind, message in outcome["findings"]]
            assert not told, "\n".join([text, str(options), *told])
            assert not outcome["skipped"], f"{outcome['skipped']}\n{text}"


def test_same_seed_same_program():
    assert [grammar.program(s) for s in range(20)] == [grammar.program(s) for s in range(20)]


PROGRAM = """
import numpy as np


def f(a0, a1):
    v0 = np.sin(a0) + a1[:, None]
    v1 = v0[1:] * v0[:-1]
    v2 = np.tanh(v1)
    return (v2, np.sum(v0 ** 2, axis=1))


def loss(a0, a1):
    r = f(a0, a1)
    return np.sum(np.sin(r[0])) + 0.3 * np.sum(r[1] ** 2)


def arguments():
    rng = np.random.default_rng(5)
    a0 = rng.uniform(-1, 1, (12, 3))
    a1 = rng.uniform(-1, 1, 12)
    return (a0, a1)
"""


def findings(text, **options):
    stages = options.pop("stages", ["value", "gradient", "both", "jacobian", "nested"])
    outcome = oracles.check(text, dict(stages=stages, **options), lambda stage: None)
    assert not outcome.skipped
    return outcome.findings


@pytest.mark.slow
def test_a_right_program_has_no_findings():
    assert not findings(PROGRAM)
    assert not findings(PROGRAM, stages=["threads", "blas"], tuning=["eager threads"])


@pytest.fixture
def plant():
    """Puts a fault into the row of an op, which is frozen, until the test is over."""
    changed = []

    def change(name, fact, value):
        changed.append((OPS[name], fact, getattr(OPS[name], fact)))
        object.__setattr__(OPS[name], fact, value)
        rows._of_row.cache_clear()  # which takes rows for what they are: frozen

    yield change
    for op, fact, value in changed:
        object.__setattr__(op, fact, value)
    rows._of_row.cache_clear()


def test_wrong_derivatives_are_found(plant):
    """A rule that is off by one part in 10^6, where symgrad agrees with itself."""
    right = OPS["sin"].partials[0]
    wrong = lambda *args: right(*args) * (1 + 1e-6)
    plant("sin", "partials", (wrong,))
    found = findings(PROGRAM)
    assert {stage for stage, _, _ in found} >= {"gradient", "both", "jacobian"}, found
    assert all("exact derivatives" in kind for _, kind, _ in found), found


def test_wrong_code_is_found(plant):
    """C that adds instead of multiplying."""
    plant("multiply", "c", "{0} + {1}")
    assert any(kind.startswith("C differs") for _, kind, _ in findings(PROGRAM, stages=["value"]))


def test_wrong_values_are_found(plant):
    """An evaluator that computes something else than NumPy."""
    plant("tanh", "evaluate", np.arctan)
    kinds = [kind for _, kind, _ in findings(PROGRAM, stages=["value"])]
    assert "graph differs from NumPy" in kinds


CRASH = PROGRAM.replace("    v2 =", "    import ctypes; ctypes.string_at(8)\n    v2 =")
SLOW = PROGRAM.replace("    v2 =", "    import time; time.sleep(60)\n    v2 =")


@pytest.mark.slow
def test_children_that_die_or_hang_are_findings_and_replaced():
    with Pool(1, seconds=4) as pool:
        jobs = [(text, dict(stages=["value"])) for text in (CRASH, PROGRAM, SLOW, PROGRAM)]
        kinds = [outcome["findings"] for _, outcome in pool.run(jobs)]
    assert [len(k) for k in kinds] == [1, 0, 1, 0]
    assert "SIGSEGV" in kinds[0][0][1] and "no answer" in kinds[2][0][1]


def test_reads_beyond_an_array_kill_the_child():
    """Arrays stand between pages that cannot be read: seen here from a child of its own."""
    import subprocess
    import sys

    text = (
        "import ctypes, sys, numpy as np; from fuzz.fence import Fences\n"
        "before = sys.argv[1] == 'before'\n"
        "a = Fences(before).array(np.arange(5.0))\n"
        "assert a.sum() == 10\n"
        "at = a.ctypes.data + (-1 if before else a.nbytes)\n"
        "print('alive', flush=True); ctypes.string_at(at, 1)"
    )
    here = os.path.dirname(__file__)
    path = os.pathsep.join([here, os.path.dirname(here)])
    for side in ("before", "after"):
        command = [sys.executable, "-c", text, side]
        done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONPATH": path})
        assert done.stdout == b"alive\n" and done.returncode == -11, done


def test_minimising_keeps_what_fails():
    small = minimised(PROGRAM, lambda text: "tanh" in text)
    assert runs(small) and "tanh" in small
    assert len(small) < len(PROGRAM) / 2


@pytest.mark.quick(6)
@pytest.mark.parametrize("name", sorted(jets.ONE))
def test_derivatives_of_jets(name):
    """First and second derivatives of the oracle against mpmath."""
    mpmath = pytest.importorskip("mpmath")
    forms = {"absolute": abs, "fabs": abs, "negative": lambda x: -x, "positive": lambda x: x,
             "square": lambda x: x * x, "reciprocal": lambda x: 1 / x, "exp2": lambda x: 2**x,
             "log2": lambda x: mpmath.log(x, 2), "arcsin": mpmath.asin, "arctan": mpmath.atan,
             "arcsinh": mpmath.asinh, "deg2rad": mpmath.radians,
             "expit": lambda x: 1 / (1 + mpmath.exp(-x))}  # fmt: skip
    f = forms.get(name) or getattr(mpmath, name)
    with mpmath.workdps(40):
        for x in (0.3, 0.71):
            jet = jets.unary(name, jets.Jet([np.float64(v) for v in (x, 1, 1, 0)]))
            for part, order in ((0, 0), (1, 1), (3, 2)):
                want = float(mpmath.diff(f, mpmath.mpf(x), order)) if order else float(f(x))
                assert math.isclose(jet.parts[part], want, rel_tol=1e-13, abs_tol=1e-15)


def test_every_path_has_a_name():
    names = paths.kinds()
    assert len(names) == len(set(names)) and "Tiles" in names and "Loop.lanes" in names
