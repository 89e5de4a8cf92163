"""A graph as a short NumPy-like program with shapes: one line per shared or large node.

In: argument nodes and output nodes. Out: text. Small nodes that are used once stand inside their
user as long as the line stays readable. Broadcasting is NumPy's, so an operand shows only the new
axes that NumPy needs to see.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from symgrad.expr.node import ARRAY, CONST, EYE, IOTA, TUPLE, Expr, const_value
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort, users
from symgrad.inspect.matrix import argument_names
from symgrad.inspect.naming import control_names, is_counted, plain_name, short_number
from symgrad.inspect.spelling import window
from symgrad.ops.body import bodies, results
from symgrad.ops.checks import CHECK, CHECKED
from symgrad.ops.einsum import spell

WIDTH = 72  # of an expression
_OR, _COMPARE, _ADD, _MUL, _UNARY, _POW, _ATOM = range(7)

# Operators: level of the result, and the levels at which each operand stands without parentheses.
# fmt: off
_OPERATORS = {
    "add":           ("{} + {}",  _ADD,     (_ADD, _ADD)),
    "subtract":      ("{} - {}",  _ADD,     (_ADD, _MUL)),
    "multiply":      ("{} * {}",  _MUL,     (_MUL, _UNARY)),
    "divide":        ("{} / {}",  _MUL,     (_MUL, _UNARY)),
    "power":         ("{} ** {}", _POW,     (_ATOM, _UNARY)),
    "negative":      ("-{}",      _UNARY,   (_UNARY,)),
    "square":        ("{} ** 2",  _POW,     (_ATOM,)),
    "reciprocal":    ("1 / {}",   _MUL,     (_UNARY,)),
    "less":          ("{} < {}",  _COMPARE, (_ADD, _ADD)),
    "less_equal":    ("{} <= {}", _COMPARE, (_ADD, _ADD)),
    "greater":       ("{} > {}",  _COMPARE, (_ADD, _ADD)),
    "greater_equal": ("{} >= {}", _COMPARE, (_ADD, _ADD)),
    "equal":         ("{} == {}", _COMPARE, (_ADD, _ADD)),
    "not_equal":     ("{} != {}", _COMPARE, (_ADD, _ADD)),
    "logical_and":   ("{} & {}",  _OR,      (_ATOM, _ATOM)),
    "logical_or":    ("{} | {}",  _OR,      (_ATOM, _ATOM)),
    "logical_xor":   ("{} ^ {}",  _OR,      (_ATOM, _ATOM)),
    "logical_not":   ("~{}",      _UNARY,   (_ATOM,)),
}
_DTYPES = {"bool": "bool", "int32": "i32", "int64": "i64", "float32": "f32", "float64": "f64"}
# fmt: on

Text = tuple[str, int]  # an expression and its level


def type_text(node: Expr) -> str:
    """f64[3, 4], or f64 for a scalar; of several results all."""
    if node.dtype == TUPLE:
        return f"({', '.join(_type(*t) for t in results(node))})"
    return _type(node.shape, node.dtype)


def _type(shape: tuple[int, ...], dtype: str) -> str:
    dtype = _DTYPES[dtype]
    return f"{dtype}[{', '.join(map(str, shape))}]" if shape else dtype


class _Program:
    def __init__(
        self, args: Sequence[Expr], outs: Sequence[Expr], arg_names: Sequence[str] | None
    ) -> None:
        self.outs = list(outs)
        self.nodes = toposort(outs)
        self.names = {
            n: plain_name(name) for n, name in argument_names(args, self.nodes, arg_names).items()
        }
        self.uses: dict[Expr, int] = dict.fromkeys(self.nodes, 0)
        for o in outs:
            self.uses[o] += o.name == "broadcast"
        for node in reversed(self.nodes):  # a broadcast is no line: its uses are its operand's
            for a in node.args:
                self.uses[a] += self.uses[node] if node.name == "broadcast" else 1
        self.lines: list[tuple[str, str]] = []
        self.text: dict[Expr, Text] = {}
        left = {n: len(u) for n, u in users(self.nodes).items()}
        returned = set(outs)
        counter = 0
        taken = set(self.names.values())
        for node in self.nodes:
            text = self._spell(node)
            if node.op is CHECK and node.attrs[0] is not None:
                self.lines.append((f"if {self.bare(node.args[-1])}: {node.attrs[0]}", ""))
            if node.op.kind is Kind.CONTROL or self._assigned(node, text[0], returned):
                counter += 1
                while f"t{counter}" in taken:
                    counter += 1
                name = f"t{counter}"
                self.lines.append((f"{name} = {text[0]}", type_text(node)))
                self.lines += [(f"  {code}", note) for code, note in self._inside(node)]
                text = name, _ATOM
            self.text[node] = text
            for a in dict.fromkeys(node.args):
                left[a] -= 1
                if not left[a] and a not in returned:
                    del self.text[a]

    def _assigned(self, node: Expr, text: str, returned: set[Expr]) -> bool:
        if node in self.names or node.op in (CONST, EYE, IOTA) or node.name == "broadcast":
            return False
        if node.op.kind in (Kind.ITEM, Kind.CHECK):
            return False
        if node.op is ARRAY:
            return len(text) > 24
        uses = self.uses[node]
        if node in returned:
            return uses > 0 or len(text) > WIDTH
        if uses > 1:
            return True
        small = node.op.kind in (Kind.ELEMENTWISE, Kind.LINEAR) or node.ndim == 0
        return len(text) > (WIDTH * 2 // 3 if small else 24)

    # ---- one node ----------------------------------------------------------------------------

    def bare(self, node: Expr, level: int = _OR) -> str:
        """An operand's text, in parentheses if it holds together less than `level`."""
        text, own = self.text[node]
        return f"({text})" if own < level else text

    def full(self, node: Expr, level: int = _OR) -> str:
        """The same where NumPy would not broadcast by itself."""
        if node.op is CONST and node.ndim:
            return f"full({_tuple(node.shape)}, {self.text[node][0]})"
        if node.name == "broadcast":
            return f"broadcast_to({self.bare(node)}, {_tuple(node.shape)})"
        return self.bare(node, level)

    def _shown(self, node: Expr) -> tuple[int, ...]:
        """The shape of what is printed for an operand: broadcasts show without repetition."""
        if node.op is CONST:
            return ()
        if node.name == "broadcast":
            return tuple(n if k in node.attrs[1] else 1 for k, n in enumerate(node.shape))
        return node.shape

    def _spell(self, node: Expr) -> Text:
        row = node.op
        if node in self.names:
            return self.names[node], _ATOM
        if row is CONST:
            number = short_number(const_value(node))
            if node.dtype == "bool":
                return number.capitalize(), _ATOM
            return number, _UNARY if number[0] == "-" else _ATOM
        if row is ARRAY:
            values = node.attrs[0].array
            if values.size <= 6:
                return f"array({np.array2string(values, separator=', ')})".replace("\n", ""), _ATOM
            return f"frozen({values.dtype}, {_tuple(values.shape)})", _ATOM
        if row is EYE:
            return f"eye({node.attrs[0]})", _ATOM
        if row is IOTA:
            return f"arange({node.attrs[0]})", _ATOM
        if row.kind is Kind.ELEMENTWISE:
            return self._elementwise(node)
        spelling = _STRUCTURE.get(node.name)
        if spelling is not None:
            return spelling(self, node)
        if row.kind is Kind.ITEM:
            which = control_names(node.args[0])[1][node.attrs[0]]
            return f"{self.bare(node.args[0])}.{which}", _ATOM
        if row.kind is Kind.CONTROL:
            return self._control(node), _ATOM
        if row is CHECKED:
            return self.text[node.args[0]]
        if row is CHECK:  # its line says what it is; the value is 0
            return "0", _ATOM
        parts = [self.full(a) for a in node.args]
        for key, value in zip(row.attr_names, node.attrs, strict=False):
            if key == "axes":
                key, value = "axis", value[0] if len(value) == 1 else value
                if len(node.attrs[0]) == node.args[0].ndim and node.ndim == 0:
                    continue
            if value is not False:
                parts.append(f"{key}={_tuple(value) if isinstance(value, tuple) else value}")
        return f"{node.name}({', '.join(parts)})", _ATOM

    # ---- bodies ----

    def _control(self, node: Expr) -> str:
        """The first line of a loop or a switch: how many rounds, and what its bodies get."""
        first = 1 if node.name == "switch" or is_counted(node) else 0
        names = control_names(node)[0]
        rows = len(names)
        if "carry" in node.op.attr_names:
            rows = node.attr("consts") + node.attr("carry")
        given = [
            f"{n} {'in' if k >= rows else '='} {self.full(a)}"
            for k, (n, a) in enumerate(zip(names, node.args[first:], strict=True))
        ]  # fmt: skip
        return f"{self._title(node)} with {', '.join(given)}:" if given else f"{self._title(node)}:"

    def _title(self, node: Expr) -> str:
        if node.name == "switch":
            return f"switch({self.full(node.args[0])})"
        if node.name == "branch":
            return f"branch({self.full(node.args[0])})"
        if node.name == "while":
            limit = node.attr("limit")
            return "while" if limit is None else f"while, at most {limit} rounds,"
        rounds = f"scan of {node.attr('length')} rounds"
        if is_counted(node):
            rounds = f"scan of the first {self.full(node.args[0])} of {node.attr('length')} rounds"
        return f"{rounds} backwards" if node.attr("reverse") else rounds

    def _inside(self, node: Expr) -> list[tuple[str, str]]:
        """The lines of its bodies."""
        if node.op.kind is not Kind.CONTROL:
            return []
        names, found = control_names(node)
        lines: list[tuple[str, str]] = []
        for k, body in enumerate(bodies(node)):
            inner = _Program(body.params, body.outs, names)
            values = [inner.full(o) for o in body.outs]
            if node.name == "switch":
                lines.append((f"{k}:", ""))
                lines += [(f"  {code}", note) for code, note in inner.lines]
                lines.append((f"  return {', '.join(values)}", ""))
                continue
            lines += inner.lines
            if node.name == "while" and k == 0:
                lines.append((f"while {values[0]}", ""))
                continue
            stacked = [n for n in found if n != "rounds"]
            lines.append((f"{', '.join(stacked)} = {', '.join(values)}", ""))
        return lines

    def _elementwise(self, node: Expr) -> Text:
        # NumPy must reach the node's shape from what is printed; else one operand is spelled out.
        shapes = [self._shown(a) for a in node.args]
        enough = np.broadcast_shapes(*shapes) == node.shape
        read: Callable[..., str] = self.bare if enough else self.full
        operator = _OPERATORS.get(node.name)
        if operator is None:
            name = "where" if node.name == "select" else node.name
            first = [read(node.args[0])] + [self.bare(a) for a in node.args[1:]]
            return f"{name}({', '.join(first)})", _ATOM
        template, level, levels = operator
        parts = [self.bare(a, lv) for a, lv in zip(node.args, levels, strict=True)]
        if not enough:
            parts[0] = self.full(node.args[0], levels[0])
        return template.format(*parts), level


