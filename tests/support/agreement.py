"""Comparisons of results with what is expected."""

from __future__ import annotations

import numpy as np


def leaves(tree):
    """Arrays of nested dicts, lists and tuples, in order of their keys."""
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in leaves(tree[key])]
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in leaves(part)]
    return [np.asarray(tree)]


def close(got, expected, tolerance, what=""):
    """Assert that trees agree to `tolerance`, relative to the largest finite element of each."""
    for k, (g, e) in enumerate(zip(leaves(got), leaves(expected), strict=True)):
        assert g.shape == e.shape, (what, k)
        if e.dtype.kind != "f":
            np.testing.assert_array_equal(g, e, err_msg=f"{what}, result {k}")
            continue
        finite = np.abs(e[np.isfinite(e)])
        scale = tolerance * max(1.0, float(finite.max(initial=0)))
        np.testing.assert_allclose(g, e, rtol=tolerance, atol=scale, err_msg=f"{what}, result {k}")


def same_bits(got, expected):
    """Assert that arrays are equal bit by bit, dtype and shape included."""
    for g, e in zip(got, expected, strict=True):
        assert g.dtype == e.dtype
        assert g.shape == e.shape
        assert g.tobytes() == e.tobytes()
