"""Smaller programs that fail in the same way.

Statements are deleted, expressions replaced by their parts, terms dropped, sizes halved
everywhere at once, arguments removed. A candidate has to run under NumPy, away from ties, before a
child process is asked about it.
"""

from __future__ import annotations

import ast
import copy
import math
import re
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.special

from fuzz.grammar import MARGIN, Guarded
from fuzz.oracles import leaves, load, precision

IMPORTS = ("import numpy as np", "import scipy.special as sp", "import symgrad as sg")


def runs(text: str, ties: bool = False) -> bool:
    """Whether NumPy computes a program, finitely and away from `ties`, and there is a loss."""
    if re.search(r"np\.random(?!\.default_rng)", text):
        return False  # it would not be the same twice
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            args = load(text)["arguments"]()
            margin = -1.0 if ties else MARGIN[precision(args, text)] / 10
            space = load(text, Guarded(margin), scipy.special)
            results = [np.asarray(x) for x in leaves(space["f"](*args))]
            loss = np.asarray(space["loss"](*args))
            numbers = all(r.dtype.kind in "fib" for r in (*results, loss))
            return numbers and not loss.ndim and all(np.isfinite(r).all() for r in (*results, loss))
    except Exception:
        return False


def minimised(
    text: str,
    fails: Callable[[str], bool],
    seconds: float = 90,
    attempts: int = 300,
    ties: bool = False,
) -> str:
    """The smallest program found for which `fails` holds, as it does for `text`.

    ties : whether it may come to ties and kinks
    """
    end = time.monotonic() + seconds
    seen = {text}
    best = text
    progress = True
    while progress:
        progress = False
        for candidate in _candidates(best):
            if time.monotonic() > end or attempts <= 0:
                return best
            if candidate in seen:
                continue
            seen.add(candidate)
            if not runs(candidate, ties) or _weight(candidate) >= _weight(best):
                continue
            attempts -= 1
            if fails(candidate):
                best, progress = candidate, True
                break
    return best


def _weight(text: str) -> tuple[int, float]:
    """Nodes of the tree, then the sizes of numbers."""
    tree = ast.parse(text)
    numbers = [abs(n.value) for n in ast.walk(tree) if isinstance(n, ast.Constant)
               and type(n.value) in (int, float)]  # fmt: skip
    return sum(1 for _ in ast.walk(tree)), sum(math.log1p(x) for x in numbers)


def _candidates(text: str) -> Iterator[str]:
    """Large steps first."""
    tree = ast.parse(text)
    yield from _without_terms(tree)
    yield from _without_results(tree, text)
    yield from _without_statements(tree)
    yield from _without_arguments(tree)
    yield from _smaller_numbers(tree, text)
    yield from _smaller_expressions(tree)


def _function(tree: ast.Module, name: str) -> ast.FunctionDef:
    return next(s for s in tree.body if isinstance(s, ast.FunctionDef) and s.name == name)


def _changed(tree: ast.Module, change: Callable[[ast.Module], Any]) -> str:
    new = copy.deepcopy(tree)
    change(new)
    return ast.unparse(ast.fix_missing_locations(new)) + "\n"


def _without_terms(tree: ast.Module) -> Iterator[str]:
    """One term of the loss alone, or one less."""
    terms: list[ast.expr] = []
    rest: Any = _function(tree, "loss").body[-1].value  # type: ignore[attr-defined]
    while isinstance(rest, ast.BinOp) and isinstance(rest.op, ast.Add):
        terms.insert(0, rest.right)
        rest = rest.left
    terms.insert(0, rest)

    def keep(kept: list[ast.expr]) -> str:
        whole = kept[0]
        for term in kept[1:]:
            whole = ast.BinOp(whole, ast.Add(), term)

        def change(new: ast.Module) -> None:
            _function(new, "loss").body[-1].value = whole  # type: ignore[attr-defined]

        return _changed(tree, change)

    if len(terms) > 1:
        yield from (keep([t]) for t in terms)
        yield from (keep(terms[:k] + terms[k + 1 :]) for k in range(len(terms)))


