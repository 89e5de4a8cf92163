"""What a function raises where its values say so: a check that a call may fail.

    check   : checks before it, bad → 0          where any of `bad` holds, the call fails here
    checked : value, check → value               ties a check to a result

The value of `check` is always 0: evaluation ends where one fails, with a status in C and with
`CheckFailedError` in NumPy. So a check is plain data: it is handed from round to round, it is the
result of a side that is taken or not, and who takes a function apart (derivatives, batches, loops)
treats it as any other integer. Its first arguments only say what has to be checked before it.

A `checked` node stands at the results of a whole function and nowhere else.
"""

from __future__ import annotations

import os
import types
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NoReturn

import numpy as np

from symgrad.errors import CheckFailedError, DtypeError
from symgrad.expr.node import CONST, TUPLE, Expr, bind, const, is_const
from symgrad.expr.op import Kind, Op, register
from symgrad.expr.walk import substitute, toposort
from symgrad.ops.body import Body, bodies

FIRST_STATUS = 16  # that C returns for a check; those below are symgrad's own


class Failure:
    """An exception that a traced function raises: what to make again, and where it stood.

    cls, args, state : of the exception
    file, line, function : of the user's code that raises it
    """

    __slots__ = ("args", "cls", "file", "function", "line", "state")

    def __init__(
        self, cls: type, args: tuple[Any, ...], state: Any, file: str, line: int, function: str
    ) -> None:
        self.cls, self.args, self.state = cls, args, state
        self.file, self.line, self.function = file, line, function

    def exception(self) -> Exception:
        """A new exception of the user's type."""
        # A constructor of the user's may take other things than what it hands on as args.
        plain = type(vars(Exception)["__init__"]) is type(self.cls.__init__)  # type: ignore[misc]
        error: Exception = self.cls(*self.args) if plain else self.cls.__new__(self.cls, *self.args)
        error.args = self.args
        if self.state:
            error.__dict__.update(self.state)
        return error

    def throw(self) -> NoReturn:
        """Raise it from the user's file and line, which the traceback then shows."""
        text = "\n" * (self.line - 1) + "raise error"
        code = compile(text, self.file, "exec").replace(co_name=self.function)
        types.FunctionType(code, {"error": self.exception()})()
        raise AssertionError

    @property
    def message(self) -> str:
        """``ValueError: too large``."""
        try:
            told = str(self.exception())
        except Exception:  # of the user's class
            told = ", ".join(map(str, self.args))
        return f"{self.cls.__name__}: {told}" if told else self.cls.__name__

    @property
    def place(self) -> str:
        """``file.py:12``: without a folder, so that generated text is the same everywhere."""
        return f"{os.path.basename(self.file)}:{self.line}"

    def _key(self) -> tuple[Any, ...]:
        return self.file, self.line, self.cls.__module__, self.cls.__qualname__, self.message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Failure) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"raise {self.message} ({self.place})"

    def __reduce__(self) -> Any:
        fields = self.cls, self.args, self.state, self.file, self.line, self.function
        return Failure, fields


def _infer(*args: Any) -> tuple[tuple[int, ...], str]:
    *before, bad, _ = args
    if bad.dtype != "bool" or any(b.dtype != "int64" for b in before):
        raise DtypeError("a check takes checks and a bool")
    return (), "int64"


def _evaluate(*args: Any) -> Any:
    *_, bad, failure = args
    if np.any(bad):
        raise CheckFailedError(failure)
    return np.int64(0)


def _normalize(args: Sequence[Expr], attrs: Any) -> Expr | None:
    """What never fails is what comes before it."""
    *before, bad = args
    kept = [b for b in dict.fromkeys(before) if b.op is not CONST]
    if is_const(bad, False):
        if not kept:
            return const(0, "int64")
        if len(kept) == 1 and not kept[0].shape:
            return kept[0]
    if len(kept) != len(before):
        return bind(CHECK, *kept, bad, attrs=attrs)
    return None


def _batch(args: Sequence[Expr], batched: Sequence[bool], attrs: Any, size: int) -> Expr:
    """The same check: a batch fails where any of its points does."""
    return bind(CHECK, *args, attrs=attrs)


CHECK = register(
    Op("check", Kind.CHECK, _infer, _evaluate, ("failure",), batch=_batch, normalize=_normalize)
)


def _element(index: Sequence[Expr], args: Sequence[Expr], attrs: Any) -> Any:
    return (yield args[0], index)


def _batch_checked(args: Sequence[Expr], batched: Sequence[bool], attrs: Any, size: int) -> Expr:
    return bind("checked", *args)


CHECKED = register(
    Op("checked", Kind.CHECK, lambda value, *checks: (value.shape, value.dtype),
       lambda value, *checks: value, batch=_batch_checked, element=_element, cost=0,
       transpose=lambda ct, args, attrs: bind("checked", ct, *args[1:]))
)  # fmt: skip


# ---- checks of whole functions -------------------------------------------------------------------


def tied(outs: Sequence[Expr], check: Expr | None, start: Expr | None = None) -> list[Expr]:
    """The results of a function that fails where `check` does.

    start : an argument in `check` that stands for what was checked before the function was called
    """
    if check is None or check.op is CONST:
        return list(outs)
    return [bind(CHECKED, o, check, *([] if start is None else [start])) for o in outs]


