"""Values that get a name: which scalar expressions become variables, and where each is computed.

Scalar expressions are a DAG. A node becomes a variable if it is used twice, if it does not change
inside the loop around its user (it is then declared outside), if a row spells an operand twice, or
if the text would grow beyond one line. A value under a `guard` (the border of a padded array) is
only evaluated there and is never hoisted; what an `If` or a `While` computes stays inside of it.
What is made of a variable that changes is computed anew for each statement.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from symgrad.expr.node import CONST, FLOATS, Expr
from symgrad.expr.op import Kind, Op
from symgrad.expr.walk import toposort
from symgrad.lower.blocks import Block, is_by_bits
from symgrad.lower.program import Around, Program, leaves_of, statements
from symgrad.lower.program import bodies_of as all_bodies
from symgrad.lower.scalar import (
    COS_TURNED,
    GUARD,
    INDEX,
    INDEX_DIV,
    INDEX_MOD,
    LOAD,
    SIN_TURNED,
    loads,
)
from symgrad.lower.statement import Body, Buffer
from symgrad.lower.statements import Let, Loop, Store, While
from symgrad.lower.strides import is_costly, steps, word_of
from symgrad.lower.tuning import Tuning

_TREE_LIMIT = 16  # nodes spelled in one statement
_CALL = re.compile(r"\w@?\(")
_IN_WORKSPACE = ("work", "member", "local")  # local ones of long functions
# Parts of an index may meet in it and become the whole again.
_SPELLED = (LOAD, GUARD, INDEX_DIV, INDEX_MOD)


def name_values(program: Program, threads: int, tuning: Tuning) -> Program:
    """A `Let` for each value that is used twice, or long, before the first statement that needs it.

    It stands in the outermost body in which the value can be computed.
    """
    naming = _Naming(Values(program.body, program.buffers), tuning, program.buffers)
    return replace(program, body=naming.body(program.body, 0, 0))


class _Naming:
    """Puts names into bodies.

    names : the values that have one where the text has come to
    block : the block of lanes around, if any
    vector : whether a branch would keep the compiler from making a vector of the loop around
    """

    def __init__(self, values: Values, tuning: Tuning, buffers: Sequence[Buffer]) -> None:
        self.values, self.tuning, self.buffers = values, tuning, buffers
        self.names: dict[Expr, None] = {}
        self.block: Block | None = None
        self.vector = False

    def body(self, *body: Any) -> Body:
        """As `_run`; what is named there is not known behind it."""
        known = len(self.names)
        found = self._run(*body)
        while len(self.names) > known:
            self.names.popitem()
        return found

    def _run(self, body: Sequence[Any], depth: int, floor: int) -> Body:
        """Statements that stand in `depth` bodies, with names.

        floor : the depth of the innermost body around that may not run: what is computed there
            stands no further outside
        """
        found: list[Any] = []
        for s in body:
            for part in _evaluated(s):
                for node in self._missing(part, depth, floor):
                    self.names[node] = None
                    found.append(Let(node))
            once = () if isinstance(s, Loop) else self._missing(s, depth, floor, once=True)
            if isinstance(s, While):
                s = replace(s, values=tuple(once))
            else:
                once = [*once, *self._operand(s, once)] if isinstance(s, Store) else once
                found += [Let(node, once=True) for node in once]
            found.append(self._inside(s, depth, floor))
        return tuple(found)

    def _inside(self, s: Any, depth: int, floor: int) -> Any:
        if not isinstance(s, Loop):
            return s.with_bodies([self.body(b, depth + 1, depth + 1) for b in s.bodies()])
        known, first = len(self.names), len(s.body) - s.in_order
        outer = self.block, self.vector
        if s.lanes:
            self.block = Block(s, self.buffers)
        self.vector = self.vector or s.lanes > 0 or (s.simd and self.tuning.vectors)
        before, last = (self._run(b, depth + 1, floor) for b in (s.body[:first], s.body[first:]))
        while len(self.names) > known:
            self.names.popitem()
        self.block, self.vector = outer
        flush = self.body(s.flush, depth, floor)
        in_order = len(last) if s.in_order else 0
        return replace(s, body=(*before, *last), flush=flush, in_order=in_order)

    def _operand(self, s: Store, once: Sequence[Expr]) -> list[Expr]:
        """The right-hand side, where its text would stand in a bad place.

        A loop that adds up lanes vectorises no function calls; a branchless maximum names its
        operand three times.
        """
        if not s.value.args or s.value in self.names or s.value in once:
            return []
        if s.partial is not None and self.block is not None:
            nodes = toposort([s.value], {**self.names, **dict.fromkeys(once)})
            return [s.value] if any(map(_is_called, nodes)) else []
        apart = self.block is None or not self.block.meets(s)
        return [s.value] if self.vector and apart and is_by_bits(s) else []

    def _missing(self, s: Any, depth: int, floor: int, once: bool = False) -> Sequence[Expr]:
        """Values of this depth in a statement's expressions without a name, arguments first.

        once : those of one statement instead
        """
        values = self.values
        if once and not values.unsteady:
            return ()
        found: list[Expr] = []
        seen: set[Expr] = set()
        stack: list[tuple[Expr, bool]] = [(r, False) for r in reversed(s.exprs())]
        while stack:
            node, finished = stack.pop()
            if finished:
                found.append(node)
            elif node not in seen and node not in self.names:
                seen.add(node)
                if node in values.chosen and (node in values.unsteady) is once:
                    if once or max(values.depth[node], floor) == depth:
                        stack.append((node, True))
                stack.extend([(a, False) for a in reversed(node.args)])
        return found


def _evaluated(s: Any) -> Iterator[Any]:
    """A statement, or those that a loop has inside; what may not run is left out."""
    stack = [s]
    while stack:
        part = stack.pop()
        if isinstance(part, Loop):
            stack.extend(reversed(part.body))
        else:
            yield part


class Values:
    """What is known of the scalar expressions of a body.

    depth : the number of bodies around the outermost one in which an expression can stand
    index_depth : that of the body of each loop, by its variable
    chosen : expressions that become variables
    unsteady : those whose value may change between two statements that read them, since what they
        load is written again: as variables they live for one statement only
    """

    def __init__(self, body: Sequence[Any], buffers: Sequence[Buffer]) -> None:
        self.buffers = buffers
        self.depth: dict[Expr, int] = {}
        self.index_depth: dict[Expr, int] = {}
        self._uses: dict[Expr, int] = {}
        self._user_depth: dict[Expr, int] = {}
        self._forced: set[Expr] = set()
        self.unsteady: set[Expr] = set()
        roots = self._roots(body)
        order = toposort([root for root, _ in roots])
        self._find_depths(order)
        self._find_unsteady(order, body)
        for s in itertools.chain(*all_bodies(body)):
            if isinstance(s, Loop) and s.lanes:
                self._forced.update(_calls_apart(s, buffers))
            if isinstance(s, Loop) and (s.lanes or s.simd):
                self._forced.update(_still_loads(s, buffers))
        self._count_uses(order, roots)
        self.chosen: set[Expr] = set()
        self._choose(order)

    def _roots(self, body: Sequence[Any]) -> list[tuple[Expr, int]]:
        """The expressions that statements read, each with the depth of its body.

        That is 0 in a side of an `If` or the body of a `While`, apart from loops inside: nothing is
        hoisted out of these.
        """
        roots: list[tuple[Expr, int]] = []
        stack: list[tuple[Any, int, int]] = [(s, 0, 0) for s in reversed(body)]
        while stack:
            statement, depth, floor = stack.pop()
            if isinstance(statement, Loop):
                self.index_depth[statement.index] = depth + 1
                stack.extend((s, depth, floor) for s in reversed(statement.flush))
                stack.extend((s, depth + 1, floor) for s in reversed(statement.body))
                continue
            if isinstance(statement, While) and statement.index is not None:
                self.index_depth[statement.index] = depth + 1
            roots.extend((v, depth if depth > floor else 0) for v in statement.exprs())
            for inside in reversed(statement.bodies()):
                stack.extend((s, depth + 1, depth + 1) for s in reversed(inside))
        return roots

    def _find_depths(self, order: list[Expr]) -> None:
        if not self.index_depth:  # there are no loops
            self.depth = dict.fromkeys(order, 0)
            return
        for node in order:
            depth = self.index_depth.get(node, 0)
            for a in node.args:
                if self.depth[a] > depth:
                    depth = self.depth[a]
            if node.op is LOAD:
                home = self.buffers[node.attrs[0]].home
                if home is not None:
                    depth = max(depth, self.index_depth[home])
            self.depth[node] = depth

    def _find_unsteady(self, order: list[Expr], body: Sequence[Any]) -> None:
        """Values that depend on what branches write, and on what is written again elsewhere."""
        changing = _written_in_branches(body)
        anew = self._loads_that_change(body)
        for node in order if changing or anew else ():
            changes = node in anew or (node.op is LOAD and node.attrs[0] in changing)
            if changes or not self.unsteady.isdisjoint(node.args):
                self.unsteady.add(node)

    def _loads_that_change(self, body: Sequence[Any]) -> set[Expr]:
        """Loads of elements that their own statement or one behind writes, or a loop in each round.

        Elements are told apart by the text of their index.
        """
        last: dict[tuple[int, tuple[Expr, ...]], int] = {}
        inside: dict[int, set[int]] = {}  # by the id of a loop, what it writes
        writers: dict[int, int] = {}
        for position, (s, path) in enumerate(statements(body)):
            for access in s.touches():
                if access.writes:
                    number = access.buffer
                    last[self._place(number, access.index)] = position
                    writers[number] = writers.get(number, 0) + 1 + bool(path)
                    for loop in path:
                        inside.setdefault(id(loop), set()).add(number)
        several = {number for number, count in writers.items() if count > 1}
        found: set[Expr] = set()
        for position, (s, path) in enumerate(statements(body) if several else ()):
            for n in loads(s.exprs()):
                number = n.attrs[0]
                if number not in several or n in found:
                    continue
                if last.get(self._place(number, n.args), -1) >= position:
                    found.add(n)
                    continue
                for loop in path:  # out of which it would be hoisted
                    outside = self.depth[n] < self.index_depth[loop.index]
                    if outside and number in inside.get(id(loop), ()):
                        found.add(n)
        return found

    def _place(self, number: int, index: tuple[Expr, ...]) -> tuple[int, tuple[Expr, ...]]:
        return number, tuple(index[a] for a in self.buffers[number].kept_axes)

    def _count_uses(self, order: list[Expr], roots: list[tuple[Expr, int]]) -> None:
        """Uses outside guards, and the deepest body that uses each node."""
        uses, users, depths = self._uses, self._user_depth, self.depth
        for root, depth in roots:
            uses[root] = uses.get(root, 0) + 1
            users[root] = max(users.get(root, 0), depth)
        for node in reversed(order):
            args = node.args
            if not args or node not in uses:
                continue
            deepest = depths[node]
            if users[node] > deepest and not self._is_variable(node):
                deepest = users[node]
            doubled = _doubled(node.op, args[-1].dtype in FLOATS)
            if doubled:  # a load needs no variable to be read twice
                self._forced.update(args[k] for k in doubled if args[k].op is not LOAD)
            for a in args[:1] if node.op is GUARD else args:
                if a in uses:
                    uses[a] += 1
                    if users[a] < deepest:
                        users[a] = deepest
                else:
                    uses[a], users[a] = 1, deepest

    def _choose(self, order: list[Expr]) -> None:
        """Variables, also where the text would be too long without."""
        sizes: dict[Expr, int] = {}  # of the text, in nodes
        for node in order:
            size = 1
            for a in node.args:
                size += sizes[a]
            if size > _TREE_LIMIT and node in self._uses and node.op not in _SPELLED:
                self._forced.add(node)
            if self._is_variable(node):
                self.chosen.add(node)
                size = 1
            sizes[node] = size

    def _is_variable(self, node: Expr) -> bool:
        if not node.args or node not in self._uses:
            return False
        if node in self._forced:
            return True
        op = node.op
        if op is LOAD:
            return False
        if op.kind is Kind.LOWERED:
            if op not in (GUARD, SIN_TURNED, COS_TURNED):
                return False
        elif node.dtype == "int64" and op.cost <= 1 and all(map(_is_index, node.args)):
            return False
        if op.cost <= 0:
            return False
        if self._uses[node] > 1:
            return True
        return self.depth[node] < self._user_depth[node] and node not in self.unsteady


def _column(op: Op, is_float: bool) -> str:
    return (op.c if is_float or op.c_int is None else op.c_int) or ""


def _is_called(node: Expr) -> bool:
    """Whether C calls a function for a node of a vector, in which choices are functions."""
    if not node.args or node.op is GUARD:
        return False
    c = _column(node.op, node.args[-1].dtype in FLOATS)
    return _CALL.search(c) is not None or ("?" in c and node.dtype in FLOATS)


@functools.cache
def _doubled(op: Op, is_float: bool) -> tuple[int, ...]:
    """The operands that stand twice in the C of a row."""
    found = re.findall(r"\{(\d)\}", _column(op, is_float))
    return tuple(sorted({int(k) for k in found if found.count(k) > 1}))


def _written_in_branches(body: Sequence[Any]) -> set[int]:
    """The buffers that branches write, but for those that only one side of one uses.

    There that side is all that there is.
    """
    if not any(s.bodies() for s, _ in statements(body)):
        return set()
    writes: dict[int, set[Around]] = {}
    reads: dict[int, set[Around]] = {}
    for s, _, around in leaves_of(body):
        sides = tuple((outer, k) for outer, k in around if not isinstance(outer, Loop))
        for access in s.accesses:
            (writes if access.writes else reads).setdefault(access.buffer, set()).add(sides)

    def is_alone(sides: set[Around], number: int) -> bool:
        (side, *others) = sides
        return not others and all(other[: len(side)] == side for other in reads.get(number, ()))

    return {
        number for number, sides in writes.items() if any(sides) and not is_alone(sides, number)
    }


def _is_index(node: Expr) -> bool:
    return node.op in (INDEX, CONST) or (node.dtype == "int64" and node.op is not LOAD)


def _still_loads(loop: Loop, buffers: Sequence[Buffer]) -> Iterator[Expr]:
    """Loads of the same element in all rounds, beside calls that are worth a vector.

    Compilers may take a store for a change of that element, load it again at the end of each round,
    and make no vectors of the loop then: by what stands around it. So gcc does for parts of the
    workspace, which it cannot tell apart.
    """
    block = Block(loop, buffers)
    for body in all_bodies([loop]):
        nodes = toposort([v for s in body if not isinstance(s, Loop) for v in s.exprs()])
        if any(map(is_costly, nodes)):
            found = (n for n in nodes if n.op is LOAD and not block.moves(n))
            yield from (n for n in found if buffers[n.attrs[0]].role in _IN_WORKSPACE)


def _calls_apart(loop: Loop, buffers: Sequence[Buffer]) -> Iterator[Expr]:
    """Calls in lanes that need a loop of their own, and what stands in their operands.

    Compilers choose whether a loop with a branch, or the last rounds of one that does not walk
    through memory step by step in numbers of one length, are vectors: hence which function is
    called there.
    """
    word = word_of(loop)
    uneven: dict[Expr, bool] = {}

    def apart(number: int, index: tuple[Expr, ...]) -> bool:
        return not steps(loop.index, buffers[number], index, word)

    for s, _ in statements(loop.body):
        roots = s.exprs()
        for node in toposort(roots):
            if node in uneven:
                continue
            uneven[node] = (
                node.op is GUARD
                or any(uneven[a] for a in node.args)
                or (node.op is LOAD and apart(node.attrs[0], node.args))
            )
            if is_costly(node):
                yield from (a for a in node.args if uneven[a])
        jumps = isinstance(s, Store) and apart(s.buffer.number, s.index)
        seen: set[Expr] = set()
        stack = [r for r in roots if jumps or uneven[r]]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                if is_costly(node):
                    yield node
                stack.extend(node.args[:1] if node.op is GUARD else node.args)
