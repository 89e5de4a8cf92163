"""What rules are written in: rows of operations, and letters and functions for patterns."""

from __future__ import annotations

from symgrad.expr.op import OPS, Kind
from symgrad.ops import einsum as _einsum  # noqa: F401  (registers the rows)
from symgrad.ops import elementwise as _elementwise  # noqa: F401
from symgrad.ops import linear as _linear  # noqa: F401
from symgrad.ops import reduce as _reduce  # noqa: F401
from symgrad.simplify.pattern import constants, function, variables

Axes = tuple[int, ...]

SQUARE = OPS["square"]
ELEMENTWISE = tuple(row.name for row in OPS.values() if row.kind is Kind.ELEMENTWISE)

a, b, x, y, z = variables("a b x y z")
c, d = constants("c d")
exp_, log_, log1p_, expm1_, sqrt_ = map(function, ("exp", "log", "log1p", "expm1", "sqrt"))
square_, power_, abs_, cosh_ = map(function, ("square", "power", "absolute", "cosh"))
sigmoid_, softplus_, tanh_, erf_, erfc_ = map(
    function, ("sigmoid", "softplus", "tanh", "erf", "erfc")
)
gap_, sinc_, sin_, sign_ = map(function, ("gap", "sinc", "sin", "sign"))
sinh_, hypot_, logaddexp_, logit_ = map(function, ("sinh", "hypot", "logaddexp", "logit"))
xlogy_, sech_, cos_, complement_square_ = map(
    function, ("xlogy", "sech", "cos", "complement_square")
)
select_, not_, maximum_, minimum_ = map(function, ("select", "logical_not", "maximum", "minimum"))
