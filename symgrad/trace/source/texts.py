"""``eval`` of an expression that is text: rewritten as the code around it is."""

from __future__ import annotations

import ast
import builtins
import functools
import sys
import types
from collections.abc import Mapping
from typing import Any

from symgrad.trace.source.blocks import PREFIX
from symgrad.trace.source.calls import call
from symgrad.trace.source.clones import RUNTIME
from symgrad.trace.source.rewrite import LOOKS_AT_FRAMES, Rewriter

# What makes a scope of its own, which would see the variables around it, or sets one.
_SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.NamedExpr,
           ast.Await, ast.Yield, ast.YieldFrom)  # fmt: skip


def evaluate(f: Any, space: dict[str, Any], variables: Any, /, *args: Any, **kwargs: Any) -> Any:
    """``eval(*args)`` at a place with these globals and local variables; `f` is what is called."""
    if f is not builtins.eval:
        return call(f, *args, **kwargs)
    text, *rest = args
    space = rest[0] if rest and rest[0] is not None else space
    if len(rest) > 1 and rest[1] is not None:
        variables = rest[1]
    elif rest and rest[0] is not None:
        variables = space
    frame = sys._getframe(1)
    compiled = None
    if type(text) is str and type(space) is dict and isinstance(variables, Mapping):
        compiled = _compiled(text, frame.f_code.co_filename, frame.f_lineno)
    if compiled is None:
        return f(text, space, variables)
    code, names = compiled
    known = {n: variables[n] for n in names if n in variables}
    missing = [n for n in names if n not in known]
    run = types.FunctionType(code, space)
    if missing:  # names that are global, if anything
        compiled = _compiled(text, frame.f_code.co_filename, frame.f_lineno, frozenset(missing))
        assert compiled is not None
        run = types.FunctionType(compiled[0], space)
    return run(*RUNTIME.values(), *known.values())


@functools.lru_cache(1000)
def _compiled(
    text: str, filename: str, line: int, missing: frozenset[str] = frozenset()
) -> tuple[types.CodeType, tuple[str, ...]] | None:
    """An expression as a function of the run time and of the names in it, but for `missing`."""
    try:
        tree = ast.parse(text.lstrip(" \t"), filename, "eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    nodes = list(ast.walk(tree))
    names = {n.id for n in nodes if isinstance(n, ast.Name)}
    if names & LOOKS_AT_FRAMES or any(isinstance(n, _SCOPES) for n in nodes):
        return None
    if any(n.startswith(PREFIX) for n in names):
        return None
    local = tuple(sorted(names - missing))
    new = Rewriter(frozenset()).visit(tree.body)
    arguments = ast.arguments(
        [], [ast.arg(n) for n in (*(PREFIX + k for k in RUNTIME), *local)], None, [], [], None, []
    )
    outer = ast.FunctionDef("<text>", arguments, [ast.Return(new)], [])
    module = ast.Module([outer], [])
    for node in ast.walk(module):
        if "lineno" in node._attributes:
            node.lineno = node.end_lineno = line  # type: ignore[attr-defined]
            node.col_offset = node.end_col_offset = 0  # type: ignore[attr-defined]
    try:
        code = compile(module, filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return None
    return next(c for c in code.co_consts if isinstance(c, types.CodeType)), local


RUNTIME.update({"evaluate": evaluate, "frame_globals": globals})
