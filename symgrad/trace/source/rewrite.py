"""The syntax tree of a user's function, with what Python does not let us see made into calls.

In: the tree of a function. Out: a tree of the same function that calls `_sg_call(f, x)` for f(x),
`_sg_get(a, i)` for a[i], and so on; `RUNTIME` names what these stand for at run time. All nodes
keep the user's lines. Nothing here knows what is traced: that is decided when the calls happen.
"""

from __future__ import annotations

import ast
from typing import Any

from symgrad.trace.source.blocks import invoke, leaves, load, name
from symgrad.trace.source.looped import Looped

# Calls of these look at the frame they stand in.
LOOKS_AT_FRAMES = frozenset({"super", "locals", "globals", "vars", "dir", "exec", "eval"})

BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.FloorDiv: "floordiv",
    ast.Mod: "mod", ast.Pow: "pow", ast.MatMult: "matmul", ast.BitAnd: "and_", ast.BitOr: "or_",
    ast.BitXor: "xor", ast.LShift: "lshift", ast.RShift: "rshift",
}  # fmt: skip

UNARY: dict[type[ast.unaryop], str] = {
    ast.USub: "neg", ast.UAdd: "pos", ast.Invert: "invert",
}  # fmt: skip

COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Eq: "eq", ast.NotEq: "ne",
}  # fmt: skip


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


def _of_list(node: ast.expr) -> bool:
    """Whether a literal may be an index of a list, which may be longer than is known."""
    if isinstance(node, ast.Constant):
        return type(node.value) is int
    return isinstance(node, ast.UnaryOp | ast.Slice)


