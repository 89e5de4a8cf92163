"""Inverses that are only multiplied."""

from __future__ import annotations

from symgrad.expr.node import EYE, Expr, bind
from symgrad.ops.einsum import einsum
from symgrad.ops.linear import permute, reshape
from symgrad.simplify.pattern import Context, Rule, function_rule


def _solve_inverse(node: Expr, context: Context) -> Expr | None:
    """A⁻¹ b = solve(A, b): no inverse is formed where only its product is wanted."""
    inputs, output = node.attrs
    for p, (inverse, term) in enumerate(zip(node.args, inputs, strict=True)):
        if inverse.name != "solve" or inverse.ndim != 2 or inverse.args[1].op is not EYE:
            continue
        if not context.single(inverse):
            continue
        for q, (b, labels) in enumerate(zip(node.args, inputs, strict=True)):
            if q == p or b.op is EYE or not 1 <= b.ndim <= 2 or len(set(labels)) < len(labels):
                continue
            for row, column, transposed in ((*term, False), (*term[::-1], True)):
                used = sum(column in t for t in inputs)
                if column in output or used != 2 or column not in labels or row in labels:
                    continue
                if row == column:
                    continue
                a = permute(inverse.args[0], (1, 0)) if transposed else inverse.args[0]
                right = b if labels[0] == column else permute(b, (1, 0))
                if right.ndim == 1:  # the row wants columns
                    solved = bind("solve", a, reshape(right, (*right.shape, 1)))
                    solved = reshape(solved, right.shape)
                else:
                    solved = bind("solve", a, right)
                rest = tuple(k for k in labels if k != column)
                keep = [i for i in range(len(node.args)) if i not in (p, q)]
                return einsum(
                    [solved, *(node.args[i] for i in keep)],
                    [(row, *rest), *(inputs[i] for i in keep)],
                    output,
                )
    return None


LINALG: list[Rule] = [
    function_rule("solve-inverse", "einsum", _solve_inverse, "A⁻¹ b = solve(A, b)", "linalg",
                  "solve"),
]  # fmt: skip
