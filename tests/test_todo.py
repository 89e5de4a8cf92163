"""TODO.md against the code: what is listed as missing is missing, and the other way round."""

from __future__ import annotations

import re
from pathlib import Path

import symgrad  # noqa: F401  (fills the registry)
from symgrad.expr.op import OPS, Kind
from symgrad.trace import supported_names

TEXT = (Path(__file__).parent.parent / "TODO.md").read_text()
ZERO = {
    "floor", "ceil", "trunc", "rint", "sign", "floor_divide", "argmax", "argmin", "any", "all",
    "detsign", "stop_gradient", "isnan", "isinf", "isfinite",
}  # fmt: skip


def listed(fence: str) -> set[str]:
    return set(re.search(rf"```{fence}\n(.*?)```", TEXT, re.S)[1].split())


def test_missing_functions_are_missing():
    supported = {name.removeprefix("np.") for name in supported_names()}
    assert not listed("missing-functions") & supported


def has_derivative(op) -> bool:
    if op.partials is not None:
        return any(p is not None for p in op.partials)
    return op.transpose is not None or op.vjp is not None


def test_missing_derivatives_are_exactly_those_listed():
    kinds = (Kind.ELEMENTWISE, Kind.LINEAR, Kind.EINSUM, Kind.REDUCE, Kind.SCAN, Kind.COMPOSITE)
    boolean = {"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"}
    boolean |= {op for op in OPS if op.startswith("logical_")}
    without = {
        op.name for op in OPS.values()
        if op.kind in kinds and not has_derivative(op) and op.name not in ZERO | boolean
    }  # fmt: skip
    assert without == listed("missing-derivatives")


def test_piecewise_constant_ops_are_named():
    for name in ZERO - {"isnan", "isinf", "isfinite"}:
        assert name in TEXT
