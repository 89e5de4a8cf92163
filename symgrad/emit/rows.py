"""How an operation is spelled: the column of its row that a target names, as a tree.

A column is parsed once. Its operands are the leaves `Operand`, in the place of which the trees of
an expression's operands are put.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

import numpy as np

from symgrad.emit import tree as c
from symgrad.emit.target import Target
from symgrad.emit.tree import replaced
from symgrad.expr.node import CONST, FLOATS, Expr, const_value
from symgrad.expr.op import Op
from symgrad.lazy import dataclass

_TOKEN = re.compile(r"\s*(\{\d\}|\d+|\w+@?|\|\||&&|[=!<>]=|.)")
_BINARY = ({"||"}, {"&&"}, {"==", "!="}, {"<", ">", "<=", ">="}, {"+", "-"}, {"*", "/", "%"})
Change = Callable[[c.Node], c.Node | None]
_BITWISE = {"||": "|", "&&": "&"}


@dataclass(frozen=True, slots=True)
class Operand(c.Expression):
    """The place of an operand in a row's spelling."""

    position: int


@dataclass(frozen=True, eq=False)
class Spelling:
    """A parsed column.

    checked : the same where the first operand is a number that is not NaN, if that is shorter
    """

    tree: c.Expression
    checked: Spelling | None = None


def spelling(node: Expr, target: Target) -> Spelling | None:
    """The spelling of a scalar expression's operation; None if its row has none."""
    args = node.args
    found = _of_row(target, node.op, args[-1].dtype in FLOATS)
    if found is not None and found.checked is not None and args[0].op is CONST:
        return found if np.isnan(const_value(args[0])) else found.checked
    return found


@functools.cache
def _of_row(target: Target, row: Op, is_float: bool) -> Spelling | None:
    column = target.column(row, is_float)
    return None if column is None else parsed(column)


@functools.cache
def parsed(column: str) -> Spelling:
    """A column of a row. Cached: there are as many as rows."""
    row = _Parser(column)
    tree = row.binary(0)
    if row.at < len(row.tokens):
        raise ValueError(f"C of a row: {column!r} goes on behind what was understood")
    shorter = replaced(tree, _without_check)
    return Spelling(tree, None if shorter == tree else Spelling(shorter))


class _Parser:
    """Recursive descent; each level of `_BINARY` binds more tightly than the one before."""

    def __init__(self, column: str) -> None:
        self.tokens = _TOKEN.findall(column)
        self.at = 0

    def take(self, *wanted: str) -> str:
        """The next token, if it is one of these; else nothing is taken."""
        found = self.tokens[self.at] if self.at < len(self.tokens) else ""
        if wanted and found not in wanted:
            return ""
        self.at += 1
        return found

    def binary(self, level: int) -> c.Expression:
        if level == len(_BINARY):
            return self.unary()
        left = self.binary(level + 1)
        while op := self.take(*_BINARY[level]):
            left = c.Binary(op, left, self.binary(level + 1))
        if level == 0 and self.take("?"):
            then = self.binary(0)
            self.expect(":")
            return c.Conditional(left, then, self.binary(0))
        return left

    def unary(self) -> c.Expression:
        if op := self.take("-", "!"):
            return c.Unary(op, self.unary())
        token = self.take()
        if token == "(":
            inner = self.binary(0)
            self.expect(")")
            return c.Group(inner)
        if token.startswith("{"):
            return Operand(int(token[1:-1]))
        if token.isdigit():
            return c.Lit(token)
        if not token[:1].isalpha():
            raise ValueError(f"C of a row: no operand in {''.join(self.tokens)!r}")
        if not self.take("("):
            return c.Name(token)
        args = [] if self.take(")") else [self.binary(0)]
        while args and not self.take(")"):
            self.expect(",")
            args.append(self.binary(0))
        return _call(token, args)

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise ValueError(f"C of a row: no {token!r} in {''.join(self.tokens)!r}")