def _tuple(values: Any) -> str:
    return f"({values[0]},)" if len(values) == 1 else f"({', '.join(map(str, values))})"


# ---- operations with a spelling of their own ---------------------------------------------------


def _broadcast(p: _Program, node: Expr) -> Text:
    x = node.args[0]
    shape, dims = node.attrs
    if not dims:
        return p.text[x]
    first = dims[0]
    axes = [":" if k in dims else "None" for k in range(first, len(shape))]
    if all(a == ":" for a in axes):
        return p.text[x]
    return f"{p.bare(x, _ATOM)}[{', '.join(axes)}]", _ATOM


def _slice(p: _Program, node: Expr) -> Text:
    return f"{p.full(node.args[0], _ATOM)}[{window(node.args[0].shape, *node.attrs)}]", _ATOM


def _permute(p: _Program, node: Expr) -> Text:
    x = p.full(node.args[0], _ATOM)
    return (f"{x}.T" if node.ndim == 2 else f"transpose({x}, {_tuple(node.attrs[0])})"), _ATOM


def _reshape(p: _Program, node: Expr) -> Text:
    return f"reshape({p.full(node.args[0])}, {_tuple(node.shape)})", _ATOM


def _convert(p: _Program, node: Expr) -> Text:
    return f"{node.dtype}({p.full(node.args[0])})", _ATOM


