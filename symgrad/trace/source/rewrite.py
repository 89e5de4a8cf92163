"""The syntax tree of a user's function, with what Python does not let us see made into calls.

In: the tree of a function. Out: a tree of the same function that calls `_sg_call(f, x)` for f(x),
`_sg_get(a, i)` for a[i], and so on; `RUNTIME` names what these stand for at run time. All nodes
keep the user's lines. Nothing here knows what is traced: that is decided when the calls happen.
"""

from __future__ import annotations

import ast
from typing import Any

# Calls of these look at the frame they stand in.
_LEFT_ALONE = frozenset({"super", "locals", "globals", "vars", "dir", "exec", "eval"})
PREFIX = "_sg_"

BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.FloorDiv: "floordiv",
    ast.Mod: "mod", ast.Pow: "pow", ast.MatMult: "matmul", ast.BitAnd: "and_", ast.BitOr: "or_",
    ast.BitXor: "xor", ast.LShift: "lshift", ast.RShift: "rshift",
}  # fmt: skip


def name(what: str) -> ast.Name:
    """The variable by which rewritten code reaches a function of the run time."""
    return ast.Name(PREFIX + what, ast.Load())


def invoke(what: str, *args: ast.expr) -> ast.Call:
    return ast.Call(name(what), list(args), [])