def apart(outs: Sequence[Expr], before: Expr | None = None) -> tuple[list[Expr], Expr | None]:
    """The results of a function without their check, and the check, behind those `before`."""
    bare = [o.args[0] if o.op is CHECKED else o for o in outs]
    tie = next((o for o in outs if o.op is CHECKED), None)
    if tie is None:
        return bare, None
    _, check, *start = tie.args
    if before is not None and start:  # loops that check something have it among their operands
        *bare, check = substitute([*bare, check], {start[0]: before})
    elif before is not None and before.op is not CONST:
        # Nothing of it may be done before the others: all that it reads comes behind them.
        given = [n for n in toposort([check]) if n.op.kind is Kind.SOURCE]
        (check,) = substitute([check], {n: bind(CHECKED, n, before) for n in given})
    return bare, check


def nothing_but_checks(node: Expr, known: AbstractSet[Expr] = frozenset()) -> frozenset[int]:
    """The positions of those results of a control node which are 0, since checks are.

    known : other integers that are 0
    """
    zeros = _Zeros()
    zero = zeros.among(node.args, known)
    return zeros.of(node, frozenset([k for k, a in enumerate(node.args) if a in zero]))


class _Zeros:
    """Which integers are 0 since they are checks. A body is looked at once for each case."""

    def __init__(self) -> None:
        self.found: dict[tuple[Expr, frozenset[int]], frozenset[int]] = {}

    def among(self, outs: Iterable[Expr], known: AbstractSet[Expr]) -> set[Expr]:
        """The nodes under `outs` which are 0, given those in `known`."""
        zero = set(known)
        of_items: dict[Expr, frozenset[int]] = {}
        for node in _integers(outs):
            if node.op is CHECK or is_const(node, 0) and node.dtype == "int64":
                zero.add(node)
            elif node.op.kind is Kind.ITEM:
                if node.attrs[0] in of_items.get(node.args[0], ()):
                    zero.add(node)
            elif node.op.kind is Kind.CONTROL:
                given = [k for k, a in enumerate(node.args) if a in zero]
                of_items[node] = self.of(node, frozenset(given))
        return zero

    def of(self, node: Expr, given: frozenset[int]) -> frozenset[int]:
        """The results of a control node which are 0, if the operands at `given` are."""
        key = node, given
        if key not in self.found:
            inside = self._of_sides if "body" not in node.op.attr_names else self._of_rounds
            self.found[key] = inside(node, given)
        return self.found[key]

    def _of_sides(self, node: Expr, given: frozenset[int]) -> frozenset[int]:
        sides = bodies(node)
        known = frozenset(b.params[k - 1] for b in sides for k in given if k)
        zeros = [self.among(b.outs, known) for b in sides]
        count = min([len(b.outs) for b in sides], default=0)
        return frozenset(
            k for k in range(count)
            if all(b.outs[k] in zero for b, zero in zip(sides, zeros, strict=True))
        )  # fmt: skip

    def _of_rounds(self, node: Expr, given: frozenset[int]) -> frozenset[int]:
        body: Body = node.attr("body")
        counted = "counted" in node.op.attr_names and node.attr("counted")
        params = {k: body.params[k - counted] for k in given if k >= counted}
        rows = "carry" in node.op.attr_names
        consts = node.attr("consts")
        carry = node.attr("carry") if rows else len(node.args) - consts
        while True:  # a carry that some round makes something else is none
            known = frozenset(params.values())
            zero = self.among(body.outs, known)
            lost = [
                k for k in params
                if 0 <= k - counted - consts < carry
                and body.outs[k - counted - consts] not in zero
            ]  # fmt: skip
            if not lost:
                break
            for k in lost:
                del params[k]
        kept = [
            k for k, o in enumerate(body.outs)
            if o in zero and (k >= carry or body.params[consts + k] in known)
        ]  # fmt: skip
        return frozenset(k if k < carry or rows else k + 1 for k in kept)


def _integers(outs: Iterable[Expr]) -> list[Expr]:
    """The integers and control nodes that decide whether `outs` are 0, arguments first."""

    def below(node: Expr) -> list[Expr]:
        if node.op.kind not in (Kind.ITEM, Kind.CONTROL):
            return []
        return [a for a in node.args if a.dtype == TUPLE or a.dtype == "int64" and not a.shape]

    done: set[Expr] = set()
    result: list[Expr] = []
    stack = [o for o in outs if o.dtype == TUPLE or o.dtype == "int64" and not o.shape]
    while stack:
        waiting = [a for a in below(stack[-1]) if a not in done]
        if waiting and stack[-1] not in done:
            stack += waiting
            continue
        node = stack.pop()
        if node not in done:
            done.add(node)
            result.append(node)
    return result


def failures(nodes: Sequence[Expr]) -> list[Failure]:
    """What the checks among nodes raise, those in bodies included, by file and line."""
    found: dict[Failure, None] = {}
    seen: set[Body] = set()
    waiting: list[Sequence[Expr]] = [nodes]
    while waiting:
        for node in waiting.pop():
            if node.op is CHECK and node.attrs[0] is not None:
                found[node.attrs[0]] = None
            elif node.op.kind is Kind.CONTROL:
                new = [b for b in dict.fromkeys(bodies(node)) if b not in seen]
                seen.update(new)
                waiting += [b.nodes for b in new]
    return sorted(found, key=lambda f: (f.place, f.message, f._key()))


def status_numbers(found: Sequence[Failure]) -> dict[Failure, int]:
    """What C returns for each of them."""
    return {f: FIRST_STATUS + k for k, f in enumerate(found)}