def _concat(p: _Program, node: Expr) -> Text:
    axis = f", axis={node.attrs[0]}" if node.attrs[0] else ""
    return f"concatenate([{', '.join(p.full(a) for a in node.args)}]{axis})", _ATOM


def _gather(p: _Program, node: Expr) -> Text:
    x, index = node.args
    return f"{p.full(x, _ATOM)}[{':, ' * node.attrs[0]}{p.full(index)}]", _ATOM


def _select_axes(p: _Program, node: Expr) -> Text:
    x, axes = node.args[0], node.attrs[0]
    where = "" if len(axes) == x.ndim else f", axis={axes[0] if len(axes) == 1 else _tuple(axes)}"
    return f"{node.name}({p.full(x)}{where})", _ATOM


def _einsum(p: _Program, node: Expr) -> Text:
    inputs, output = node.attrs
    if len(inputs) == 2:
        found = _product(p, node.args, inputs, output)
        if found is not None:
            return found
    factors = ", ".join(p.full(a) for a in node.args)
    if max(k for labels in inputs for k in labels) < 26:
        return f'einsum("{spell(inputs, output)}", {factors})', _ATOM
    parts = [f"{p.full(a)}, {list(labels)}" for a, labels in zip(node.args, inputs, strict=True)]
    return f"einsum({', '.join(parts)}, {list(output)})", _ATOM


