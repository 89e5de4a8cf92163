"""Clones of user functions: the same functions, compiled from their rewritten source.

A clone has its original's globals, cells, defaults and lines; only its code is another one, kept
for each code object of the original. The functions that rewritten code calls reach it as further
cells. Where no source is at hand, or none that is provably the function's, there is no clone.

Which functions are entered: those of the user's own modules. Not entered are the standard library,
installed packages (but the one to which the traced function belongs) and symgrad itself.
"""

from __future__ import annotations

import ast
import copy
import types
import weakref
from typing import Any

from symgrad.forks import ForkSafeLock
from symgrad.trace.source.blocks import PREFIX
from symgrad.trace.source.reading import Found, find
from symgrad.trace.source.rewrite import Rewriter

RUNTIME: dict[str, Any] = {}  # what rewritten code calls, by name; filled by the other modules


# By code object: what it becomes, False if there is no source, True if it is rewritten already.
_REWRITTEN: dict[int, tuple[weakref.ref[types.CodeType], types.CodeType | bool]] = {}
_LOCK = ForkSafeLock()


def clone(f: types.FunctionType) -> types.FunctionType | None:
    """`f` with its source rewritten; `f` itself if it is a clone; None without source."""
    found = _REWRITTEN.get(id(f.__code__))
    code = found[1] if found is not None else _make(f)
    if isinstance(code, bool):
        return f if code else None
    cells = dict(zip(f.__code__.co_freevars, f.__closure__ or (), strict=True))
    closure = tuple([cells.get(n) or _CELLS[n] for n in code.co_freevars])
    new = types.FunctionType(code, f.__globals__, f.__name__, f.__defaults__, closure)
    new.__kwdefaults__ = f.__kwdefaults__
    return new


class _Cells(dict[str, types.CellType]):
    """The cells by which rewritten code reaches the run time."""

    def __missing__(self, name: str) -> types.CellType:
        cell = self[name] = types.CellType(RUNTIME[name.removeprefix(PREFIX)])
        return cell


_CELLS = _Cells()


def _make(f: types.FunctionType) -> types.CodeType | bool:
    code = f.__code__
    with _LOCK.held():
        known = _REWRITTEN.get(id(code))
        if known is not None:
            return known[1]
        try:
            new = _rewritten(f)
        except (SyntaxError, ValueError, RecursionError):  # too deep for the compiler
            new = None
        if new is not None:
            for inner in _nested(new):
                _keep(inner, True)
        return _keep(code, new or False)


def _keep(code: types.CodeType, new: types.CodeType | bool) -> types.CodeType | bool:
    key, table = id(code), _REWRITTEN  # a module's names are gone before its objects are
    table[key] = (weakref.ref(code, lambda _: table.pop(key, None)), new)
    return new


def _nested(code: types.CodeType) -> list[types.CodeType]:
    found = [code]
    for current in found:
        found += [c for c in current.co_consts if isinstance(c, types.CodeType)]
    return found


def _rewritten(f: types.FunctionType) -> types.CodeType | None:
    code = f.__code__
    found = find(code)
    if found is None or any(n.startswith(PREFIX) for n in (*code.co_names, *code.co_varnames)):
        return None
    names = frozenset(n for c in _nested(code) for n in c.co_names)
    modules = frozenset(n for n in names if isinstance(f.__globals__.get(n), types.ModuleType)) - {
        n for c in _nested(code) for n in (*c.co_varnames, *c.co_cellvars)
    }
    module = ast.Module([_enclosed(found, code, Rewriter(modules))], [])
    ast.fix_missing_locations(module)
    compiled = compile(module, code.co_filename, "exec", found.flags, dont_inherit=True)
    new = _nested(compiled)
    chosen = next(c for c in new[2:] if c.co_name == code.co_name)
    return chosen.replace(co_qualname=code.co_qualname)


def _enclosed(found: Found, code: types.CodeType, rewriter: Rewriter) -> ast.FunctionDef:
    """The rewritten function inside one whose variables are all that it gets by cells.

    Methods stand in a class of their class's name, which spells their private names.
    """
    node = copy.deepcopy(found.node)
    node.args.defaults, node.args.kw_defaults = [], [None] * len(node.args.kwonlyargs)
    for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs,
                     node.args.vararg, node.args.kwarg):  # fmt: skip
        if argument is not None:
            argument.annotation = None
    statement: ast.stmt
    if isinstance(node, ast.FunctionDef):
        node.decorator_list, node.returns = [], None
        node.lineno = code.co_firstlineno  # of a decorator; lines are counted from there
        statement = rewriter.visit(node)
    else:
        statement = ast.copy_location(ast.Expr(rewriter.visit(node)), node)
    classes = [c.name for c in found.inside if isinstance(c, ast.ClassDef)]
    if classes:
        statement = ast.ClassDef(classes[-1], [], [], [statement], [])
    cells = [*code.co_freevars, *(PREFIX + n for n in RUNTIME)]
    arguments = ast.arguments([], [ast.arg(n) for n in cells], None, [], [], None, [])
    body = [statement]
    own = classes[-1] if classes else getattr(node, "name", None)
    if own is not None and own not in code.co_freevars:
        body.insert(0, ast.Global([own]))  # what a function or its class is called is no cell
    outer = ast.FunctionDef(PREFIX + "outer", arguments, body, [])
    return ast.copy_location(outer, found.node)
