"""A function of ours that gcc 12 -O3 compiles wrongly unless told not to if-convert loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from symgrad.runtime.build import build, ffi

TEXT = (Path(__file__).parent / "gcc_if_convert.c").read_text()


def results(optimize: int) -> list[np.ndarray]:
    entry = build(TEXT, ("jacfwd_grad_s_entry",), optimize=optimize).entry("jacfwd_grad_s_entry")
    inputs = [np.array([1.2, 0.7, 2.1]), np.array([0.5, 1.7, 2.2, 0.9])]
    outs = [np.full(n, np.nan) for n in (9, 12, 12, 16)]
    status = entry(
        ffi.new("void *[]", [ffi.from_buffer(a) for a in inputs]),
        ffi.new("void *[]", [ffi.from_buffer(a) for a in outs]),
        ffi.NULL,
    )
    assert status == 0
    return outs


def test_every_level_gives_the_same_numbers():
    for level in (1, 2, 3):
        for got, expected in zip(results(level), results(0), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-16)
