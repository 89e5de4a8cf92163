"""Graphs as SymPy expressions, exact in form: for reading, checking and further algebra.

Small arrays are expanded into their elements; a scalar of large arrays becomes `Sum`s over indices.
This is the only module that imports SymPy, inside its functions, so that `import symgrad` is
light. SymPy's matrix derivatives are wrong in places, so matrices here are always explicit.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from symgrad.errors import UnsupportedError
from symgrad.expr.node import ARG, ARRAY, CONST, EYE, IOTA, Expr, const_value
from symgrad.expr.op import OPS, Kind
from symgrad.expr.walk import toposort
from symgrad.inspect.matrix import argument_names
from symgrad.inspect.sympy_readers import READERS, Index, Reads
from symgrad.ops.body import bodies, written_out

LARGEST_ARRAY = 64  # elements; larger ones are not expanded unless asked for
MOST_OPERATIONS = 20_000
MOST_ROUNDS = 1_000


# Rows whose spelling holds only where SymPy's complex function and NumPy's real one agree.
_EXACT = {"cbrt": "sign(a)*cbrt(Abs(a))", "convert": "a"}


@functools.cache
def spelling(op: str) -> tuple[Any, tuple[Any, ...]]:
    """A row's SymPy column, parsed once, and its variables."""
    import sympy

    text = _EXACT.get(op, OPS[op].sympy)
    if text is None:
        raise UnsupportedError(f"to_sympy: {op} has no SymPy spelling")
    variables = sympy.symbols("a b c", real=True)
    names = dict(zip("abc", variables, strict=True))
    if op == "logical_not" or op.startswith("logical_") or op == "select":
        names = {k: sympy.Symbol(k) for k in "abc"}
        variables = tuple(names.values())
    return sympy.sympify(text, locals=names), variables


def to_sympy(
    args: Sequence[Expr],
    outs: Sequence[Expr],
    arg_names: Sequence[str] | None = None,
    expand: bool | None = None,
) -> Any:
    """SymPy expressions of `outs`; one output gives it directly, several give a list.

    Scalar arguments become real symbols, array arguments `IndexedBase`s. Rank 0 gives a scalar
    expression, rank 2 a `Matrix`, other ranks an `Array`. With `expand=None` arrays of up to 64
    elements are written out; if a larger one occurs, scalars use `Sum`.

    Raises
    ------
    UnsupportedError
        The graph is too large to write out, or an operation has no SymPy form.
    """
    nodes = toposort(outs)
    if expand is None:
        expand = all(n.size <= LARGEST_ARRAY for n in nodes)
    if not expand and any(o.ndim and o.size > LARGEST_ARRAY for o in outs):
        shapes = [o.shape for o in outs]
        raise UnsupportedError(
            f"to_sympy: results of shapes {shapes} have too many elements; at most "
            f"{LARGEST_ARRAY} are written out. Pass a smaller example, or expand=True."
        )
    writer = Writer(argument_names(args, nodes, arg_names), bool(expand))
    if expand:
        work = sum(_work(n) for n in nodes)
        if work > MOST_OPERATIONS:
            raise UnsupportedError(
                f"to_sympy: {work} scalar operations; at most {MOST_OPERATIONS} are written out. "
                "Pass smaller arrays."
            )
    try:
        results = [writer.output(o) for o in outs]
    except RecursionError:
        raise UnsupportedError(
            f"to_sympy: expressions of {len(nodes)} operations nest deeper than SymPy can follow"
        ) from None
    return results[0] if len(results) == 1 else results


def _work(node: Expr) -> int:
    """Scalar operations of a node that is written out."""
    if node.name == "einsum":
        size: dict[int, int] = {}
        for x, labels in zip(node.args, node.attrs[0], strict=True):
            size.update(zip(labels, x.shape, strict=True))
        count = len(node.args)
        for n in size.values():
            count *= n
        return count
    return max([node.size, *(a.size for a in node.args)]) if node.args else 0


