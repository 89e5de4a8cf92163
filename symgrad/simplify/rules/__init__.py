"""All rules, in one order.

Within a rank the order does not change results (tests shuffle it), but it does choose the way to
them. A new rule goes into the module of its subject; a new module is imported and listed here.
"""

from __future__ import annotations

from symgrad.simplify.control import CONTROL
from symgrad.simplify.pattern import Rule
from symgrad.simplify.reroll import REROLL
from symgrad.simplify.rules.algebra import CONDITIONS, CONVERSIONS, NEGATION, POWERS, PRODUCTS
from symgrad.simplify.rules.contractions import EINSUMS
from symgrad.simplify.rules.deltas import DELTAS
from symgrad.simplify.rules.linalg import LINALG
from symgrad.simplify.rules.reductions import STABLE_REDUCTIONS
from symgrad.simplify.rules.scatters import SCATTERS
from symgrad.simplify.rules.smooth import SMOOTH
from symgrad.simplify.rules.stable import STABLE
from symgrad.simplify.rules.sums import COLLECT
from symgrad.simplify.rules.views import VIEWS

RULES: tuple[Rule, ...] = (
    REROLL,
    *CONTROL,
    *NEGATION,
    *PRODUCTS,
    *POWERS,
    *CONDITIONS,
    *CONVERSIONS,
    *STABLE,
    *SMOOTH,
    *VIEWS,
    *EINSUMS,
    *SCATTERS,
    *COLLECT,
    *STABLE_REDUCTIONS,
    *LINALG,
    *DELTAS,
)
