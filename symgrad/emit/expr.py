"""Scalar expressions of a loop program as trees of C."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from symgrad.emit import tree as c
from symgrad.emit.rows import prepared, spelling
from symgrad.emit.target import Target
from symgrad.emit.tree import integer
from symgrad.errors import InternalError
from symgrad.expr.node import CONST, FLOATS, Expr, const, const_value
from symgrad.expr.walk import toposort
from symgrad.lower.scalar import GUARD, INDEX, INDEX_DIV, INDEX_MOD, LOAD
from symgrad.lower.statement import Buffer, row_strides
from symgrad.lower.strides import is_costly
from symgrad.ops.elementwise import ADD, CONVERT, SUBTRACT

if TYPE_CHECKING:
    from symgrad.emit.lanes import Block

ZERO = c.Lit("0")
_ZERO_INDEX = const(0, "int64")


class Speller:
    """What expressions are called where the C has got to.

    names : the variables that exist, by their value
    loop_names : what the variable of each loop is called
    lanes : the block of lanes that is being spelled, if any
    target : the language
    branchless : whether a branch would keep the compiler from making a vector of the loop around
    descends : whether some offset of the statement may fall where a loop goes on
    """

    def __init__(self, buffers: Mapping[int, Buffer], target: Target) -> None:
        self.buffers, self.target = buffers, target
        self.names: dict[Expr, c.Expression] = {}
        self.loop_names: dict[Expr, c.Expression] = {}
        self.lanes: Block | None = None
        self.branchless = self.descends = False
        self._count = 0
        self._literals: dict[Expr, c.Lit] = {}

    def fresh(self) -> str:
        """A name that nothing has."""
        self._count += 1
        return f"t{self._count - 1}"

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Variables declared inside are not known behind it: they are declared there again."""
        known = len(self.names)
        yield
        while len(self.names) > known:
            self.names.popitem()

    # ---- places in memory --------------------------------------------------------------------

    def place(self, buffer: Buffer, index: Sequence[Expr]) -> c.Expression:
        """An element of a buffer as an lvalue."""
        if buffer.role == "scalar" or (buffer.role == "in" and not buffer.shape):
            return c.Name(buffer.name)
        return c.Index(buffer.name, self.offset(buffer, index))

    def address(self, buffer: Buffer, index: Sequence[Expr]) -> c.Expression:
        """A pointer to a part of a buffer; missing indices are 0."""
        name = c.Name(buffer.name)
        if buffer.role == "scalar":
            return c.Unary("&", name)
        if buffer.lanes and not index:
            return name
        offset = self.offset(buffer, index)
        return name if offset == ZERO else c.Unary("&", c.Index(buffer.name, offset))

    def offset(self, buffer: Buffer, index: Sequence[Expr]) -> c.Expression:
        """Row-major offset of an element, or of the first one where indices are missing."""
        if len(index) == len(buffer.shape) == 1 and index[0].op is CONST and not buffer.lanes:
            return c.Lit(str(int(const_value(index[0])) if buffer.kept_axes else 0))
        terms: list[c.Expression] = []
        constant = 0
        for entry, stride in _entries(buffer, index):
            base, shift = _split_constant(entry)
            constant += shift * stride
            if base is not None and base.op is not INDEX and not self.descends:
                self.descends = any(n.op is SUBTRACT for n in toposort([base]))
            if base is None:
                continue
            term = self.spell(base, c.TIMES if stride != 1 else c.PLUS)
            terms.append(term if stride == 1 else c.Binary("*", term, integer(stride)))
        if buffer.lanes:
            assert self.lanes is not None
            terms.append(c.Name(self.lanes.name))
        if not terms:
            return c.Lit(str(constant))
        return c.Sum(tuple(terms), constant) if constant or len(terms) > 1 else terms[0]

    # ---- values ------------------------------------------------------------------------------

    def spell(self, node: Expr, above: int = 0) -> c.Expression:
        """A scalar expression, in brackets unless it binds more tightly than `above`.

        Recursion is bounded, since what has many nodes is in variables.
        """
        found = self.names.get(node)
        if found is not None:
            return found
        if node.op is CONST:
            return self._literal(node)
        spelled = self._spell(node)
        level = spelled.level
        return c.Group(spelled) if level <= above and level != c.ATOM else spelled

    def _spell(self, node: Expr) -> c.Expression:
        op, args = node.op, node.args
        if op is INDEX:
            return self.loop_names[node]
        if op is LOAD:
            return self.place(self.buffers[node.attrs[0]], args)
        if op is CONVERT:
            return self._convert(node)
        found = spelling(node, self.target)
        if found is None:
            raise InternalError(f"{self.target.name} has no spelling for {node.name}")
        # What is guarded is not evaluated elsewhere.
        select = self.branchless and node.dtype in FLOATS and op is not GUARD
        kind = node.dtype if select else ""
        build, levels = prepared(found, args[-1].dtype, is_costly(node), kind, len(args))
        return build([self.spell(a, n) for a, n in zip(args, levels, strict=True)])

    def _literal(self, node: Expr) -> c.Lit:
        found = self._literals.get(node)
        if found is None:
            value = const_value(node), node.dtype
            target = self.target
            found = c.Lit(target.literal(*value), target.needed_by(*value))
            self._literals[node] = found
        return found

    def _convert(self, node: Expr) -> c.Cast:
        (a,) = node.args
        if a.dtype == "bool" and node.dtype not in FLOATS:
            # gcc's -Wbool-compare sees through a cast where the number is compared
            choice = c.Conditional(self.spell(a, c.OR), c.Lit("1"), ZERO)
            return c.Cast(self.target.types[node.dtype], choice)
        return c.Cast(self.target.types[node.dtype], self.spell(a, c.UNARY))


def _entries(buffer: Buffer, index: Sequence[Expr]) -> list[tuple[Expr, int]]:
    """Indices that move along a buffer, with their strides; (i / n) * n + i % n is i again."""
    width = max(buffer.lanes, 1)
    strides = zip(buffer.kept_axes, row_strides(buffer.kept_shape), strict=True)
    given = ((a, n) for a, n in strides if a < len(index))
    return _join_divisions([(index[a], n * width) for a, n in given if index[a] is not _ZERO_INDEX])


def _split_constant(index: Expr) -> tuple[Expr | None, int]:
    """index = base + constant."""
    shift = 0
    node: Expr | None = index
    while node is not None:
        if node.op is CONST:
            return None, shift + int(const_value(node))
        if node.op is ADD and node.args[0].op is CONST:
            shift += int(const_value(node.args[0]))
            node = node.args[1]
        elif node.op is ADD and node.args[1].op is CONST:
            shift += int(const_value(node.args[1]))
            node = node.args[0]
        elif node.op is SUBTRACT and node.args[1].op is CONST:
            shift -= int(const_value(node.args[1]))
            node = node.args[0]
        else:
            break
    return node, shift


def _join_divisions(entries: list[tuple[Expr, int]]) -> list[tuple[Expr, int]]:
    """Adjacent (e / n, n s), (e % n, s) is (e, s)."""
    changed = True
    while changed:
        changed = False
        for k in range(len(entries) - 1):
            (high, high_stride), (low, low_stride) = entries[k], entries[k + 1]
            if high.op is INDEX_DIV and low.op is INDEX_MOD and high.args == low.args:
                if high_stride == low_stride * int(const_value(low.args[1])):
                    entries = [*entries[:k], (low.args[0], low_stride), *entries[k + 2 :]]
                    changed = True
                    break
    return entries
