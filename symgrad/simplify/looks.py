"""Which nodes a pattern can match at all, as far as two levels of operations tell.

In: nodes, as a number for their operation and those of their arguments, and patterns. Out: whether
the one can be the other. Rules are looked up by that, so that few are tried in vain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from symgrad.expr.node import CONST, Expr
from symgrad.expr.op import OPS, Op
from symgrad.forks import ForkSafeLock

if TYPE_CHECKING:
    from symgrad.simplify.pattern import Pattern

# Numbers for the operation of a node with those of its arguments, and what each number stands for.
# There are as many as combinations of operations that some graph has.
_NUMBERS: dict[tuple[Op, ...], int] = {}
FORMS: list[tuple[Op, ...]] = [()]
_LOCK = ForkSafeLock()
_MOST = 3  # arguments of the operations that patterns have

# What is common to the two arguments of a node, as bits: they are one node; the first, the second
# is an argument of the other; they have an argument in common.
_SAME, _FIRST_INSIDE, _SECOND_INSIDE, _SHARING = 1, 2, 4, 8
AXIS = 16  # and how many axes an elementwise node has, times this; 2 stands for more and others


def form_of(node: Expr) -> int:
    """A number for the operations of a node and its arguments; of many arguments, for its own."""
    args = node.args
    key = (node.op, *[a.op for a in args]) if len(args) <= _MOST else (node.op,)
    form = _NUMBERS.get(key)
    if form is None:
        with _LOCK.held():
            form = _NUMBERS.get(key)
            if form is None:
                form = len(FORMS)
                FORMS.append(key)
                _NUMBERS[key] = form
    node.form = form
    return form


def common(a: Expr, b: Expr) -> int:
    """The bits of two arguments."""
    if a is b:
        return _SAME | _SHARING
    bits = 0
    mine = a.args if len(a.args) <= _MOST else ()
    others = b.args if len(b.args) <= _MOST else ()
    if a in others:
        bits = _FIRST_INSIDE
    if b in mine:
        bits |= _SECOND_INSIDE
    for x in mine:
        if x in others:
            return bits | _SHARING
    return bits


@dataclass(frozen=True)
class Look:
    """What can be told of a node from the forms of its arguments and from what is common to them.

    ops : per argument its operation and those of its arguments, None for any
    bits : that have to be set
    """

    ops: tuple[tuple[Op | None, ...], ...]
    bits: int = 0

    @staticmethod
    def of(p: Pattern) -> Look:
        """That of the nodes that a pattern matches, with operands in this order."""
        ops = tuple([
            (OPS[a.name], *[_op_of(inner) for inner in a.args]) if a.kind == "op" else (_op_of(a),)
            for a in p.args
        ])  # fmt: skip
        bits = 0
        if len(p.args) == 2:
            a, b = p.args
            inside = [{q.name for q in x.args if q.kind == "any"} for x in (a, b)]
            bits |= _SAME if a.kind == "any" and a.name == b.name and b.kind == "any" else 0
            bits |= _FIRST_INSIDE if a.kind == "any" and a.name in inside[1] else 0
            bits |= _SECOND_INSIDE if b.kind == "any" and b.name in inside[0] else 0
            bits |= _SHARING if inside[0] & inside[1] else 0
        return Look(ops, bits)

    def fits(self, forms: Sequence[tuple[Op, ...]], bits: int) -> bool:
        """Whether a node with arguments of these forms can be one."""
        if self.bits & ~bits:
            return False
        for wanted, form in zip(self.ops, forms, strict=True):
            for w, o in zip(wanted, form):  # noqa: B905  # forms of many arguments are short
                if w is not None and w is not o:
                    return False
        return True


def _op_of(p: Pattern) -> Op | None:
    return OPS[p.name] if p.kind == "op" else None if p.kind == "any" else CONST
