"""How an operation is spelled in C: the columns `c` and `c_int` of its row as trees.

A column is parsed once. Its operands are the leaves `Operand`, in the place of which the trees of
an expression's operands are put.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np

from symgrad.emit.tree import (
    AND,
    ATOM,
    COMPARE,
    EQUAL,
    OR,
    PLUS,
    TIMES,
    Binary,
    Call,
    Conditional,
    Expression,
    Group,
    Lit,
    Name,
    Node,
    Unary,
    replaced,
    walk,
)  # fmt: skip
from symgrad.expr.node import CONST, FLOATS, Expr, const_value

_TOKEN = re.compile(r"\s*(\{\d\}|\d+|\w+@?|\|\||&&|[=!<>]=|.)")
_BINARY = ({"||"}, {"&&"}, {"==", "!="}, {"<", ">", "<=", ">="}, {"+", "-"}, {"*", "/", "%"})
_BITWISE = {"||": "|", "&&": "&"}


@dataclass(frozen=True, slots=True)
class Operand(Expression):
    """The place of an operand in a row's spelling."""

    position: int


@dataclass(frozen=True, eq=False)
class Spelling:
    """A parsed column.

    doubled : positions of operands that stand in it twice
    checked : the same where the first operand is a number that is not NaN, if that is shorter
    """

    tree: Expression
    doubled: frozenset[int]
    checked: Spelling | None = None


def spelling(node: Expr) -> Spelling | None:
    """The spelling of a scalar expression's operation; None if its row has none."""
    row = node.op
    if row.c_int is not None and node.args[-1].dtype not in FLOATS:
        return parsed(row.c_int)
    if row.c is None:
        return None
    found = parsed(row.c)
    if found.checked is not None and node.args[0].op is CONST:
        return found if np.isnan(const_value(node.args[0])) else found.checked
    return found


@functools.cache
def parsed(column: str) -> Spelling:
    """A column of a row. Cached: there are as many as rows."""
    row = _Parser(column)
    tree = row.binary(0)
    if row.at < len(row.tokens):
        raise ValueError(f"C of a row: {column!r} goes on behind what was understood")
    positions = [n.position for n in walk(tree) if isinstance(n, Operand)]
    doubled = frozenset(p for p in positions if positions.count(p) > 1)
    shorter = replaced(tree, _without_check)
    return Spelling(tree, doubled, None if shorter == tree else Spelling(shorter, doubled))


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

    def binary(self, level: int) -> Expression:
        if level == len(_BINARY):
            return self.unary()
        left = self.binary(level + 1)
        while op := self.take(*_BINARY[level]):
            left = Binary(op, left, self.binary(level + 1))
        if level == 0 and self.take("?"):
            then = self.binary(0)
            self.expect(":")
            return Conditional(left, then, self.binary(0))
        return left

    def unary(self) -> Expression:
        if op := self.take("-", "!"):
            return Unary(op, self.unary())
        token = self.take()
        if token == "(":
            inner = self.binary(0)
            self.expect(")")
            return Group(inner)
        if token.startswith("{"):
            return Operand(int(token[1:-1]))
        if token.isdigit():
            return Lit(token)
        if not self.take("("):
            return Name(token)
        args = [] if self.take(")") else [self.binary(0)]
        while args and not self.take(")"):
            self.expect(",")
            args.append(self.binary(0))
        return _call(token, args)

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise ValueError(f"C of a row: no {token!r} in {''.join(self.tokens)!r}")


def _call(token: str, args: list[Expression]) -> Call:
    """A function; `?` as its dtype is the one that an expression's operands will say."""
    function = token.removesuffix("@")
    own = function.startswith("sg_")
    typed = token.endswith("@") or own
    return Call(function, tuple(args), "?" if typed else "", "helpers" if own else "")


# ---- what an expression's types and surroundings change --------------------------------------------


@functools.cache
def prepared(
    found: Spelling, kind: str, costly: bool, guard: bool, select: str, count: int
) -> tuple[Expression, tuple[int, ...]]:
    """The tree of an operation with `count` operands, and for each the level that gets brackets.

    kind : the dtype that chooses functions
    guard : whether its choice must leave the other side unevaluated
    select : the dtype of a choice that is made of bits, without a branch; "" if it is none
    """

    def change(n: Node) -> Node | None:
        if isinstance(n, Conditional):
            if select and not guard:
                return _selected(n, select, change)
            condition, then, otherwise = (replaced(p, change) for p in n.children())
            return Conditional(condition, then, otherwise, guard)
        if isinstance(n, Call):
            args = tuple(replaced(a, change) for a in n.args)
            # only functions of our own have versions for integers
            typed = n.dtype and (n.origin or kind in FLOATS)
            return Call(n.function, args, kind if typed else "", n.origin, costly)
        return None

    tree = replaced(found.tree, change)
    return tree, _levels(tree, count)


def _levels(tree: Expression, count: int) -> tuple[int, ...]:
    """For each of `count` operands: those that bind no more tightly than this get brackets."""
    level = tree.level
    if level == ATOM:
        return (0,) * count
    if level in (TIMES, PLUS):  # on the right only: floating point is not associative
        assert isinstance(tree, Binary)
        left = count > 1 or isinstance(tree.left, Operand)
        return (level - 1 if left else level, *(level,) * (count - 1))
    # gcc's -Wparentheses asks for them in a < b == c < d
    return (COMPARE if level in (EQUAL, COMPARE) else max(level, EQUAL),) * count


def _selected(n: Conditional, dtype: str, change) -> Call:
    """A choice as one of bits, which every compiler vectorises: both sides are evaluated."""
    sides = [side.inner if isinstance(side, Group) else side for side in (n.then, n.otherwise)]
    args = (_bits(n.condition), *sides)
    return Call("sg_select", tuple(replaced(a, change) for a in args), dtype, "helpers")


def _bits(condition: Expression) -> Expression:
    """A condition without the branches of && and ||."""
    if isinstance(condition, Binary) and condition.level in (AND, OR):
        sides = _bits(condition.left), _bits(condition.right)
        return Binary(_BITWISE[condition.op], *sides)
    return Group(condition) if condition.level in (COMPARE, EQUAL) else condition


def _without_check(n: Node) -> Node | None:
    """`x || {0} != {0}` is x for a number."""
    nan = Binary("!=", Operand(0), Operand(0))
    return n.left if isinstance(n, Binary) and n.op == "||" and n.right == nan else None


def spelled(tree: Expression, operands: list[Expression]) -> Expression:
    """The tree of a row with those of its operands."""
    kind = type(tree)
    if kind is Operand:
        return operands[tree.position]  # type: ignore[attr-defined]
    if kind is Binary:
        left, right = spelled(tree.left, operands), spelled(tree.right, operands)  # type: ignore[attr-defined]
        return Binary(tree.op, left, right)  # type: ignore[attr-defined]
    if kind is Call:
        args = tuple([spelled(a, operands) for a in tree.args])  # type: ignore[attr-defined]
        return Call(tree.function, args, tree.dtype, tree.origin, tree.costly)  # type: ignore[attr-defined]
    if kind is Lit:
        return tree
    return replaced(tree, lambda n: operands[n.position] if type(n) is Operand else None)