def _product(p: _Program, args: Any, inputs: Any, output: Any) -> Text | None:
    """`a @ b` or `outer(a, b)` where the labels say that."""
    (a, b), (la, lb) = args, inputs
    if len(la) == len(lb) == 1 and la != lb and len(output) == 2:
        x, y = (a, b) if output == (la[0], lb[0]) else (b, a)
        return f"outer({p.full(x)}, {p.full(y)})", _ATOM
    shared = set(la) & set(lb)
    if not (1 <= len(la) <= 2 and 1 <= len(lb) <= 2) or len(shared) != 1 or shared & set(output):
        return None
    k = shared.pop()
    for (x, lx), (y, ly) in (((a, la), (b, lb)), ((b, lb), (a, la))):
        rest = tuple(c for c in lx if c != k) + tuple(c for c in ly if c != k)
        if rest == output and len(rest) == len(lx) + len(ly) - 2:
            left = p.full(x, _MUL) if lx[-1] == k else p.full(x, _ATOM) + ".T"
            right = p.full(y, _UNARY) if ly[0] == k else p.full(y, _ATOM) + ".T"
            return f"{left} @ {right}", _MUL
    return None


_STRUCTURE: dict[str, Callable[[_Program, Expr], Text]] = {
    "broadcast": _broadcast,
    "slice": _slice,
    "permute": _permute,
    "reshape": _reshape,
    "convert": _convert,
    "concat": _concat,
    "gather": _gather,
    "einsum": _einsum,
    **dict.fromkeys(("sum", "max", "min", "prod", "any", "all"), _select_axes),
}


def listing(
    args: Sequence[Expr],
    outs: Sequence[Expr],
    arg_names: Sequence[str] | None = None,
    out_names: Sequence[str] | None = None,
    name: str = "f",
    limit: int = 200,
) -> str:
    """The graph as a program; of more than `limit` lines the middle is left out.

    ::

        f(X: f64[569, 30], y: f64[569], w: f64[30]) -> f64[30]:
          t1 = X @ w - y    # f64[569]
          return X.T @ t1
    """
    program = _Program(args, outs, arg_names)
    listed = [f"{program.names[a]}: {type_text(a)}" for a in args]
    result = ", ".join(type_text(o) for o in outs)
    result = result if len(outs) == 1 else f"({result})"
    head = f"{plain_name(name)}({', '.join(listed)}) -> {result}:"
    lines = program.lines
    gone = max(len(lines) - limit, 0)
    first = limit * 2 // 3
    kept = lines if not gone else [*lines[:first], *lines[first + gone :]]
    column = min(max((len(code) for code, _ in kept), default=0), WIDTH // 2)
    body = [f"  {code.ljust(column)}  # {note}" if note else f"  {code}" for code, note in kept]
    if gone:
        body.insert(first, f"  … {gone} lines left out …")
    values = [program.full(o) for o in outs]
    if out_names is not None:
        values = [f"{plain_name(n)}={v}" for n, v in zip(out_names, values, strict=True)]
    last = f"  return {', '.join(values)}"
    if len(last) > 100:
        last = "  return (\n" + "".join(f"    {v},\n" for v in values) + "  )"
    return "\n".join([head, *body, last])
