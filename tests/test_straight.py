"""Straight lines that gcc puts into vectors with elements of others (0028, 0078)."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

import symgrad as sg

N = 6
ROWS = [(i, j) for i in range(N) for j in range(N)]


def rows_times_their_diagonal(x):
    """gcc 12.2 with vectors of 512 bits: x[3, 3] * x[3, 0] became x[3, 1] * x[3, 0]."""
    return np.diag(np.diagonal(x)) @ x


def the_same_by_elements(x):
    return np.stack([x[i, j] * x[i, i] for i, j in ROWS])


@pytest.mark.parametrize("f", [rows_times_their_diagonal, the_same_by_elements])
@pytest.mark.parametrize("scalar", [False, True])
def test_products_along_rows(f, scalar):
    x = 1.0 + 0.37 * np.arange(N * N).reshape(N, N)
    made = sg.compile(f, sg.f64[N, N], scalar=scalar)
    np.testing.assert_array_equal(made(x).reshape(N, N), x * np.diagonal(x)[:, None])


@pytest.mark.parametrize("columns", range(2, 10))
def test_short_rows_backwards(columns):
    """gcc 12.2 with vectors of 512 bits: of rows of six, wrong elements."""
    x = 1.0 + 0.37 * np.arange(8.0 * columns).reshape(8, columns)

    def f(x):
        return x * x[:, ::-1], x[:, ::-1] - x, x[:, ::-1] * x[:, :1]

    made = sg.compile(f, sg.f64[8, columns], scalar=False)
    for got, want in zip(made(x), f(x), strict=True):
        np.testing.assert_array_equal(got, want)


def test_straight_lines_are_marked_and_loops_are_not():
    straight = sg.compile(rows_times_their_diagonal, sg.f64[N, N], scalar=True)
    assert "SG_STRAIGHT int" in straight.c_source
    assert "SG_STRAIGHT" not in sg.compile(lambda x: np.sin(x) + 1, sg.f64[1000]).c_source


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
@pytest.mark.parametrize("options", ["-O2", "-O3 -march=native"])
@pytest.mark.quick(1)
def test_exported_c_is_right_with_other_options(options, tmp_path):
    made = sg.compile(rows_times_their_diagonal, sg.f64[N, N], name="rows", scalar=True)
    made.export(tmp_path)
    main = tmp_path / "main.c"
    main.write_text("""
#include "rows.h"
int main(void) {
    double x[36], out[36];
    for (int k = 0; k < 36; ++k) x[k] = 1.0 + 0.37 * k;
    rows(x, out);
    for (int k = 0; k < 36; ++k) if (out[k] != x[k] * x[k / 6 * 7]) return 1;
    return 0;
}""")
    target = tmp_path / "main"
    command = [
        shutil.which("gcc"),
        *options.split(),
        "-ffp-contract=off",
        str(main),
        str(tmp_path / "rows.c"),
    ]
    subprocess.run([*command, "-o", str(target), "-lm"], check=True)
    assert subprocess.run([target]).returncode == 0
