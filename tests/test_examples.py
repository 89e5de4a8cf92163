"""The examples and the README's code run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(arguments, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )


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
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    script = tmp_path / "readme.py"
    script.write_text(code + "\nassert H.shape == (3, 3) and np.isfinite(value)\n")
    result = run([str(script)], tmp_path)
    assert result.returncode == 0, result.stderr
    assert list((tmp_path / "out").glob("*.c")) and list((tmp_path / "out").glob("*.h"))
