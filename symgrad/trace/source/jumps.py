"""Which names statements assign, and which jumps leave them: what decisions have to know of both.

A jump inside of an ``if`` that may be traced becomes a flag, and what follows it in the blocks
around runs only if no flag is set. Flags are variables like others: they are merged like these.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_LOOPS = (ast.For, ast.While, ast.AsyncFor)
DECISIONS = (ast.If, ast.Match)


def children(node: ast.AST) -> Iterator[ast.AST]:
    """What belongs to the same function as `node`."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _SCOPES):
            yield child


def assigned(statements: Iterable[ast.AST], temporary: str) -> list[str]:
    """The names that statements bind or delete, but for those that begin with `temporary`."""
    names: set[str] = set()
    stack = list(statements)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            stack += node.decorator_list
            continue
        elif isinstance(node, ast.Lambda):
            continue
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            inner = [n for n in ast.walk(node) if isinstance(n, ast.NamedExpr)]
            names.update(n.target.id for n in inner)
            continue
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names.add(node.rest)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update((a.asname or a.name.split(".")[0]) for a in node.names)
        stack += ast.iter_child_nodes(node)
    return sorted(n for n in names if not n.startswith(temporary))


def bound_once(statements: list[ast.stmt], arguments: ast.arguments) -> list[str]:
    """The variables that a function binds in one place, which is no part of another statement.

    At its last return they are bound. Names with an underscore in front are not for readers.
    """
    counts = Counter(a.arg for a in ast.walk(arguments) if isinstance(a, ast.arg))
    found: list[str] = []
    for statement in statements:
        names = assigned([statement], "_")
        counts.update(names)
        if isinstance(statement, ast.Assign):
            found += names
            counts.update(
                n.id for n in ast.walk(statement.value)
                if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)
            )  # fmt: skip
    inner = [n for s in statements for n in ast.walk(s) if isinstance(n, ast.Nonlocal | ast.Global)]
    counts.update(name for n in inner for name in n.names)
    return [n for n in dict.fromkeys(found) if counts[n] == 1]


def declared(statements: Iterable[ast.AST]) -> tuple[set[str], set[str]]:
    """The names that a function declares global, and nonlocal."""
    outer: set[str] = set()
    enclosing: set[str] = set()
    stack = list(statements)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Global):
            outer.update(node.names)
        elif isinstance(node, ast.Nonlocal):
            enclosing.update(node.names)
        stack += children(node)
    return outer, enclosing


def has(statements: Iterable[ast.AST], kinds: tuple[type[ast.AST], ...]) -> bool:
    """Whether statements of one function contain a node of some kind."""
    stack = [s for s in statements if not isinstance(s, _SCOPES)]
    while stack:
        node = stack.pop()
        if isinstance(node, kinds):
            return True
        stack += children(node)
    return False


def decided_return(statements: Iterable[ast.AST]) -> bool:
    """Whether a return stands inside of a decision."""
    return _inside(statements, (ast.Return,), False, loops=True)


def decided_jump(statements: Iterable[ast.AST]) -> bool:
    """Whether a break or continue of the loop around stands inside of a decision."""
    return _inside(statements, (ast.Break, ast.Continue), False, loops=False)


def _inside(
    statements: Iterable[ast.AST], kinds: tuple[type[ast.AST], ...], decided: bool, loops: bool
) -> bool:
    stack = [(s, decided) for s in statements if not isinstance(s, _SCOPES)]
    while stack:
        node, within = stack.pop()
        if isinstance(node, kinds) and within:
            return True
        if isinstance(node, _LOOPS):  # behind a decided jump, and in `else`, flags are asked for
            within = within or decided_jump(node.body)
            stack += [(c, within) for c in (*node.orelse, *(node.body if loops else ()))]
            continue
        within = within or isinstance(node, DECISIONS)
        stack += [(c, within) for c in children(node)]
    return False


def jumps(statement: ast.AST) -> set[str]:
    """The jumps that leave a statement: "return", "break" and "continue" of the loop around."""
    found: set[str] = set()
    stack: list[tuple[ast.AST, bool]] = [(statement, True)]
    while stack:
        node, own = stack.pop()
        if isinstance(node, _SCOPES):
            continue
        if isinstance(node, ast.Return):
            found.add("return")
        elif own and isinstance(node, ast.Break):
            found.add("break")
        elif own and isinstance(node, ast.Continue):
            found.add("continue")
        if isinstance(node, _LOOPS):
            stack += [(c, False) for c in node.body]
            stack += [(c, own) for c in node.orelse]
        else:
            stack += [(c, own) for c in ast.iter_child_nodes(node)]
    return found


def has_scopes(statements: Iterable[ast.AST]) -> bool:
    """Whether functions or classes are defined in statements."""
    return any(isinstance(n, _SCOPES) for s in statements for n in ast.walk(s))


def always_returns(statements: list[ast.stmt]) -> bool:
    """Whether a block is left by a return or an exception on every way."""
    if not statements:
        return False
    last = statements[-1]
    if isinstance(last, ast.If):
        return always_returns(last.body) and always_returns(last.orelse)
    if isinstance(last, ast.With):
        return always_returns(last.body)
    if isinstance(last, ast.While):  # `while True`, which nothing but a return ends
        endless = isinstance(last.test, ast.Constant) and bool(last.test.value)
        return endless and "break" not in set().union(*map(jumps, last.body))
    return isinstance(last, ast.Return | ast.Raise)


def has_finally(statements: Iterable[ast.AST]) -> bool:
    """Whether code runs behind a return."""
    return any(isinstance(n, ast.Try) and n.finalbody for s in statements for n in ast.walk(s))
