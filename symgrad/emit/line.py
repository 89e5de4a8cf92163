"""Stores that stand in no loop, as C: each expression is walked once, from its operands up.

A long straight line has nothing else. What comes out is what `body` would write: the same trees,
variables and names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeGuard

from symgrad.emit import tree as c
from symgrad.emit.parts import Record
from symgrad.emit.rows import prepared, spelling
from symgrad.errors import InternalError
from symgrad.expr.node import CONST, Expr
from symgrad.lower.scalar import GUARD, INDEX, LOAD
from symgrad.lower.statement import Statement
from symgrad.lower.statements import Store
from symgrad.lower.strides import is_costly
from symgrad.ops.elementwise import CONVERT

if TYPE_CHECKING:
    from symgrad.emit.body import Emitter

Build = Callable[[Sequence[c.Expression]], c.Expression]


def is_plain(s: Statement, e: Emitter) -> TypeGuard[Store]:
    """Whether a statement of the function itself sets an element that nobody sets again."""
    return (
        type(s) is Store
        and s.op == "="
        and not s.apart
        and s.buffer.role != "scalar"
        and not e.variables.unsteady
        and all([not i.args for i in s.index])
    )


def records(s: Store, e: Emitter) -> list[Record]:
    """The variables that a store needs and nothing before has needed, and the store."""
    out: list[Record] = []
    names, chosen = e.names, e.variables.chosen
    trees: dict[Expr, c.Expression] = {}
    stack = [s.value]
    while stack:
        node = stack[-1]
        if node in names or node in trees:
            stack.pop()
            continue
        waiting = [a for a in node.args if a not in names and a not in trees]
        if waiting:
            waiting.reverse()
            stack += waiting
            continue
        stack.pop()
        tree = _tree(node, e, trees)
        if node in chosen:
            name, ctype = e.fresh(), e.target.types[node.dtype]
            names[node] = c.Name(name)
            used = c.uses(tree)
            used.names.add(name)
            used.needs.add(c.base_type(ctype))
            out.append(Record(c.Declare(ctype, name, tree), used, (name,)))
        else:
            trees[node] = tree
    value = names.get(s.value)
    target = e.place(s.buffer, s.index)
    stored = c.Assign(target, "=", trees[s.value] if value is None else value)
    out.append(Record(stored, c.uses(stored), ()))
    return out


def _tree(node: Expr, e: Emitter, trees: dict[Expr, c.Expression]) -> c.Expression:
    """An expression whose operands are spelled."""
    op, args, names = node.op, node.args, e.names
    if op is CONST:
        return e.spell(node)
    if op is LOAD or op is INDEX or op is CONVERT or op is GUARD:
        return e.spelled(node)
    build, levels = _prepared(node, e)
    if len(args) == 2:
        a, b = args
        left = names.get(a) or trees[a]
        right = names.get(b) or trees[b]
        if left.level <= levels[0]:
            left = c.Group(left)
        if right.level <= levels[1]:
            right = c.Group(right)
        return build((left, right))
    operands: list[c.Expression] = []
    for a, level in zip(args, levels, strict=True):
        tree = names.get(a) or trees[a]
        operands.append(c.Group(tree) if tree.level <= level else tree)
    return build(operands)


def _prepared(node: Expr, e: Emitter) -> tuple[Build, tuple[int, ...]]:
    """What makes a tree of an operation, and the levels of its operands, looked up once."""
    args = node.args
    key = node.op, args[-1].dtype, len(args)
    known: tuple[Build, tuple[int, ...]] | None = e.prepared.get(key)
    if known is not None:
        return known
    found = spelling(node, e.target)
    if found is None:
        raise InternalError(f"{e.target.name} has no spelling for {node.name}")
    made = prepared(found, args[-1].dtype, is_costly(node), False, "", len(args))
    if found.checked is None and args[0].op is not CONST:  # else it depends on a number
        e.prepared[key] = made
    return made