def _call(token: str, args: list[c.Expression]) -> c.Call:
    """A function; `?` as its dtype is the one that an expression's operands will say."""
    function = token.removesuffix("@")
    own = function.startswith("sg_")
    typed = token.endswith("@") or own
    return c.Call(function, tuple(args), "?" if typed else "", "helpers" if own else "math")


# ---- what an expression's types and surroundings change ------------------------------------------


@functools.cache
def prepared(
    found: Spelling, kind: str, costly: bool, select: str, count: int
) -> tuple[Callable[[Sequence[c.Expression]], c.Expression], tuple[int, ...]]:
    """What makes the tree of an operation from those of `count` operands.

    With the level of each operand: what binds no more tightly gets brackets.

    kind : the dtype that chooses functions
    select : the dtype of a choice that is made of bits, without a branch; "" if it is none
    """

    def change(n: c.Node) -> c.Node | None:
        if select and isinstance(n, c.Conditional):
            return _selected(n, select, change)
        if isinstance(n, c.Call):
            args = tuple(replaced(a, change) for a in n.args)
            # only functions of our own have versions for integers
            typed = n.dtype and (n.origin != "math" or kind in FLOATS)
            return c.Call(n.function, args, kind if typed else "", n.origin, costly)
        return None

    tree = replaced(found.tree, change)
    return _builder(tree), _levels(tree, count)


def _levels(tree: c.Expression, count: int) -> tuple[int, ...]:
    """For each of `count` operands: those that bind no more tightly than this get brackets."""
    level = tree.level
    if level == c.ATOM:
        return (0,) * count
    if level in (c.TIMES, c.PLUS):  # on the right only: floating point is not associative
        assert isinstance(tree, c.Binary)
        left = count > 1 or isinstance(tree.left, Operand)
        return (level - 1 if left else level, *(level,) * (count - 1))
    # gcc's -Wparentheses asks for them in a < b == c < d
    return (c.COMPARE if level in (c.EQUAL, c.COMPARE) else max(level, c.EQUAL),) * count


def _selected(n: c.Conditional, dtype: str, change: Change) -> c.Call:
    """A choice as one of bits, which every compiler vectorises: both sides are evaluated."""
    sides = [side.inner if isinstance(side, c.Group) else side for side in (n.then, n.otherwise)]
    args = (_bits(n.condition), *sides)
    return c.Call("sg_select", tuple(replaced(a, change) for a in args), dtype, "helpers")


def _bits(condition: c.Expression) -> c.Expression:
    """A condition without the branches of && and ||."""
    if isinstance(condition, c.Binary) and condition.level in (c.AND, c.OR):
        sides = _bits(condition.left), _bits(condition.right)
        return c.Binary(_BITWISE[condition.op], *sides)
    return c.Group(condition) if condition.level in (c.COMPARE, c.EQUAL) else condition


def _without_check(n: c.Node) -> c.Node | None:
    """`x || {0} != {0}` is x for a number."""
    nan = c.Binary("!=", Operand(0), Operand(0))
    return n.left if isinstance(n, c.Binary) and n.op == "||" and n.right == nan else None


def _builder(tree: c.Expression) -> Callable[[Sequence[c.Expression]], c.Expression]:
    """A function that puts operands into a row's tree; the two forms of most rows are fast."""
    if isinstance(tree, c.Binary) and (tree.left, tree.right) == (Operand(0), Operand(1)):
        op = tree.op
        return lambda operands: c.Binary(op, operands[0], operands[1])
    if isinstance(tree, c.Call) and tree.args == tuple(map(Operand, range(len(tree.args)))):
        f, dtype, origin, costly = tree.function, tree.dtype, tree.origin, tree.costly
        return lambda operands: c.Call(f, tuple(operands), dtype, origin, costly)

    def put(operands: Sequence[c.Expression]) -> c.Expression:
        found: c.Expression = replaced(
            tree, lambda n: operands[n.position] if type(n) is Operand else None
        )
        return found

    return put