def is_plain(node: ast.expr) -> bool:
    """Whether an index or operand is a literal, which stands for nothing traced."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.UnaryOp):
        return is_plain(node.operand)
    if isinstance(node, ast.Tuple):
        return all(is_plain(e) for e in node.elts)
    if isinstance(node, ast.Slice):
        return all(p is None or is_plain(p) for p in (node.lower, node.upper, node.step))
    return False


def _of_rank_zero(node: ast.expr) -> bool:
    """Whether an index may be one of a number: x[()], x[None], x[...]."""
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    return all(isinstance(p, ast.Constant) and (p.value is None or p.value is ...) for p in parts)


class Rewriter(ast.NodeTransformer):
    """One function, and what is defined inside it.

    modules : global names that are modules, whose attributes are nothing of the user's objects
    """

    def __init__(self, modules: frozenset[str]) -> None:
        self.modules = modules
        self.temporaries = 0

    def temporary(self) -> str:
        self.temporaries += 1
        return f"{PREFIX}t{self.temporaries}"

    # ---- definitions ----
    def _arguments(self, args: ast.arguments) -> ast.arguments:
        args.defaults = [self.visit(d) for d in args.defaults]
        args.kw_defaults = [d and self.visit(d) for d in args.kw_defaults]
        return args

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list = [self.visit(d) for d in node.decorator_list]
        node.args = self._arguments(node.args)
        node.body = self.body(node.body)
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        node.args = self._arguments(node.args)
        node.body = self.visit(node.body)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return node
        if isinstance(node.target, ast.Name):
            node.value = self.visit(node.value)
            return node
        return self.visit_Assign(ast.copy_location(ast.Assign([node.target], node.value), node))

    def body(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        result: list[ast.stmt] = []
        for statement in statements:
            new = self.visit(statement)
            result.extend(new if isinstance(new, list) else [new])
        return result

    # ---- expressions ----
    def visit_Call(self, node: ast.Call) -> ast.AST:
        args = [self.visit(a) for a in node.args]
        keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        if isinstance(node.func, ast.Name) and node.func.id in _LEFT_ALONE:
            return ast.copy_location(ast.Call(node.func, args, keywords), node)
        func = node.func
        if isinstance(func, ast.Attribute):
            func = ast.copy_location(
                ast.Attribute(self.visit(func.value), func.attr, func.ctx), func
            )
        else:
            func = self.visit(func)
        return ast.copy_location(ast.Call(name("call"), [func, *args], keywords), node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        value = self.visit(node.value)
        plain = is_plain(node.slice) and not _of_rank_zero(node.slice)
        if plain or not isinstance(node.ctx, ast.Load):
            index = node.slice if plain else self.visit(node.slice)
            return ast.copy_location(ast.Subscript(value, index, node.ctx), node)
        return ast.copy_location(invoke("get", value, self.index(node.slice)), node)

    def index(self, node: ast.expr) -> ast.expr:
        """An index as an expression; slices are allowed in brackets only."""
        if isinstance(node, ast.Slice):
            parts = [p and self.visit(p) or ast.Constant(None)
                     for p in (node.lower, node.upper, node.step)]  # fmt: skip
            return ast.copy_location(invoke("slice", *parts), node)
        if isinstance(node, ast.Tuple):
            return ast.copy_location(
                ast.Tuple([self.index(e) for e in node.elts], ast.Load()), node
            )
        return self.visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        known = isinstance(node.value, ast.Name) and node.value.id in self.modules
        if known or not isinstance(node.ctx, ast.Load) or node.attr in _ARRAY_ATTRIBUTES:
            return self.generic_visit(node)
        if node.attr.startswith("__"):  # which Python spells otherwise inside classes
            return self.generic_visit(node)
        return ast.copy_location(
            invoke("attr", self.visit(node.value), ast.Constant(node.attr)), node
        )

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        return self._binary(node, "_")

    def _binary(self, node: ast.BinOp, suffix: str) -> ast.expr:
        """An operator; `suffix` is "_" for the outermost, whose arrays become this trace's."""
        plain = is_plain(node.left) or is_plain(node.right)
        left, right = (
            self._binary(side, "") if isinstance(side, ast.BinOp) else self.visit(side)
            for side in (node.left, node.right)
        )
        if plain and not suffix:
            return ast.copy_location(ast.BinOp(left, node.op, right), node)
        if plain and is_plain(node.left) and is_plain(node.right):
            return ast.copy_location(ast.BinOp(left, node.op, right), node)
        return ast.copy_location(invoke(BINARY[type(node.op)] + suffix, left, right), node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if is_plain(node) or isinstance(node.op, ast.Not):
            return self.generic_visit(node)
        if isinstance(node.operand, ast.BinOp):
            operand = self._binary(node.operand, "")
        else:
            operand = self.visit(node.operand)
        new = ast.copy_location(ast.UnaryOp(node.op, operand), node)
        return ast.copy_location(invoke("own", new), node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        plain = any(isinstance(op, ast.Is | ast.IsNot | ast.In | ast.NotIn) for op in node.ops)
        if len(node.ops) > 1 or plain:
            return node
        return ast.copy_location(invoke("own", node), node)

    # ---- statements ----
    def visit_Assign(self, node: ast.Assign) -> Any:
        value = self.visit(node.value)
        if len(node.targets) == 1 and isinstance(node.targets[0], ast.Subscript):
            return ast.copy_location(self._store(value, node.targets[0]), node)
        if not any(
            isinstance(t, ast.Subscript) for target in node.targets for t in _leaves(target)
        ):
            targets = [self._place(t) for t in node.targets]
            return ast.copy_location(ast.Assign(targets, value), node)
        # Python stores from left to right, and looks at each place only then.
        after: list[ast.stmt] = []
        targets = [self._into_variables(t, after) for t in node.targets]
        return [ast.copy_location(ast.Assign(targets, value), node), *after]

    def _store(self, value: ast.expr, target: ast.Subscript) -> ast.stmt:
        call = invoke("set", value, self.visit(target.value), self.index(target.slice))
        return ast.copy_location(ast.Expr(ast.copy_location(call, target)), target)

    def _place(self, node: ast.expr) -> ast.expr:
        """A target of an assignment that is no place in an array."""
        if isinstance(node, ast.Tuple | ast.List):
            node.elts = [self._place(e) for e in node.elts]
        elif isinstance(node, ast.Starred):
            node.value = self._place(node.value)
        elif isinstance(node, ast.Attribute):
            node.value = self.visit(node.value)
        return node

    def _into_variables(self, node: ast.expr, after: list[ast.stmt]) -> ast.expr:
        if isinstance(node, ast.Tuple | ast.List):
            node.elts = [self._into_variables(e, after) for e in node.elts]
            return node
        if isinstance(node, ast.Starred):
            node.value = self._into_variables(node.value, after)
            return node
        variable = self.temporary()
        load = ast.copy_location(ast.Name(variable, ast.Load()), node)
        if isinstance(node, ast.Subscript):
            after.append(self._store(load, node))
        else:
            after.append(ast.copy_location(ast.Assign([self._place(node)], load), node))
        return ast.copy_location(ast.Name(variable, ast.Store()), node)

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        what = "i" + BINARY[type(node.op)].rstrip("_")
        target = node.target
        value = self.visit(node.value)
        if isinstance(target, ast.Name):
            load = ast.copy_location(ast.Name(target.id, ast.Load()), target)
            call = ast.copy_location(invoke(what, load, value), node)
            return ast.copy_location(ast.Assign([target], call), node)
        if isinstance(target, ast.Subscript):
            place = invoke("place", self.visit(target.value), self.index(target.slice))
            call = invoke("update", ast.copy_location(place, target), name(what), value)
            return ast.copy_location(ast.Expr(ast.copy_location(call, target)), node)
        assert isinstance(target, ast.Attribute)
        variable = self.temporary()  # the object is computed once
        owner = ast.Assign([ast.Name(variable, ast.Store())], self.visit(target.value))
        load = ast.Attribute(ast.Name(variable, ast.Load()), target.attr, ast.Load())
        call = ast.copy_location(invoke(what, ast.copy_location(load, target), value), node)
        place = ast.Attribute(ast.Name(variable, ast.Load()), target.attr, ast.Store())
        return [ast.copy_location(owner, node),
                ast.copy_location(ast.Assign([place], call), node)]  # fmt: skip

    def visit_Match(self, node: ast.Match) -> ast.AST:
        node.subject = self.visit(node.subject)
        for case in node.cases:
            case.guard = case.guard and self.visit(case.guard)
            case.body = self.body(case.body)
        return node


def _leaves(target: ast.expr) -> list[ast.expr]:
    """The single places that an assignment writes to."""
    if isinstance(target, ast.Tuple | ast.List):
        return [leaf for e in target.elts for leaf in _leaves(e)]
    return _leaves(target.value) if isinstance(target, ast.Starred) else [target]


# What arrays have: never a property of the user's.
_ARRAY_ATTRIBUTES = frozenset({
    "T", "mT", "shape", "ndim", "size", "dtype", "real", "imag", "flat", "strides", "nbytes",
    "itemsize", "base", "data", "flags", "ctypes",
})  # fmt: skip
