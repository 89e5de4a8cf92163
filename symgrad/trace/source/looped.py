"""Loops made into what can run one round for all: see `loops`."""

from __future__ import annotations

import ast
from typing import Any

from symgrad.trace.source.blocks import (
    DONE,
    PREFIX,
    Blocks,
    LoopFlags,
    assign,
    constants,
    invoke,
    leaves,
    load,
    method,
    name,
)
from symgrad.trace.source.jumps import assigned, decided_jump, has, jumps


class Looped(Blocks):
    """The part of the rewriter that knows of loops."""

    def visit_For(self, node: ast.For) -> Any:
        iterable = self.iterable(node.iter)
        flags = self._loop_flags(node)
        followed = self._is_followed(node, flags)
        places = any(isinstance(t, ast.Subscript | ast.Attribute) for t in leaves(node.target))
        if not followed and not flags.own and not flags.around and not places:
            self.flow.loops.append({})
            node.iter, node.body = iterable, self.body(node.body)
            self.flow.loops.pop()
            node.orelse = self.body(node.orelse)
            return node
        element = self.temporary()
        self.flow.loops.append(flags.own)
        target = ast.copy_location(ast.Assign([node.target], load(element)), node)
        body = self.body([target, *node.body])
        self.flow.loops.pop()
        round_ = self._round(flags, body, node)
        if not followed:
            loop = ast.For(
                ast.Name(element, ast.Store()), iterable, [*round_, *_stop("made", flags)], []
            )
            return self._loop(flags, [loop], node)
        driver = ast.copy_location(invoke("rounds", iterable), node.iter)
        rounds = self._driven(self.temporary(), driver, element, round_, flags, "Rounds")
        return self._loop(flags, rounds, node)

    def _driven(
        self,
        loop: str,
        driver: ast.expr,
        element: str,
        body: list[ast.stmt],
        flags: LoopFlags,
        kind: str,
    ) -> list[ast.stmt]:
        """A loop whose rounds are run as `loops` wants them, by a driver in the variable `loop`."""
        error = self.temporary()
        names = sorted({*assigned(body, PREFIX + "t"), *flags.own.values()})
        held, left = self.held(loop, kind), self.swapped(loop, names)
        begin = method(loop, "begin", constants(names), self.values(names),
                       constants(flags.ending()))  # fmt: skip
        lost = ast.BoolOp(ast.And(), [held, method(loop, "failed", load(error))])
        handler = ast.ExceptHandler(
            name("BaseException"), error,
            [ast.If(ast.UnaryOp(ast.Not(), lost), [ast.Raise(None, None)], [])],
        )  # fmt: skip
        reports = ast.BoolOp(ast.And(), [held, ast.Attribute(load(loop), "on", ast.Load())])
        rounds = ast.For(
            ast.Name(element, ast.Store()), load(loop),
            [ast.Try(body, [handler], [], []), ast.If(reports, [left], []), *_stop("made", flags)],
            [],
        )  # fmt: skip
        return [assign(loop, driver), ast.If(held, [ast.Expr(begin)], []), rounds]

    def _is_followed(self, node: ast.For | ast.While, flags: LoopFlags) -> bool:
        """Whether one round may stand for all: no jump leaves the loop but by flags."""
        kinds: set[str] = set().union(*map(jumps, node.body))
        soft = {*flags.own, *(["return"] if flags.around else [])}
        yields = has(node.body, (ast.Yield, ast.YieldFrom, ast.Await))
        # what a test assigns is assigned once more than the body runs
        yields = yields or isinstance(node, ast.While) and has([node.test], (ast.NamedExpr,))
        return kinds <= soft and not yields and not self.flow.is_class

    def visit_While(self, node: ast.While) -> Any:
        if has([node.test], (ast.NamedExpr,)) and not node.orelse:
            # What the test assigns, each round assigns.
            stop = ast.If(ast.UnaryOp(ast.Not(), node.test), [ast.Break()], [])
            for part in ast.walk(stop):
                if not hasattr(part, "lineno"):
                    ast.copy_location(part, node.test)
            node.test = ast.copy_location(ast.Constant(True), node.test)
            node.body = [ast.copy_location(stop, node.test), *node.body]
        flags = self._loop_flags(node)
        followed = self._is_followed(node, flags)
        test = self.visit(node.test)
        if not followed and not flags.own and not flags.around:
            self.flow.loops.append({})
            node.test, node.body = test, self.body(node.body)
            self.flow.loops.pop()
            node.orelse = self.body(node.orelse)
            return node
        self.flow.loops.append(flags.own)
        body = [*flags.reset(), *self.body(node.body)]
        self.flow.loops.pop()
        if not followed:
            return self._loop(flags, [ast.While(test, [*body, *_stop("ends", flags)], [])], node)
        loop, element = self.temporary(), self.temporary()
        over = ast.copy_location(ast.If(method(loop, "ends", test), [ast.Break()], []), test)
        rounds = self._driven(loop, invoke("while"), element, [over, *body], flags, "while")
        return self._loop(flags, rounds, node)

    def _loop_flags(self, node: ast.For | ast.While) -> LoopFlags:
        self.temporaries += 1
        soft = (
            decided_jump(node.body)
            or self.flow.soft_return
            and "return" in set().union(*map(jumps, node.body))
        )
        kinds = set().union(*map(jumps, node.body)) if soft else set()
        own = {k: f"{PREFIX}f{self.temporaries}_{k}" for k in sorted(kinds & {"break", "continue"})}
        returns = self.flow.soft_return and "return" in kinds
        return LoopFlags(own, [DONE] if returns else [])

    def _round(self, flags: LoopFlags, body: list[ast.stmt], node: ast.AST) -> list[ast.stmt]:
        made = flags.ending()
        body = [*flags.reset(), *body]
        if not made:
            return body
        return self.decision(invoke("open", *map(load, made)), body, [], node)

    def _loop(
        self, flags: LoopFlags, loop: list[ast.stmt], node: ast.For | ast.While
    ) -> list[ast.stmt]:
        """A loop between what sets its flags before, and its else behind."""
        before = [assign(f, ast.Constant(False)) for f in flags.own.values()]
        result = [*before, *loop]
        if node.orelse:
            orelse = self.body(node.orelse)
            made = flags.ending()
            test = invoke("open", *map(load, made))
            result += self.decision(test, orelse, [], node.orelse[0]) if made else orelse
        return [ast.copy_location(s, node) for s in result]


def _stop(what: str, flags: LoopFlags) -> list[ast.stmt]:
    """The end of a loop whose flags say so, by a function of the run time."""
    made = flags.ending()
    return [ast.If(invoke(what, *map(load, made)), [ast.Break()], [])] if made else []
