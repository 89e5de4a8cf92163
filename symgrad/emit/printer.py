"""Trees of C to text: the one place that knows semicolons, braces, brackets and indentation.

A new kind of node is a function here, registered for its class.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from symgrad.emit import tree as c

INDENT = "    "
SUFFIXES = {"float32": "f", "int32": "32"}  # of functions that exist for several types


def function_name(function: str, dtype: str) -> str:
    """The name of a function in its version for a dtype."""
    return function + SUFFIXES.get(dtype, "")


# ---- expressions ---------------------------------------------------------------------------------


def text(node: c.Expression) -> str:
    """An expression. It is as deep as what is spelled in one statement, so a few levels."""
    return _PRINT[type(node)](node)


def _inside(node: c.Expression, least: int) -> str:
    """An operand, in brackets if it binds less tightly than `least`."""
    found = _PRINT[type(node)](node)
    return found if node.level >= least else f"({found})"


def _binary(node: c.Binary) -> str:
    level = node.level
    return f"{_inside(node.left, level)} {node.op} {_inside(node.right, level + 1)}"


def _sum(node: c.Sum) -> str:
    out = " + ".join([_inside(term, c.PLUS) for term in node.terms])
    if not out:
        return str(node.constant)
    if node.constant:
        out += f" + {node.constant}" if node.constant > 0 else f" - {-node.constant}"
    return out


def _unary(node: c.Unary) -> str:
    operand = _inside(node.operand, c.UNARY)
    return f"{node.op}({operand})" if operand.startswith(node.op) else node.op + operand


def _conditional(node: c.Conditional) -> str:
    condition = _inside(node.condition, c.TERNARY + 1)
    return f"{condition} ? {text(node.then)} : {_inside(node.otherwise, c.TERNARY)}"


def _call(node: c.Call) -> str:
    name = function_name(node.function, node.dtype)
    return f"{name}({', '.join([text(a) for a in node.args])})"


_PRINT: dict[type[c.Expression], Callable[[Any], str]] = {
    c.Lit: lambda n: n.text,
    c.Name: lambda n: n.name,
    c.Index: lambda n: f"{n.array}[{text(n.index)}]",
    c.Group: lambda n: f"({text(n.inner)})",
    c.Pair: lambda n: f"({text(n.left)} +\n{text(n.right)})",
    c.Cast: lambda n: f"({n.ctype}){_inside(n.operand, c.UNARY)}",
    c.Sum: _sum,
    c.Binary: _binary,
    c.Unary: _unary,
    c.Conditional: _conditional,
    c.Call: _call,
}


# ---- statements ----------------------------------------------------------------------------------


def lines(body: Iterable[c.Statement], pad: str = INDENT) -> list[str]:
    """Statements as lines, each behind `pad`. They are as deep as loops are nested."""
    out: list[str] = []
    for statement in body:
        _print(statement, pad, out)
    return out


_LINES: dict[type[c.Statement], Callable[[Any], str]] = {
    c.Declare: lambda n: f"{'const ' * n.const}{n.ctype} {n.name} = {text(n.value)};",
    c.DeclareArray: lambda n: f"SG_ALIGNED {n.ctype} {n.name}[{n.size}]{' = {0}' * n.zero};",
    c.Mark: lambda n: n.text,
    c.Return: lambda n: f"return {n.status};",
    c.Do: lambda n: f"{text(n.call)};",
}


@functools.singledispatch
def _print(node: c.Statement, pad: str, out: list[str]) -> None:
    out.append(pad + _LINES[type(node)](node))


@_print.register(c.Assign)
def _assign(node: c.Assign, pad: str, out: list[str]) -> None:
    _marks(node.marks, pad, out)
    value = text(node.value).replace("\n", f"\n{pad}{INDENT}")
    out.append(f"{pad}{text(node.target)} {node.op} {value};")


@_print.register(c.For)
def _for(node: c.For, pad: str, out: list[str]) -> None:
    v = node.variable
    step = f"++{v}" if node.step is None else f"{v} += {node.step}"
    _marks(node.marks, pad, out)
    start, stop = text(node.start), _inside(node.stop, c.PLUS)
    out.append(f"{pad}for (ptrdiff_t {v} = {start}; {v} < {stop}; {step}) {{")
    _body(node.body, pad, out)


@_print.register(c.If)
def _if(node: c.If, pad: str, out: list[str]) -> None:
    out.append(f"{pad}if ({text(node.condition)}) {{")
    _body(node.body, pad, out)
    if node.orelse:
        out[-1] += " else {"
        _body(node.orelse, pad, out)


@_print.register(c.While)
def _while(node: c.While, pad: str, out: list[str]) -> None:
    if not node.before:
        out.append(f"{pad}while ({text(node.condition)}) {{")
        _body(node.body, pad, out)
        return
    inside = pad + INDENT
    out.append(f"{pad}for (;;) {{")
    out.extend(lines(node.before, inside))
    out.append(f"{inside}if (!({text(node.condition)})) {{")
    out.extend((f"{inside}{INDENT}break;", f"{inside}}}"))
    _body(node.body, pad, out)


@_print.register(c.Block)
def _block(node: c.Block, pad: str, out: list[str]) -> None:
    _marks(node.marks, pad, out)
    out.append(f"{pad}{{")
    _body(node.body, pad, out)


@_print.register(c.Together)
def _together(node: c.Together, pad: str, out: list[str]) -> None:
    for statement in node.body:
        _print(statement, pad, out)


def _marks(marks: Iterable[c.Mark | c.Call], pad: str, out: list[str]) -> None:
    out.extend(pad + (m.text if isinstance(m, c.Mark) else text(m)) for m in marks)


def _body(body: Iterable[c.Statement], pad: str, out: list[str]) -> None:
    """What stands in braces, and the closing one."""
    inside = pad + INDENT
    for statement in body:
        _print(statement, inside, out)
    out.append(f"{pad}}}")
