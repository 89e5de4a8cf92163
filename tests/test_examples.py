"""The examples and the README's code run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(arguments, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_logistic_regression(tmp_path):
    result = run([str(ROOT / "examples" / "logistic_regression.py")], tmp_path)
    assert result.returncode == 0, result.stderr
    text = result.stdout
    assert "Xᵀ diag(" in text and "+ lam I" in text and "softplus" in text
    for method in ("L-BFGS", "Newton-CG"):
        assert float(re.search(rf"{method} .*scikit-learn ([\d.]+e[-+]\d+)", text)[1]) < 1e-5
    assert float(re.search(r"stand-alone C against Python: .* ([\d.]+e[-+]\d+)", text)[1]) < 1e-9
    assert (tmp_path / "logistic_regression_c" / "logistic_hessian.h").is_file()


def test_readme_example(tmp_path):
    """All its code, as one script, prints what it says; and the C is there as well."""
    text = (ROOT / "README.md").read_text()
    opening, first, second = re.findall(r"```python\n(.*?)```", text, re.S)
    [printed], [c] = (re.findall(rf"```{kind}\n(.*?)```", text, re.S) for kind in ("text", "c"))
    script = tmp_path / "readme.py"
    script.write_text(
        opening + "\nsmall = sg.compile(sg.grad(ridge), *types, machine='cortex_m4')\n"
        "open('small.c', 'w').write(small.c_source)\n"
        + first + "\nassert H.shape == (3, 3) and np.isfinite(value)\n"
        "assert np.max(np.abs(sg.grad(loss)(w, X, y))) < 0.1\n"
        + second + "\nassert H.nnz == 299_998 and (H.diagonal() >= 0).all()\n"
    )  # fmt: skip
    result = run([str(script)], tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == printed
    assert c in (tmp_path / "small.c").read_text()
    assert list((tmp_path / "out").glob("*.c")) and list((tmp_path / "out").glob("*.h"))


@pytest.mark.slow
def test_gaussian_mixture(tmp_path):
    """The C in the repository is what symgrad writes today; if not, run the example again."""
    examples = ROOT / "examples"
    result = run([str(examples / "gaussian_mixture.py"), "--out", str(tmp_path)], tmp_path)
    assert result.returncode == 0, result.stderr
    start, end = map(float, re.findall(r"loss ([\d.]+) at the start, ([\d.]+)", result.stdout)[0])
    assert end < start - 5
    kept = sorted((examples / "gaussian_mixture_c").iterdir())
    assert [p.name for p in kept] == ["mixture_gradient.c", "mixture_gradient.h"]
    for path in kept:
        assert path.read_text() == (tmp_path / path.name).read_text()
