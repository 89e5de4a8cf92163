"""Types of C trees: every name is declared, no number changes its type unless a cast says so.

C converts where types meet, and compilers warn only where that may lose something. Here nothing is
converted but whole numbers that stand in the text, and truths: what is added, compared, chosen,
stored or given to a function has one type. What is computed of truths alone is one, as in NumPy,
and C's && and || ask any number whether it is 0. And where a long function is cut, each part is
looked at on its own: it knows no variable of another part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from symgrad.emit import tree as c
from symgrad.emit.body import Emitter
from symgrad.emit.printer import lines, text

WHOLE, TRUTH = "whole number", "truth"  # a literal, which has the type that is wanted; a condition
INTEGERS = ("int64_t", "int32_t", "ptrdiff_t", "int", WHOLE)
FLOATS = ("double", "float")
_INDEX = {"ptrdiff_t": "int64_t", "int": "int64_t"}  # counts and offsets are of one type
_ANY = ("isfinite", "isnan", "isinf", "signbit")  # macros for all floats
_SELECT = "sg_select"


class Faults(list[str]):
    """What is wrong in some C, as text."""


class _Checker:
    """Looks through one function.

    names : type of each variable that exists here; that of an array is one of a pointer
    """

    def __init__(self, faults: Faults, names: dict[str, str]) -> None:
        self.faults, self.names = faults, names

    def fault(self, node: Any, what: str) -> str:
        where = text(node) if isinstance(node, c.Expression) else lines([node], "")[0]
        self.faults.append(f"{what}: {where}")
        return ""  # meets every type, so that one mistake is told once

    # ---- expressions -------------------------------------------------------------------------

    def of(self, node: c.Expression) -> str:
        """The type of an expression; "" where it has a fault."""
        return getattr(self, f"_{type(node).__name__.lower()}")(node)

    def meet(self, node: c.Node, *types: str) -> str:
        """The one type that several have."""
        found = {_INDEX.get(t, t) for t in types if t}
        if len(found) > 1:
            found.discard(WHOLE)
        if len(found) > 1:
            return self.fault(node, " and ".join(sorted(found)))
        return found.pop() if found else ""

    def truth(self, node: c.Expression) -> None:
        found = self.of(node)
        if found not in (TRUTH, "bool", "int", "", WHOLE):
            self.fault(node, f"{found} as a condition")

    def integer(self, node: c.Expression) -> None:
        found = self.of(node)
        if found and found not in INTEGERS:
            self.fault(node, f"{found} as an offset")

    def _lit(self, node: c.Lit) -> str:
        body = node.text.strip("()-")
        if body in ("true", "false"):
            return "bool"
        if body.endswith(("NAN", "INFINITY")):
            return "float" if "float" in body else "double"
        if "INT64_C" in body:
            return "int64_t"
        if any(sign in body for sign in ".e") and not body.startswith("0x"):
            return "float" if body.endswith("f") else "double"
        return WHOLE

    def _name(self, node: c.Name) -> str:
        if node.name == "NULL":
            return ""
        if node.name == "SG_MEMBER":
            return "int64_t"
        found = self.names.get(node.name)
        return self.fault(node, "nothing has this name") if found is None else found

    def _index(self, node: c.Index) -> str:
        self.integer(node.index)
        found = self._name(c.Name(node.array))
        if found and not found.endswith("*"):
            return self.fault(node, f"{found} as an array")
        return found.removesuffix(" *")

    def _sum(self, node: c.Sum) -> str:
        first, *rest = [self.of(t) for t in node.terms] or [WHOLE]
        for found, term in zip(rest, node.terms[1:], strict=True):
            if found and found not in INTEGERS:
                self.fault(term, f"{found} in an offset")
        return first if first.endswith("*") else self.meet(node, first, *rest)

    def _call(self, node: c.Call) -> str:
        types = [self.of(a) for a in node.args]
        if node.function in _ANY:
            return TRUTH if set(types) <= {*FLOATS, ""} else self.fault(node, types[0])
        if node.function == _SELECT:
            self.truth(node.args[0])
            return self.meet(node, *types[1:])
        if node.origin == "math":
            return self.meet(node, *types)
        own = {"": "double", "?": ""}.get(node.dtype) or _CTYPES.get(node.dtype, "")
        for found, a in zip(types, node.args, strict=True):
            plain = found.removesuffix(" *")
            known = plain in (own, "", TRUTH, "bool") or plain in INTEGERS
            if not known and node.dtype:
                self.fault(a, f"{found} for {node.function} of {own}")
        return own if node.origin == "helpers" else WHOLE

    def _group(self, node: c.Group) -> str:
        return self.of(node.inner)

    def _pair(self, node: c.Pair) -> str:
        return self.meet(node, self.of(node.left), self.of(node.right))

    def _unary(self, node: c.Unary) -> str:
        found = self.of(node.operand)
        if node.op == "!":
            return TRUTH
        if node.op == "&":
            return f"{found} *"
        if node.op == "*":
            return found.removesuffix(" *")
        return found

    def _cast(self, node: c.Cast) -> str:
        self.of(node.operand)
        return node.ctype

    def _binary(self, node: c.Binary) -> str:
        left, right = self.of(node.left), self.of(node.right)
        if node.op in ("&&", "||") or {left, right} <= {TRUTH, "bool"}:
            return TRUTH
        if left.endswith("*") and node.op == "+" and right in INTEGERS:
            return left
        if node.op in ("==", "!=", "<", ">", "<=", ">="):
            truths = {left, right} <= {TRUTH, "bool", WHOLE, ""}
            if not truths:
                self.meet(node, left, right)
            return TRUTH
        return self.meet(node, left, right)

    def _conditional(self, node: c.Conditional) -> str:
        self.truth(node.condition)
        sides = self.of(node.then), self.of(node.otherwise)
        return TRUTH if set(sides) == {TRUTH, "bool"} else self.meet(node, *sides)

    # ---- statements --------------------------------------------------------------------------

    def body(self, body: Iterable[c.Statement], **more: str) -> None:
        """Statements in braces: what they declare is gone behind them."""
        outer = self.names
        self.names = {**outer, **more}
        for s in body:
            self.statement(s)
        self.names = outer

    def statement(self, s: c.Statement) -> None:
        if isinstance(s, c.Declare):
            self.stored(s, s.ctype.replace("*restrict const", "*"), s.value)
            self.names[s.name] = s.ctype.replace("*restrict const", "*")
        elif isinstance(s, c.DeclareArray):
            self.names[s.name] = f"{s.ctype} *"
        elif isinstance(s, c.Assign):
            self.stored(s, self.of(s.target), s.value)
        elif isinstance(s, c.For):
            self.integer(s.start)
            self.integer(s.stop)
            self.body(s.body, **{s.variable: "ptrdiff_t"})
        elif isinstance(s, c.If):
            self.truth(s.condition)
            self.body(s.body)
            self.body(s.orelse)
        elif isinstance(s, c.While):
            self.body((*s.before, c.If(s.condition, s.body)))
        elif isinstance(s, c.Block):
            self.body(s.body)
        elif isinstance(s, c.Together):
            for inside in s.body:
                self.statement(inside)
        elif isinstance(s, c.Do):
            self.of(s.call)

    def stored(self, s: c.Statement, to: str, value: c.Expression) -> None:
        found = self.of(value)
        if found == TRUTH and to in ("bool", "int"):
            return
        self.meet(s, to, found)


_CTYPES = {"float64": "double", "float32": "float", "int64": "int64_t", "int32": "int32_t",
           "bool": "bool"}  # fmt: skip


def faults_of(emitter: Emitter, parts: Sequence[Iterable[c.Statement]]) -> Faults:
    """What is wrong with the functions that some code has been cut into."""
    faults = Faults()
    given = {"work": "double *"}
    for b in emitter.program.buffers:
        ctype = emitter.target.types[b.dtype]
        if b.role == "in" and not b.shape:
            given[b.name] = ctype
        elif b.role not in ("scalar", "own", "member", "none"):
            given[b.name] = f"{ctype} *"
    for body in parts:
        _Checker(faults, {}).body(body, **given)
    return faults
