"""Sizes that have names, while a formula is read and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from symgrad.expr.node import Expr


@dataclass(frozen=True)
class Sibling:
    """The same graph at other sizes.

    args    of the graph that is read, each with its own here
    arrays  captured ones of the graph that is read, as they are here
    sizes   of axes there → here
    values  what the arguments that stand for sizes are here
    """

    outs: Sequence[Expr]
    args: Mapping[Expr, Expr]
    arrays: Mapping[Expr, np.ndarray]
    sizes: Mapping[int, int]
    values: Mapping[Expr, int]


@dataclass(frozen=True)
class Sizes:
    """What is known of sizes that have names.

    values    arguments that stand for sizes, and what they are in the graph that is read
    lengths   the expressions over these that axes have as lengths
    siblings  the same graph at other sizes, with which formulas have to agree
    """

    values: Mapping[Expr, int] = field(default_factory=dict)
    lengths: Mapping[int, Expr] = field(default_factory=dict)
    siblings: Sequence[Sibling] = ()