def _without_results(tree: ast.Module, text: str) -> Iterator[str]:
    """A result that the loss does not read, left out."""
    value = _function(tree, "f").body[-1].value  # type: ignore[attr-defined]
    if not isinstance(value, ast.Tuple) or len(value.elts) < 2:
        return
    loss = ast.unparse(_function(tree, "loss"))
    for k in range(len(value.elts)):
        if f"r[{k}]" in loss:
            continue

        def change(new: ast.Module, k: int = k) -> None:
            del _function(new, "f").body[-1].value.elts[k]  # type: ignore[attr-defined]
            for n in ast.walk(_function(new, "loss")):
                if isinstance(n, ast.Subscript) and ast.unparse(n.value) == "r":
                    if isinstance(n.slice, ast.Constant) and n.slice.value > k:
                        n.slice.value -= 1

        yield _changed(tree, change)


def _bodies(tree: ast.AST) -> list[list[ast.stmt]]:
    found = []
    for n in ast.walk(tree):
        for name in ("body", "orelse"):
            block = getattr(n, name, None)
            if isinstance(block, list) and block:
                found.append(block)
    return found


def _without_statements(tree: ast.Module) -> Iterator[str]:
    """One statement less, from the last; or its body in place of a loop."""
    for number, block in enumerate(_bodies(tree)):
        for k in reversed(range(len(block))):
            s = block[k]
            if isinstance(s, (ast.Return, ast.FunctionDef)) and not _is_helper(tree, s):
                continue

            def drop(new: ast.Module, number: int = number, k: int = k) -> None:
                block = _bodies(new)[number]
                block[k : k + 1] = [] if len(block) > 1 else [ast.Pass()]

            yield _changed(tree, drop)
            if isinstance(s, (ast.For, ast.If)):

                def open_(new: ast.Module, number: int = number, k: int = k) -> None:
                    block = _bodies(new)[number]
                    block[k : k + 1] = block[k].body  # type: ignore[attr-defined]

                yield _changed(tree, open_)
            if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name):
                # Its value where it is read, or another name.
                yield from _inlined(tree, number, k, s)


def _is_helper(tree: ast.Module, s: ast.stmt) -> bool:
    return isinstance(s, ast.FunctionDef) and s not in tree.body


def _inlined(tree: ast.Module, number: int, k: int, s: ast.Assign) -> Iterator[str]:
    name = s.targets[0].id  # type: ignore[attr-defined]
    names = [
        n.id
        for n in ast.walk(s.value)
        if isinstance(n, ast.Name) and n.id not in ("np", "sp", "sg")
    ]
    others: list[ast.expr] = [ast.Name(n, ast.Load()) for n in dict.fromkeys(names)]
    for other in (*others, s.value):

        def change(new: ast.Module, other: ast.expr = other) -> None:
            del _bodies(new)[number][k]
            _Rename(name, other).visit(_function(new, "f"))

        yield _changed(tree, change)


class _Rename(ast.NodeTransformer):
    def __init__(self, name: str, other: ast.expr) -> None:
        self.name, self.other = name, other

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id == self.name and isinstance(node.ctx, ast.Load):
            return copy.deepcopy(self.other)
        return node


def _without_arguments(tree: ast.Module) -> Iterator[str]:
    for k in range(len(_function(tree, "f").args.args)):

        def change(new: ast.Module, k: int = k) -> None:
            for name in ("f", "loss"):
                del _function(new, name).args.args[k]
            name = _function(tree, "f").args.args[k].arg
            for n in ast.walk(_function(new, "loss")):
                if isinstance(n, ast.Call) and ast.unparse(n.func) == "f":
                    del n.args[k]
            made = _function(new, "arguments")
            made.body = [s for s in made.body if not _sets(s, name)]
            del made.body[-1].value.elts[k]  # type: ignore[attr-defined]

        if len(_function(tree, "f").args.args) > 1:
            yield _changed(tree, change)


def _sets(s: ast.stmt, name: str) -> bool:
    return isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == name


