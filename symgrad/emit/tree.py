"""C as a tree of frozen nodes: expressions and statements. `symgrad.emit.printer` makes text of it.

Every node knows its parts (`children`, in the order of the text), so what a piece of C reads,
calls or declares is asked of the tree and never read from text. How tightly an expression binds is
`level`, a fact of its class or operator.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from symgrad.lazy import dataclass

# How tightly an expression binds; the order of C's grammar.
(ATOM, UNARY, TIMES, PLUS, COMPARE, EQUAL, BIT_AND, BIT_OR, AND, OR, TERNARY) = range(11, 0, -1)
LEVELS = {
    "*": TIMES, "/": TIMES, "%": TIMES, "+": PLUS, "-": PLUS,
    "<": COMPARE, ">": COMPARE, "<=": COMPARE, ">=": COMPARE, "==": EQUAL, "!=": EQUAL,
    "&": BIT_AND, "|": BIT_OR, "&&": AND, "||": OR,
}  # fmt: skip


class Node:
    """A part of a C function."""

    __slots__: ClassVar[tuple[str, ...]] = ()
    named: ClassVar[int] = -1  # which field has the variable or array that it names
    needed: ClassVar[tuple[str, ...]] = ()  # macros and types that stand in all of its kind

    def children(self) -> list[Node]:
        """The nodes that this one consists of, in the order of its fields."""
        found: list[Node] = []
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, Node):
                found.append(value)
            elif type(value) is tuple:
                found.extend(value)
        return found

    def own_needs(self) -> tuple[str, ...]:
        """Types and constants of headers, and macros, that stand in this node itself."""
        ctype = getattr(self, "ctype", "")
        return (*self.needed, base_type(ctype)) if ctype else self.needed


class Expression(Node):
    __slots__ = ()
    level: ClassVar[int] = ATOM


class Statement(Node):
    __slots__ = ()


# ---- expressions ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lit(Expression):
    """A constant as `literals.literal` spells it; a negative one has its brackets.

    needs : a type or constant of a header that it has
    """

    text: str
    needs: str = ""

    def own_needs(self) -> tuple[str, ...]:
        return (self.needs,) if self.needs else ()


@dataclass(frozen=True, slots=True)
class Name(Expression):
    """A variable, a pointer, or a macro without arguments."""

    name: str


@dataclass(frozen=True, slots=True)
class Index(Expression):
    """array[index]"""

    array: str
    index: Expression
    named: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class Sum(Expression):
    """Terms of an offset and a constant, in one row without brackets."""

    terms: tuple[Expression, ...]
    constant: int = 0
    level: ClassVar[int] = PLUS


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """function(args)

    dtype : that by which the function's name ends (f for float32); none if all types share it
    origin : the folder of templates that has the function's text, "helpers" or "call"; "math" for
        one of C's library, "" for macros
    costly : whether it is worth a vector
    """

    function: str
    args: tuple[Expression, ...]
    dtype: str = ""
    origin: str = ""
    costly: bool = False


@dataclass(frozen=True, slots=True)
class Group(Expression):
    """Brackets that C does not need: compilers warn without, or they stand in an op's row."""

    inner: Expression


@dataclass(frozen=True, slots=True)
class Pair(Expression):
    """(left + right) over two lines."""

    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Unary(Expression):
    """-x, !x, *x or &x"""

    op: str
    operand: Expression
    level: ClassVar[int] = UNARY


@dataclass(frozen=True, slots=True)
class Cast(Expression):
    ctype: str
    operand: Expression
    level: ClassVar[int] = UNARY


@dataclass(frozen=True, slots=True)
class Binary(Expression):
    op: str
    left: Expression
    right: Expression

    @property
    def level(self) -> int:  # type: ignore[override]
        return LEVELS[self.op]


@dataclass(frozen=True, slots=True)
class Conditional(Expression):
    """condition ? then : otherwise"""

    condition: Expression
    then: Expression
    otherwise: Expression
    level: ClassVar[int] = TERNARY


# ---- statements ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Declare(Statement):
    """A variable with its first value."""

    ctype: str
    name: str
    value: Expression
    const: bool = True
    named: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class DeclareArray(Statement):
    """An array on the stack; `zero`: all its elements are 0 at first."""

    ctype: str
    name: str
    size: int
    zero: bool = False
    named: ClassVar[int] = 1
    needed: ClassVar[tuple[str, ...]] = ("SG_ALIGNED",)