class Rewriter(Looped):
    """One function, and what is defined inside it.

    modules : global names that are modules, whose attributes are nothing of the user's objects
    """

    def __init__(self, modules: frozenset[str]) -> None:
        super().__init__()
        self.modules = modules

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return node
        if isinstance(node.target, ast.Name):
            node.value = self.visit(node.value)
            return node
        return self.visit_Assign(ast.copy_location(ast.Assign([node.target], node.value), node))

    # ---- expressions ----
    def visit_Call(self, node: ast.Call) -> ast.AST:
        args = [self.visit(a) for a in node.args]
        keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        if isinstance(node.func, ast.Name) and node.func.id in LOOKS_AT_FRAMES:
            if node.func.id == "eval":
                frame = [ast.Call(name(n), [], []) for n in ("frame_globals", "locals")]
                args = [node.func, *frame, *args]
                return ast.copy_location(ast.Call(name("evaluate"), args, keywords), node)
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
        index = node.slice
        plain = is_plain(index) and not _of_rank_zero(index) and not _of_list(index)
        if plain or not isinstance(node.ctx, ast.Load):
            index = index if plain else self.visit(index)
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

    def _made(self, node: ast.expr) -> ast.expr:
        """A list, dict or set, which is told to the journal as a new one."""
        self.generic_visit(node)
        if isinstance(getattr(node, "ctx", None), ast.Store | ast.Del):
            return node
        return ast.copy_location(invoke("new", node), node)

    visit_List = visit_Dict = visit_Set = _made
    visit_ListComp = visit_DictComp = visit_SetComp = _made

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        known = isinstance(node.value, ast.Name) and node.value.id in self.modules
        if known or not isinstance(node.ctx, ast.Load) or node.attr in _ARRAY_ATTRIBUTES:
            return self.generic_visit(node)
        if node.attr == "__class__":
            return ast.copy_location(invoke("class", self.visit(node.value)), node)
        if node.attr.startswith("__"):  # which Python spells otherwise inside classes
            return self.generic_visit(node)
        return ast.copy_location(
            invoke("attr", self.visit(node.value), ast.Constant(node.attr)), node
        )

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        return self._binary(node, "_")

    def _binary(self, node: ast.BinOp, suffix: str) -> ast.expr:
        """An operator; `suffix` is "_" for the outermost, whose arrays become this trace's."""
        left, right = (
            self._binary(side, "") if isinstance(side, ast.BinOp) else self.visit(side)
            for side in (node.left, node.right)
        )
        if is_plain(node.left) and is_plain(node.right):
            return ast.copy_location(ast.BinOp(left, node.op, right), node)
        return ast.copy_location(invoke(BINARY[type(node.op)] + suffix, left, right), node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if isinstance(node.op, ast.Not):
            return ast.copy_location(invoke("not", self.visit(node.operand)), node)
        if is_plain(node):
            return node
        if isinstance(node.operand, ast.BinOp):
            operand = self._binary(node.operand, "")
        else:
            operand = self.visit(node.operand)
        return ast.copy_location(invoke(UNARY[type(node.op)], operand), node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        if len(node.ops) > 1 and self.may_wait(*node.comparators):
            rest: list[ast.expr] = []
            for op, operand in zip(node.ops, node.comparators, strict=True):
                rest += [ast.Constant(type(op).__name__), self.later(self.visit(operand))]
            return ast.copy_location(invoke("chain", self.visit(node.left), *rest), node)
        self.generic_visit(node)
        op = node.ops[0]
        if len(node.ops) > 1 or isinstance(op, ast.Is | ast.IsNot):
            return node
        if isinstance(op, ast.In | ast.NotIn):
            found = ast.copy_location(invoke("contains", node.comparators[0], node.left), node)
            return (
                found if isinstance(op, ast.In) else ast.copy_location(invoke("not", found), node)
            )
        what = COMPARED[type(op)]
        return ast.copy_location(invoke(what, node.left, node.comparators[0]), node)

    # ---- statements ----
    def visit_Starred(self, node: ast.Starred) -> ast.AST:
        read = isinstance(node.ctx, ast.Load)
        node.value = self.iterable(node.value) if read else self.visit(node.value)
        return node

    def visit_Assign(self, node: ast.Assign) -> Any:
        apart = any(isinstance(t, ast.Tuple | ast.List) for t in node.targets)
        value = self._parts(node.value) if apart else self.visit(node.value)
        if len(node.targets) == 1 and isinstance(node.targets[0], ast.Subscript | ast.Attribute):
            return ast.copy_location(self._store(value, node.targets[0]), node)
        if not any(isinstance(t, ast.Subscript) for target in node.targets for t in leaves(target)):
            targets = [self._place(t) for t in node.targets]
            return ast.copy_location(ast.Assign(targets, value), node)
        # Python stores from left to right, and looks at each place only then.
        after: list[ast.stmt] = []
        targets = [self.into_variables(t, after) for t in node.targets]
        return [ast.copy_location(ast.Assign(targets, value), node), *after]

    def _parts(self, node: ast.expr) -> ast.expr:
        """What is taken apart into several targets."""
        new = self.iterable(node)
        made = isinstance(node, ast.Tuple | ast.List)
        return new if made else ast.copy_location(invoke("parts", new), node)

    def _store(self, value: ast.expr, target: ast.Subscript | ast.Attribute) -> ast.stmt:
        if isinstance(target, ast.Attribute):
            return self._attribute(value, self.visit(target.value), target)
        call = invoke("set", value, self.visit(target.value), self.index(target.slice))
        return ast.copy_location(ast.Expr(ast.copy_location(call, target)), target)

    def _attribute(self, value: ast.expr, owner: ast.expr, target: ast.Attribute) -> ast.stmt:
        """An attribute that is stored; the name is spelled as it is in its class."""
        if target.attr.startswith("__") and not target.attr.endswith("__"):
            place = ast.copy_location(ast.Attribute(owner, target.attr, ast.Store()), target)
            return ast.copy_location(ast.Assign([place], value), target)
        call = invoke("setattr", value, owner, ast.Constant(target.attr))
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

    def into_variables(self, node: ast.expr, after: list[ast.stmt]) -> ast.expr:
        if isinstance(node, ast.Tuple | ast.List):
            node.elts = [self.into_variables(e, after) for e in node.elts]
            return node
        if isinstance(node, ast.Starred):
            node.value = self.into_variables(node.value, after)
            return node
        variable = self.temporary()
        value = ast.copy_location(load(variable), node)
        if isinstance(node, ast.Subscript | ast.Attribute):
            after.append(self._store(value, node))
        else:
            after.append(ast.copy_location(ast.Assign([self._place(node)], value), node))
        return ast.copy_location(ast.Name(variable, ast.Store()), node)

    def visit_Delete(self, node: ast.Delete) -> Any:
        result: list[ast.stmt] = []
        for target in node.targets:
            new: ast.stmt
            if isinstance(target, ast.Subscript):
                call = invoke("del", self.visit(target.value), self.index(target.slice))
                new = ast.Expr(ast.copy_location(call, target))
            elif isinstance(target, ast.Attribute) and not target.attr.startswith("__"):
                call = invoke("delattr", self.visit(target.value), ast.Constant(target.attr))
                new = ast.Expr(ast.copy_location(call, target))
            else:
                new = ast.Delete([target])
            result.append(ast.copy_location(new, node))
        return result

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        node.iter = self.iterable(node.iter)
        node.ifs = [self.visit(test) for test in node.ifs]
        return node

    def iterable(self, node: ast.expr) -> ast.expr:
        """What is gone through; an iterator that has a name may be older than a side."""
        named = isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
        new = self.visit(node)
        return ast.copy_location(invoke("iterable", new), node) if named else new

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        what = "i" + BINARY[type(node.op)].rstrip("_")
        target = node.target
        value = self.visit(node.value)
        if isinstance(target, ast.Name):
            old = ast.copy_location(load(target.id), target)
            call = ast.copy_location(invoke(what, old, value), node)
            return ast.copy_location(ast.Assign([target], call), node)
        if isinstance(target, ast.Subscript):
            place = invoke("place", self.visit(target.value), self.index(target.slice))
            call = invoke("update", ast.copy_location(place, target), name(what), value)
            return ast.copy_location(ast.Expr(ast.copy_location(call, target)), node)
        assert isinstance(target, ast.Attribute)
        variable = self.temporary()  # the object is computed once
        owner = ast.Assign([ast.Name(variable, ast.Store())], self.visit(target.value))
        held = ast.Attribute(load(variable), target.attr, ast.Load())
        call = ast.copy_location(invoke(what, ast.copy_location(held, target), value), node)
        store = self._attribute(call, load(variable), target)
        return [ast.copy_location(owner, node), ast.copy_location(store, node)]


# What arrays have: never a property of the user's.
_ARRAY_ATTRIBUTES = frozenset({
    "T", "mT", "shape", "ndim", "size", "dtype", "real", "imag", "flat", "strides", "nbytes",
    "itemsize", "base", "data", "flags", "ctypes",
})  # fmt: skip
