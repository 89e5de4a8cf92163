"""Sparse derivatives at ties, guards and removable singularities; the oracle is 50-digit Taylor."""

from __future__ import annotations

import numpy as np
import pytest

import symgrad as sg
from support.special_points import SMOOTH, columns, truths, wrong


@pytest.mark.sample(45)
@pytest.mark.quick(3)
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_have_their_sparse_derivatives(name):
    """The functions are elementwise over the points, so all derivatives are diagonal."""
    case, right = SMOOTH[name], truths(SMOOTH[name])
    data = columns(case)

    def check(derivative, index):
        entries, pattern = derivative.trace(*data)
        found = np.zeros(pattern.shape)
        found[pattern.rows(), pattern.indices] = entries.simplify().evaluate(*data)
        largest = np.max([np.abs(v) for i, v in right.items() if len(i) == len(index)], axis=0)
        bad = wrong(np.diag(found), right[index], np.maximum(largest, 1))
        assert not bad.any(), (index, np.diag(found)[bad], right[index][bad])
        assert not (found - np.diag(np.diag(found))).any()

    for k in range(len(data)):
        check(sg.sparse_jacobian(case.f, argnums=k), (k,))
        if case.orders > 1:
            check(sg.sparse_hessian(lambda *v: np.sum(case.f(*v)), argnums=k), (k, k))
