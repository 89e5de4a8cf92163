"""The syntax tree of a function that exists: found by its code object, and proved to be its own.

In: a code object. Out: the tree of the `def` or `lambda` it was compiled from, with what encloses
it, or None. Nothing is taken on trust: the statement around the function is compiled again, and the
code that this gives must equal the function's. A file that was changed after it was imported, a
cell that was run again, two lambdas on one line: all of these are told apart by that.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import linecache
import types
from collections.abc import Iterator
from typing import NamedTuple

from symgrad.forks import ForkSafeLock
from symgrad.trace.source.typed import candidates

FunctionNode = ast.FunctionDef | ast.Lambda

_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
_FUTURES = __future__.annotations.compiler_flag

_FILES: dict[str, tuple[list[str], ast.Module]] = {}  # the last lines of a file that were parsed
_LOCK = ForkSafeLock()
_MOST_FILES = 64


class Found(NamedTuple):
    """A function's tree, and the names of the classes and functions around it, outermost first."""

    node: FunctionNode
    inside: tuple[ast.AST, ...]
    flags: int  # of the compiler, from ``from __future__ import``


def find(code: types.CodeType) -> Found | None:
    """The tree of `code`, None where its source is not at hand or is another one by now."""
    if code.co_flags & _COROUTINE or code.co_name in ("<module>", "<genexpr>", "<listcomp>"):
        return None
    found = _within(_module(code.co_filename), code)
    if found is None and code.co_filename in linecache.cache:
        linecache.checkcache(code.co_filename)  # what was read long ago may be another text by now
        found = _within(_module(code.co_filename), code)
    if found is None and code.co_filename.startswith("<"):
        for lines in candidates(code):
            found = _within(_parsed(lines, code.co_filename), code)
            if found is not None:
                break
    return found


def _within(tree: ast.Module | None, code: types.CodeType) -> Found | None:
    if tree is None:
        return None
    flags = code.co_flags & _FUTURES
    for statement in tree.body:
        if _first(statement) <= code.co_firstlineno <= (statement.end_lineno or 0):
            candidates = list(_candidates(statement, code))
            if not candidates:
                return None
            twins = _same(tree, statement, code, flags)
            if not twins:
                return None
            if len(candidates) > 1:
                candidates = [c for c in candidates if _holds(c[0], twins[-1])]
            if len(candidates) != 1:
                return None
            return Found(*candidates[0], flags)
    return None


def _module(filename: str) -> ast.Module | None:
    lines = linecache.getlines(filename)
    if not lines:
        return None
    known = _FILES.get(filename)
    if known is not None and known[0] is lines:
        return known[1]
    tree = _parsed(lines, filename)
    if tree is None:
        return None
    with _LOCK.held():
        if len(_FILES) >= _MOST_FILES:
            _FILES.clear()
        _FILES[filename] = (lines, tree)
    return tree


def _parsed(lines: list[str], filename: str) -> ast.Module | None:
    try:
        return ast.parse("".join(lines), filename)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _first(node: ast.AST) -> int:
    """The line of a definition as code objects have it: that of its first decorator."""
    decorators = getattr(node, "decorator_list", None)
    return min([node.lineno, *[d.lineno for d in decorators or ()]])  # type: ignore[attr-defined]


def _candidates(
    statement: ast.AST, code: types.CodeType
) -> Iterator[tuple[FunctionNode, tuple[ast.AST, ...]]]:
    """Functions below a statement that begin where `code` does and have its name."""
    stack: list[tuple[ast.AST, tuple[ast.AST, ...]]] = [(statement, ())]
    while stack:
        node, inside = stack.pop()
        if isinstance(node, ast.Lambda):
            if code.co_name == "<lambda>" and node.lineno == code.co_firstlineno:
                yield node, inside
            inside = (*inside, node)
        elif isinstance(node, ast.FunctionDef):
            if code.co_name == node.name and _first(node) == code.co_firstlineno:
                yield node, inside
            inside = (*inside, node)
        elif isinstance(node, ast.ClassDef | ast.AsyncFunctionDef):
            inside = (*inside, node)
        stack.extend((child, inside) for child in ast.iter_child_nodes(node))


def _same(
    tree: ast.Module, statement: ast.stmt, code: types.CodeType, flags: int
) -> list[types.CodeType]:
    """The code objects of a statement that equal `code`; those with its columns, if there are.

    Modules are compiled as a whole, cells of notebooks statement by statement.
    """
    for imports in (_imports(tree), []):
        found = _compiled(imports, statement, code, flags)
        equal = [c for c in found if c == code or _rewritten(c, code)]
        exact = [c for c in equal if c.co_linetable == code.co_linetable]
        if equal:
            return exact or equal
    return []


def _imports(tree: ast.Module) -> list[ast.stmt]:
    """The imports of a module: the compiler calls attributes of imported names otherwise."""
    found: list[ast.stmt] = []
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            if getattr(node, "module", "") != "__future__":
                found.append(node)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            stack.extend(ast.iter_child_nodes(node))
    return found


def _compiled(
    imports: list[ast.stmt], statement: ast.stmt, code: types.CodeType, flags: int
) -> list[types.CodeType]:
    """The code objects inside a statement behind imports, compiled once for each statement."""
    known: dict[tuple[int, bool], list[types.CodeType]] = statement.__dict__.setdefault(
        "_symgrad_codes", {}
    )
    key = flags, bool(imports)
    if key in known:
        return known[key]
    try:
        module = ast.Module([*imports, statement], [])
        stack = [compile(module, code.co_filename, "exec", flags, dont_inherit=True)]
    except (SyntaxError, ValueError, RecursionError):
        return []
    codes: list[types.CodeType] = []
    while stack:
        inner = [c for c in stack.pop().co_consts if isinstance(c, types.CodeType)]
        stack += inner
        codes += inner
    known[key] = codes
    return codes


def _rewritten(found: types.CodeType, code: types.CodeType) -> bool:
    """Whether `code` is `found` but for what pytest puts into functions with an assert."""
    return (
        any(name.startswith("@py") for name in (*code.co_varnames, *code.co_names))
        or any(isinstance(c, types.CodeType) and _asserts(c) for c in code.co_consts)
    ) and (found.co_name, found.co_firstlineno, found.co_argcount, found.co_freevars) == (
        code.co_name,
        code.co_firstlineno,
        code.co_argcount,
        code.co_freevars,
    )


def _asserts(code: types.CodeType) -> bool:
    if any(name.startswith("@py") for name in (*code.co_varnames, *code.co_names)):
        return True
    return any(isinstance(c, types.CodeType) and _asserts(c) for c in code.co_consts)


def _holds(node: FunctionNode, code: types.CodeType) -> bool:
    """Whether all instructions of `code` stand inside `node`; RESUME and the like have no place."""
    low = (node.lineno, node.col_offset)
    high = (node.end_lineno or 0, node.end_col_offset or 0)
    for line, end, column, end_column in code.co_positions():
        if line is None or end is None or column is None or end_column is None:
            continue
        if (column, end_column) == (0, 0):
            continue
        if not (low <= (line, column) and (end, end_column) <= high):
            return False
    return True