@dataclass(frozen=True, slots=True)
class Mark(Statement):
    """A macro of the file on a line of its own."""

    text: str

    def own_needs(self) -> tuple[str, ...]:
        return (self.text,)


@dataclass(frozen=True, slots=True)
class Assign(Statement):
    """target op value; `marks` stand on lines of their own before it"""

    target: Expression
    op: str
    value: Expression
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class For(Statement):
    """for (ptrdiff_t variable = start; variable < stop; variable += step)

    step : None for ++variable
    marks : macros on lines of their own before it
    """

    variable: str
    start: Expression
    stop: Expression
    body: tuple[Statement, ...]
    step: int | None = None
    marks: tuple[Mark | Call, ...] = ()
    needed: ClassVar[tuple[str, ...]] = ("ptrdiff_t",)


@dataclass(frozen=True, slots=True)
class If(Statement):
    condition: Expression
    body: tuple[Statement, ...]
    orelse: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True)
class While(Statement):
    """while (condition) body

    before : declarations of what the condition needs, computed anew each time
    """

    before: tuple[Statement, ...]
    condition: Expression
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Block(Statement):
    """Statements in braces, behind marks."""

    body: tuple[Statement, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Together(Statement):
    """Statements between which a long function is not cut."""

    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Return(Statement):
    status: int


@dataclass(frozen=True, slots=True)
class Do(Statement):
    """A call for its effect."""

    call: Call


# ---- questions and changes -----------------------------------------------------------------------


def walk(*roots: Node) -> Iterator[Node]:
    """Every node below `roots`, in the order of the text."""
    stack = list(reversed(roots))
    while stack:
        node = stack.pop()
        yield node
        if type(node) is not Name and type(node) is not Lit:
            stack.extend(node.children()[::-1])


@dataclass(frozen=True, slots=True)
class Uses:
    """What pieces of C use.

    names : variables and arrays, also those that they declare
    calls : function, dtype and origin of each call, in the order of the text
    needs : types and constants of C's headers, and macros on lines of their own
    """

    names: set[str]
    calls: dict[tuple[str, str, str], None]
    needs: set[str]


def uses(*roots: Node) -> Uses:
    """What is used anywhere below `roots`."""
    names: set[str] = set()
    calls: dict[tuple[str, str, str], None] = {}
    needs: set[str] = set()
    stack: list[Any] = list(reversed(roots))
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind is Name:
            names.add(node.name)
        elif kind is Lit:
            if node.needs:
                needs.add(node.needs)
        elif kind is Binary:  # most nodes are one of these
            stack.append(node.right)
            stack.append(node.left)
        elif kind is Call:
            calls[node.function, node.dtype, node.origin] = None
            stack.extend(node.args[::-1])
        elif kind is Index:
            names.add(node.array)
            stack.append(node.index)
        elif kind is Assign:
            stack.extend(node.marks)
            stack.append(node.value)
            stack.append(node.target)
        else:
            if node.named >= 0:
                names.add(getattr(node, node.__slots__[node.named]))
            needs.update(node.own_needs())
            stack.extend(node.children()[::-1])
    return Uses(names, calls, needs)


def replaced(node: Any, change: Callable[[Node], Node | None]) -> Any:
    """A tree with `change(n)` in the place of each node for which that is not None."""
    new = change(node)
    if new is not None:
        return new
    values, same = [], True
    for name in node.__slots__:
        value = old = getattr(node, name)
        if isinstance(old, Node):
            value = replaced(old, change)
            same = same and value is old
        elif type(old) is tuple:
            value = tuple([replaced(v, change) for v in old])
            same = same and all(map(operator.is_, value, old))
        values.append(value)
    return node if same else type(node)(*values)


def renamed(node: Any, new: Mapping[str, Expression]) -> Any:
    """A tree with other expressions in the place of variables. One that is a sum joins sums."""

    def change(n: Node) -> Node | None:
        if isinstance(n, Name):
            return new.get(n.name)
        if isinstance(n, Sum):
            terms: list[Expression] = []
            for term in n.terms:
                found = renamed(term, new)
                flat = isinstance(term, Name) and isinstance(found, Sum)
                more = [Lit(str(found.constant))] if flat and found.constant else []  # not negative
                terms.extend([*found.terms, *more] if flat else [found])
            return Sum(tuple(terms), n.constant)
        return None

    return replaced(node, change)


def base_type(ctype: str) -> str:
    """The type that a pointer points to, else the type."""
    return ctype.partition(" ")[0]


def integer(value: int) -> Lit:
    """A count or an offset, which is not negative."""
    return Lit(str(value))