def _smaller_numbers(tree: ast.Module, text: str) -> Iterator[str]:
    """An integer replaced by a smaller one wherever it stands; and numbers next to it likewise."""
    values = {n.value for n in ast.walk(tree)
              if isinstance(n, ast.Constant) and type(n.value) is int and n.value > 1}  # fmt: skip
    for value in sorted(values, reverse=True):
        for smaller in dict.fromkeys((1, 2, 3, value // 4, value // 2, value - 8, value - 1)):
            if not 0 < smaller < value:
                continue
            yield _changed(tree, lambda new, v=value, s=smaller: _set(new, v, s))
            near = {v: v - (value - smaller) for v in values if abs(v - value) < value // 4}
            if len(near) > 1 and min(near.values()) > 0:

                def change(new: ast.Module, near: dict[int, int] = near) -> None:
                    for n in ast.walk(new):
                        if isinstance(n, ast.Constant) and type(n.value) is int:
                            n.value = near.get(n.value, n.value)

                yield _changed(tree, change)


def _set(new: ast.Module, value: int, smaller: int) -> None:
    for n in ast.walk(new):
        if isinstance(n, ast.Constant) and type(n.value) is int and n.value == value:
            n.value = smaller


def _smaller_expressions(tree: ast.Module) -> Iterator[str]:
    """Each expression replaced by one of its parts, or by a number."""
    places = list(_places(tree))
    places.sort(key=lambda p: -sum(1 for _ in ast.walk(p[0])))
    for node, number in places:
        if isinstance(node, (ast.Name, ast.Constant)):
            continue
        for part in _parts(node):

            def change(new: ast.Module, number: int = number, part: ast.AST = part) -> None:
                _Replace(number, part).run(new)

            yield _changed(tree, change)
        if isinstance(node, ast.Slice):
            for end in ("step", "lower", "upper"):
                if getattr(node, end) is not None:
                    new_slice = copy.deepcopy(node)
                    setattr(new_slice, end, None)
                    yield _changed(
                        tree, lambda new, number=number, s=new_slice: _Replace(number, s).run(new)
                    )
        if isinstance(node, ast.Call) and (node.keywords or len(node.args) > 1):
            for k in range(len(node.keywords)):
                fewer = copy.deepcopy(node)
                del fewer.keywords[k]
                yield _changed(
                    tree, lambda new, number=number, s=fewer: _Replace(number, s).run(new)
                )
        if isinstance(node, (ast.List, ast.Tuple)) and len(node.elts) > 1:
            for k in range(len(node.elts)):
                shorter = copy.deepcopy(node)
                del shorter.elts[k]
                yield _changed(
                    tree, lambda new, number=number, s=shorter: _Replace(number, s).run(new)
                )


def _expressions(tree: ast.Module) -> Iterator[ast.AST]:
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.Assign)):
            for n in ast.walk(statement):
                if isinstance(n, (ast.expr, ast.Slice)) and not isinstance(
                    getattr(n, "ctx", None), ast.Store
                ):
                    yield n


def _places(tree: ast.Module) -> Iterator[tuple[ast.AST, int]]:
    for number, n in enumerate(_expressions(tree)):
        yield n, number


class _Replace(ast.NodeTransformer):
    def __init__(self, number: int, part: ast.AST) -> None:
        self.number, self.part = number, part

    def run(self, tree: ast.Module) -> None:
        self.target = next(n for n, k in _places(tree) if k == self.number)
        self.visit(tree)

    def visit(self, node: ast.AST) -> Any:
        return copy.deepcopy(self.part) if node is self.target else self.generic_visit(node)


def _parts(node: ast.AST) -> list[ast.AST]:
    found = [c for c in ast.iter_child_nodes(node) if isinstance(c, ast.expr)]
    if isinstance(node, ast.Call):
        found = list(node.args)
        if isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) not in (
            "np",
            "sp",
        ):
            found.insert(0, node.func.value)
    if isinstance(node, ast.Subscript):
        found = [node.value]
    if isinstance(node, ast.Attribute):
        found = (
            [node.value] if ast.unparse(node.value) not in ("np", "sp", "sg", "np.linalg") else []
        )
    lists = [e for c in found if isinstance(c, (ast.List, ast.Tuple)) for e in c.elts]
    return [c for c in (*found, *lists) if not isinstance(c, (ast.List, ast.Tuple, ast.JoinedStr))]


def tidy(text: str) -> str:
    """Without captured arrays that nobody reads, with the imports that are needed."""
    lines = text.splitlines()
    kept = [
        line
        for line in lines
        if not (m := re.match(r"(C\d+) = ", line)) or len(re.findall(rf"\b{m[1]}\b", text)) > 1
    ]
    body = "\n".join(line for line in kept if not line.startswith("import ")).strip() + "\n"
    needed = [line for line in IMPORTS if re.search(rf"\b{line.split()[-1]}\.", body)]
    return "\n".join(needed) + "\n\n" + body