class Writer:
    """Elements of nodes as SymPy expressions, each made once, without Python recursion."""

    def __init__(self, names: dict[Expr, str], expand: bool) -> None:
        import sympy

        self.sp = sympy
        self.expand = expand
        self.names = names
        self.known: dict[tuple[Expr, Index], Any] = {}
        self.count = 0
        taken = set(names.values())
        spare = (f"{c}{n}" for n in itertools.count() for c in "ijk")
        self.letters = (c for c in itertools.chain("ijklmnpq", spare) if c not in taken)
        self.symbols: dict[Expr, Any] = {}
        for node, name in names.items():
            if node.ndim:
                self.symbols[node] = sympy.IndexedBase(name, shape=node.shape, real=True)
            else:
                self.symbols[node] = sympy.Symbol(name, **assumptions(node))

    def output(self, node: Expr) -> Any:
        if not node.ndim:
            return self.element(node, ())
        flat = [self.element(node, index) for index in np.ndindex(node.shape)]
        if node.ndim == 2:
            return self.sp.ImmutableDenseMatrix(*node.shape, flat)
        return self.sp.Array(flat, node.shape)

    def element(self, node: Expr, index: Index) -> Any:
        """The element of `node` at `index`, whose entries are numbers or index symbols."""
        stack: list[tuple[tuple[Expr, Index], Reads]] = []
        wanted: tuple[Expr, Index] | None = (node, index)
        value: Any = None
        while True:
            if wanted is not None:
                if wanted in self.known:
                    value, wanted = self.known[wanted], None
                    if not stack:
                        return value
                else:
                    self.count += 1
                    if self.count > 8 * MOST_OPERATIONS:
                        raise UnsupportedError("to_sympy: too many elements to write out")
                    stack.append((wanted, self._read(*wanted)))
                    value, wanted = None, None
            key, reads = stack[-1]
            try:
                wanted = reads.send(value)
                value = None
            except StopIteration as stop:
                self.known[key] = value = stop.value
                stack.pop()
                if not stack:
                    return value

    def fresh(self, size: int) -> tuple[Any, tuple[Any, int, int]]:
        """A new summation index and its range."""
        symbol = self.sp.Symbol(next(self.letters), integer=True, nonnegative=True)
        return symbol, (symbol, 0, size - 1)

    # ---- one element -------------------------------------------------------------------------

    def _read(self, node: Expr, index: Index) -> Reads:
        row = node.op
        sp = self.sp
        if row is ARG:
            symbol = self.symbols[node]
            return symbol[index] if index else symbol
        if row is CONST:
            return self._number(const_value(node))
        if row is ARRAY:
            if not all(isinstance(i, int) for i in index):
                raise UnsupportedError("to_sympy: a captured array under a symbolic index")
            return self._number(node.attrs[0].array[index])
        if row is EYE:
            return sp.KroneckerDelta(*index)
        if row is IOTA:
            return sp.sympify(index[0])
        if row.kind is Kind.ELEMENTWISE:
            values = []
            for a in node.args:
                values.append((yield a, index))
            expression, variables = spelling(node.name)
            return expression.xreplace(dict(zip(variables, values, strict=False)))
        if row.kind is Kind.ITEM:
            return (yield from self._result(node, index))
        reader = READERS.get(node.name)
        if reader is not None:
            return (yield from reader(self, node, index))
        if row.kind in (Kind.COMPOSITE, Kind.LINEAR) and row.expand is not None:
            return (yield row.expand(node.args, node.attrs), index)
        raise UnsupportedError(
            f"to_sympy: {node.name} of shape {node.shape} has no SymPy form"
            + ("" if self.expand else " under a symbolic index; pass expand=True or smaller arrays")
        )

    def _result(self, item: Expr, index: Index) -> Reads:
        """An element of a result of a switch, case by case; of a loop, written out."""
        node, k = item.args[0], item.attrs[0]
        if node.name == "switch":
            sides = [b.open(node.args[1:])[k] for b in bodies(node)]
            choice = node.args[0]
            is_decision = choice.name == "convert" and choice.args[0].dtype == "bool"
            which = yield (choice.args[0] if is_decision else choice), ()
            cases = []
            for side, opened in enumerate(sides):
                value = yield opened, index
                last = side == len(sides) - 1
                told = self.sp.Not(which) if is_decision else which <= side
                cases.append((value, True if last else told))
            return self.sp.Piecewise(*cases)
        if "length" not in node.op.attr_names or node.attr("counted"):
            raise UnsupportedError(
                f"to_sympy: a {node.name} whose number of rounds is not known has no SymPy form; "
                "to read it, print the graph"
            )
        work = node.attr("length") * sum(_work(n) for b in bodies(node) for n in b.nodes)
        if work > MOST_OPERATIONS or node.attr("length") > MOST_ROUNDS:
            raise UnsupportedError(
                f"to_sympy: a loop of {node.attr('length')} rounds has {work} scalar operations; "
                f"at most {MOST_ROUNDS} rounds and {MOST_OPERATIONS} operations are written out. "
                "Take fewer rounds; to read the loop, print the graph"
            )
        return (yield written_out(node)[k], index)

    def _number(self, value: Any) -> Any:
        sp = self.sp
        if value.dtype.kind == "b":
            return sp.true if value else sp.false
        if value != value:
            return sp.nan
        if value in (np.inf, -np.inf):
            return sp.oo if value > 0 else -sp.oo
        return sp.Integer(int(value)) if value == int(value) else sp.Float(float(value))

    def choose(self, condition: Any, a: Any, b: Any) -> Any:
        """a where condition, else b."""
        return self.sp.Piecewise((a, condition), (b, True))

    def whole(self, node: Expr) -> Reads:
        """All elements of a node of known size, as an object array."""
        if node.size > MOST_OPERATIONS:
            raise UnsupportedError(f"to_sympy: {node.name} of shape {node.shape} is too large")
        out = np.empty(node.shape, dtype=object)
        for index in np.ndindex(node.shape):
            out[index] = yield node, index
        return out


def assumptions(node: Expr) -> dict[str, bool]:
    if node.dtype == "bool":
        return {}
    return {"integer": True} if node.dtype.startswith("int") else {"real": True}
