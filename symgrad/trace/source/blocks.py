"""Blocks of statements: decisions, jumps and loops made into what can run both sides.

`Blocks` is the part of the rewriter that knows of statements; `rewrite` has expressions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from symgrad.trace.source.jumps import (
    always_returns,
    assigned,
    bound_once,
    decided_return,
    declared,
    has,
    has_finally,
    has_scopes,
    jumps,
)

PREFIX = "_sg_"
# Whether a function has returned, and what.
DONE, VALUE = PREFIX + "f_done", PREFIX + "f_value"


def name(what: str) -> ast.Name:
    """The variable by which rewritten code reaches a function of the run time."""
    return ast.Name(PREFIX + what, ast.Load())


def invoke(what: str, *args: ast.expr) -> ast.Call:
    return ast.Call(name(what), list(args), [])


class Blocks(ast.NodeTransformer):
    """Functions and the blocks in them."""

    def __init__(self) -> None:
        self.temporaries = 0
        self.flow = Flow(None)

    def temporary(self) -> str:
        self.temporaries += 1
        return f"{PREFIX}t{self.temporaries}"

    def into_variables(self, node: ast.expr, after: list[ast.stmt]) -> ast.expr:
        """A target whose places become variables, stored from `after`."""
        raise NotImplementedError

    def iterable(self, node: ast.expr) -> ast.expr:
        """What a loop goes through."""
        raise NotImplementedError

    # ---- definitions ----
    def _arguments(self, args: ast.arguments) -> ast.arguments:
        args.defaults = [self.visit(d) for d in args.defaults]
        args.kw_defaults = [d and self.visit(d) for d in args.kw_defaults]
        return args

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list = [self.visit(d) for d in node.decorator_list]
        node.args = self._arguments(node.args)
        around, self.flow = self.flow, Flow(node)
        node.body = self._function_body(node)
        self.flow = around
        return node

    def _function_body(self, node: ast.FunctionDef) -> list[ast.stmt]:
        flow = self.flow
        before: list[ast.stmt] = []
        kept = node.body
        if isinstance(kept[0], ast.Expr) and isinstance(kept[0].value, ast.Constant):
            before, kept = kept[:1], kept[1:]  # the docstring
        names = set(assigned(kept, PREFIX))
        enclosing = sorted(flow.enclosing & names)
        outer = sorted(flow.outer & names)
        declarations = [s for s in kept if isinstance(s, ast.Global | ast.Nonlocal)]
        kept = [s for s in kept if not isinstance(s, ast.Global | ast.Nonlocal)]
        before += declarations
        if enclosing:
            reader = ast.Lambda(_no_arguments(), ast.Tuple(
                [ast.Name(n, ast.Load()) for n in enclosing], ast.Load()))  # fmt: skip
            before.append(ast.Expr(invoke("cells", reader)))
        if outer:
            space = ast.Call(ast.Name("globals", ast.Load()), [], [])
            before.append(ast.Expr(invoke("globals", space, *map(ast.Constant, outer))))
        if flow.soft_return:
            before += [assign(DONE, ast.Constant(False)), assign(VALUE, invoke("no_result"))]
            if not (always_returns(kept) or has(kept, (ast.Yield, ast.YieldFrom))):
                kept = [*kept, ast.Return(None)]
        once = [] if flow.soft_return else bound_once(kept, node.args)
        body = self.body(kept)
        if once and isinstance(body[-1], ast.Return):
            body[-1] = _with_names(body[-1], once)
        if flow.soft_return:
            body.append(ast.Return(load(VALUE)))
        new = [*before, *body]
        for statement in new:
            ast.copy_location(statement, node.body[0]) if not hasattr(statement, "lineno") else None
        return new

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        node.args = self._arguments(node.args)
        node.body = self.visit(node.body)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node

    def body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """A block: behind what may have jumped, the rest runs only if nothing has."""
        result: list[ast.stmt] = []
        for k, statement in enumerate(statements):
            flags = self.flow.flags(statement)
            new = self.visit(statement)
            for part in new if isinstance(new, list) else [new]:
                result.append(part)
            rest = statements[k + 1 :]
            if flags and rest:
                if isinstance(statement, ast.Return | ast.Break | ast.Continue):
                    break  # nothing behind it is reached
                # At the line of the jump's own decision: if that is explored, this is known.
                test = ast.copy_location(invoke("open", *map(load, flags)), statement)
                then = self.body(rest)
                if DONE in flags:
                    then.insert(0, ast.copy_location(assign(VALUE, invoke("no_result")), rest[0]))
                result += self.decision(test, then, [], rest[0], returns=flags == [DONE])
                break
        return result

    # ---- decisions ----
    def decision(
        self,
        test: ast.expr,
        then: list[ast.stmt],
        orelse: list[ast.stmt],
        node: ast.AST,
        returns: bool = False,
    ) -> list[ast.stmt]:
        """Two rewritten blocks of which one is run, or both; see `decisions`.

        returns : whether the function has returned where `then` is not run
        """
        sides, side, error = self.temporary(), self.temporary(), self.temporary()
        names = assigned([*then, *orelse], PREFIX + "t")
        held = self.held(sides, "Sides")
        local = returns and not self.flow.shared
        kept = tuple(n for n in names if local and not n.startswith(PREFIX))
        yields = has([*then, *orelse], (ast.Yield, ast.YieldFrom))
        begin = ast.Expr(
            method(sides, "begin", constants(names), self.values(names), ast.Constant(yields),
                   constants(kept))
        )  # fmt: skip
        left = self.swapped(sides, names)
        failed = ast.UnaryOp(ast.Not(), invoke("failed", load(sides), load(error)))
        leave = ast.If(failed, [ast.Raise(None, None)], [])
        handler = ast.ExceptHandler(name("BaseException"), error, [leave])
        run = ast.If(load(side), then or [ast.Pass()], orelse)
        loop = ast.For(
            ast.Name(side, ast.Store()), load(sides),
            [ast.Try([run], [handler], [], []), ast.If(held, [left], [])], [],
        )  # fmt: skip
        decided = assign(sides, ast.copy_location(invoke("decide", test), test))
        new = [decided, ast.If(held, [begin], []), loop]
        return [ast.copy_location(s, node) for s in new]

    def held(self, variable: str, kind: str) -> ast.expr:
        """Whether a variable has an object of a class of ours."""
        cls = ast.Attribute(load(variable), "__class__", ast.Load())
        return ast.Compare(cls, [ast.Is()], [name(kind)])

    def swapped(self, variable: str, names: Sequence[str]) -> ast.stmt:
        """``names = variable.swap(values)``: the end of a side, or of a round."""
        swap = method(variable, "swap", self.values(names))
        if not names:
            return ast.Expr(swap)
        targets = ast.Tuple([ast.Name(n, ast.Store()) for n in names], ast.Store())
        return ast.Assign([targets], swap)

    def values(self, names: Sequence[str]) -> ast.expr:
        """The variables of the function by name."""
        values: ast.expr = ast.Call(name("locals"), [], [])
        if self.flow.outer.intersection(names):
            space = ast.Call(ast.Name("globals", ast.Load()), [], [])
            values = ast.Dict([None, None], [space, values])
        return values

    def visit_If(self, node: ast.If) -> Any:
        if self.flow.is_class:
            return self.generic_visit(node)
        test = self.visit(node.test)
        return self.decision(test, self.body(node.body), self.body(node.orelse), node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        if not self.may_wait(node.body, node.orelse):
            return self.generic_visit(node)
        sides = [self.later(self.visit(side)) for side in (node.body, node.orelse)]
        return ast.copy_location(invoke("ifexp", self.visit(node.test), *sides), node)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        if not self.may_wait(*node.values[1:]):
            return self.generic_visit(node)
        first, *rest = [self.visit(v) for v in node.values]
        what = "and" if isinstance(node.op, ast.And) else "or"
        return ast.copy_location(invoke(what, first, *map(self.later, rest)), node)

    def may_wait(self, *nodes: ast.expr) -> bool:
        """Whether expressions may stand in functions of their own."""
        if self.flow.is_class:
            return False
        return not any(
            isinstance(n, ast.Yield | ast.YieldFrom | ast.NamedExpr | ast.Await)
            or isinstance(n, ast.Name) and n.id in ("super", "locals", "__class__")
            for node in nodes for n in ast.walk(node)
        )  # fmt: skip

    def later(self, node: ast.expr) -> ast.expr:
        return ast.copy_location(ast.Lambda(_no_arguments(), node), node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        message = node.msg or name("unset")
        if not self.may_wait(message):
            return self.generic_visit(node)
        told = self.later(message if node.msg is None else self.visit(message))
        call = invoke("assert", self.visit(node.test), ast.copy_location(told, node))
        return ast.copy_location(ast.Expr(ast.copy_location(call, node)), node)

    # ---- jumps ----
    def visit_Return(self, node: ast.Return) -> Any:
        value = ast.Constant(None) if node.value is None else self.visit(node.value)
        if not self.flow.soft_return:
            node.value = node.value and value
            return node
        return [ast.copy_location(assign(VALUE, value), node),
                ast.copy_location(assign(DONE, ast.Constant(True)), node)]  # fmt: skip

    def visit_Break(self, node: ast.Break) -> ast.AST:
        return self._jump(node, "break")

    def visit_Continue(self, node: ast.Continue) -> ast.AST:
        return self._jump(node, "continue")

    def _jump(self, node: ast.stmt, kind: str) -> ast.AST:
        flag = self.flow.loops[-1].get(kind) if self.flow.loops else None
        return node if flag is None else ast.copy_location(assign(flag, ast.Constant(True)), node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list = [self.visit(d) for d in node.decorator_list]
        node.bases = [self.visit(b) for b in node.bases]
        node.keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        around, self.flow = self.flow, Flow(None, is_class=True)
        node.body = self.body(node.body)
        self.flow = around
        return node

    def visit_Try(self, node: ast.Try) -> ast.AST:
        flags = sorted(set().union(*[self.flow.flags(s) for s in node.body]))
        node.body = self.body(node.body)
        for handler in node.handlers:
            handler.type = handler.type and self.visit(handler.type)
            handler.body = self.body(handler.body)
        kinds = [h.type or name("BaseException") for h in node.handlers]
        if any(has([s], (ast.Return, ast.Break, ast.Continue)) for s in node.finalbody):
            kinds = [name("BaseException")]  # a jump behind all drops what was raised
        if kinds and not self.flow.is_class:
            caught = invoke("catching", self.later(ast.Tuple(kinds, ast.Load())))
            node.body = [ast.With([ast.withitem(caught)], node.body)]
        orelse = self.body(node.orelse)
        if orelse and flags:  # Python runs it only if the body has come to its end
            test = invoke("open", *map(load, flags))
            orelse = self.decision(test, orelse, [], node.orelse[0])
        node.orelse, node.finalbody = orelse, self.body(node.finalbody)
        return node

    def visit_With(self, node: ast.With) -> ast.AST:
        after: list[ast.stmt] = []
        for item in node.items:
            manager = self.visit(item.context_expr)
            item.context_expr = ast.copy_location(invoke("managed", manager), manager)
            if item.optional_vars is not None:
                found = leaves(item.optional_vars)
                if any(isinstance(t, ast.Subscript | ast.Attribute) for t in found):
                    item.optional_vars = self.into_variables(item.optional_vars, after)
        node.body = [*after, *self.body(node.body)]
        return node

    def visit_Match(self, node: ast.Match) -> Any:
        if self.flow.is_class or not all(map(_is_simple, (c.pattern for c in node.cases))):
            before = [] if self.flow.is_class else self._classes(node)
            node.subject = self.visit(node.subject)
            for case in node.cases:
                case.guard = case.guard and self.visit(case.guard)
                case.body = self.body(case.body)
            return [*before, node]
        subject = self.temporary()
        chain: list[ast.stmt] = []
        for case in reversed(node.cases):
            test, captures = self._pattern(case.pattern, load(subject))
            if case.guard is not None:
                for capture in captures:  # the guard may read what is captured
                    test = ast.BoolOp(ast.And(), [test, ast.NamedExpr(*capture)])
                guard = self.visit(case.guard)
                test = invoke("and", test, self.later(guard)) if self.may_wait(guard) else \
                    ast.BoolOp(ast.And(), [test, guard])  # fmt: skip
            names = [ast.Assign([t], v) for t, v in captures]
            for part in names:
                ast.copy_location(part, case.pattern)
            then = [*names, *self.body(case.body)]
            ast.copy_location(test, case.pattern)
            chain = self.decision(test, then, chain, case.pattern)
        first = assign(subject, self.visit(node.subject))
        return [ast.copy_location(first, node), *chain]

    def _classes(self, node: ast.Match) -> list[ast.stmt]:
        """Class patterns ask for the class of what a tracer stands for; see `kinds`."""
        found = [p for c in node.cases for p in ast.walk(c.pattern)
                 if isinstance(p, ast.MatchClass)]  # fmt: skip
        if not found:
            return []
        classes = self.temporary()
        asked = [self.later(self.visit(p.cls)) for p in found]
        for k, p in enumerate(found):
            p.cls = ast.copy_location(ast.Attribute(load(classes), f"k{k}", ast.Load()), p)
        return [ast.copy_location(assign(classes, invoke("classes", *asked)), node)]

    def _pattern(
        self, pattern: ast.pattern, subject: ast.expr
    ) -> tuple[ast.expr, list[tuple[ast.Name, ast.expr]]]:
        """Whether a pattern that `_is_simple` matches, and what it captures."""
        if isinstance(pattern, ast.MatchValue):
            return ast.Compare(subject, [ast.Eq()], [self.visit(pattern.value)]), []
        if isinstance(pattern, ast.MatchSingleton):
            return invoke("matches", subject, ast.Constant(pattern.value)), []
        if isinstance(pattern, ast.MatchOr):
            first, *rest = [self._pattern(p, subject)[0] for p in pattern.patterns]
            for part in (first, *rest):
                ast.copy_location(part, pattern)
            return invoke("or", first, *map(self.later, rest)), []
        assert isinstance(pattern, ast.MatchAs)
        test: ast.expr = ast.Constant(True)
        captures: list[tuple[ast.Name, ast.expr]] = []
        if pattern.pattern is not None:
            test, captures = self._pattern(pattern.pattern, subject)
        if pattern.name is not None:
            captures = [*captures, (ast.Name(pattern.name, ast.Store()), subject)]
        return test, captures


class Flow:
    """What a function declares, and how jumps in it are made."""

    def __init__(self, node: ast.FunctionDef | None, is_class: bool = False) -> None:
        body = [] if node is None else node.body
        self.is_class = is_class
        self.soft_return = decided_return(body)
        self.outer, self.enclosing = declared(body)
        # whether inner functions may read its variables after it has returned
        self.shared = bool(self.outer or self.enclosing) or has_scopes(body) or has_finally(body)
        self.loops: list[dict[str, str]] = []  # flags of the loops around, by kind of jump

    def flags(self, statement: ast.stmt) -> list[str]:
        """The flags that a statement may set."""
        kinds = jumps(statement) if self.soft_return or self.loops else set()
        found = [DONE] if self.soft_return and "return" in kinds else []
        own = self.loops[-1] if self.loops else {}
        return [*found, *[own[k] for k in sorted(kinds) if k in own]]


class LoopFlags(NamedTuple):
    """The flags of one loop, and those of jumps that leave what is around it."""

    own: dict[str, str]
    around: list[str]

    def ending(self) -> list[str]:
        return [*self.around, *[f for k, f in self.own.items() if k == "break"]]

    def reset(self) -> list[ast.stmt]:
        return [assign(f, ast.Constant(False)) for k, f in self.own.items() if k == "continue"]


def _with_names(node: ast.Return, names: Sequence[str]) -> ast.Return:
    """The last return of a function, which hands over what its variables hold."""
    value = ast.Constant(None) if node.value is None else node.value
    node.value = ast.copy_location(
        invoke("returned", value, constants(names), *map(load, names)), node
    )
    return node


def load(variable: str) -> ast.Name:
    return ast.Name(variable, ast.Load())


def constants(values: Iterable[Any]) -> ast.Constant:
    """A tuple in the source."""
    return ast.Constant(tuple(values))  # type: ignore[arg-type]  # which compile() takes


def method(variable: str, what: str, *args: ast.expr) -> ast.Call:
    """``variable.what(*args)``."""
    return ast.Call(ast.Attribute(load(variable), what, ast.Load()), list(args), [])


def assign(variable: str, value: ast.expr) -> ast.Assign:
    return ast.Assign([ast.Name(variable, ast.Store())], value)


def _no_arguments() -> ast.arguments:
    return ast.arguments([], [], None, [], [], None, [])


def _is_simple(pattern: ast.pattern) -> bool:
    """Whether a pattern asks nothing but for equality and identity."""
    if isinstance(pattern, ast.MatchAs):
        return pattern.pattern is None or _is_simple(pattern.pattern)
    if isinstance(pattern, ast.MatchOr):
        return all(isinstance(p, ast.MatchValue | ast.MatchSingleton) for p in pattern.patterns)
    return isinstance(pattern, ast.MatchValue | ast.MatchSingleton)


def leaves(target: ast.expr) -> list[ast.expr]:
    """The single places that an assignment writes to."""
    if isinstance(target, ast.Tuple | ast.List):
        return [leaf for e in target.elts for leaf in leaves(e)]
    return leaves(target.value) if isinstance(target, ast.Starred) else [target]
