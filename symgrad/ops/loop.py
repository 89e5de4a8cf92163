"""A loop taken apart: what its derivatives, its batches and its simpler forms are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from symgrad.expr.node import Expr, const
from symgrad.expr.op import Kind
from symgrad.ops.body import Body, fresh, scan, while_loop

Maybe = Expr | None


@dataclass
class Loop:
    """A scan or a while loop with an open body.

    consts, xs : (value outside, argument of the body)
    carry : (start, argument of the body, its next value)
    ys : what is stacked of each round
    length : rounds, or the most of them; None for a while loop without a limit
    test : of a while loop
    """

    consts: list[tuple[Expr, Expr]]
    carry: list[tuple[Expr, Expr, Expr]]
    xs: list[tuple[Expr, Expr]]
    ys: list[Expr]
    length: int | None
    reverse: bool = False
    count: Expr | None = None
    test: Expr | None = None
    site: Any = field(default=None, repr=False)

    @classmethod
    def of(cls, node: Expr, args: Sequence[Expr] | None = None, *, opened: bool = True) -> Loop:
        """The loop of a node, with other operands if `args` are given.

        opened : with new arguments in the body, else its parameters stand for them
        """
        operands = list(node.args if args is None else args)
        consts, carry = _counts(node)
        is_scan = "length" in node.op.attr_names
        count = operands.pop(0) if is_scan and node.attr("counted") else None
        body: Body = node.attr("body")
        arguments = fresh(body.params) if opened else list(body.params)
        outs = body.open(arguments) if opened else list(body.outs)
        fixed = consts + carry
        return cls(
            consts=list(zip(operands[:consts], arguments[:consts], strict=True)),
            carry=list(
                zip(operands[consts:fixed], arguments[consts:fixed], outs[:carry], strict=True)
            ),
            xs=list(zip(operands[fixed:], arguments[fixed:], strict=True)),
            ys=outs[carry:],
            length=node.attr("length" if is_scan else "limit"),
            reverse=is_scan and node.attr("reverse"),
            count=count,
            test=None if is_scan else node.attr("test").open(arguments)[0],
            site=node.site,
        )

    def copy(self) -> Loop:
        """One that can be added to."""
        new = replace(self)
        new.consts, new.carry, new.xs, new.ys = (
            list(self.consts), list(self.carry), list(self.xs), list(self.ys),
        )  # fmt: skip
        return new

    def add(self, k: int, consts: int, carry: int, what: tuple[Expr, Expr, Maybe]) -> None:
        """An operand of the same kind as operand number `k`; absent next values are zeros."""
        value, argument, new = what
        if k < consts:
            self.consts.append((value, argument))
        elif k < consts + carry:
            self.carry.append((value, argument, zero(argument) if new is None else new))
        else:
            self.xs.append((value, argument))

    @property
    def arguments(self) -> list[Expr]:
        """Of the body: for consts, carry and xs."""
        return [a for _, a in self.consts] + [a for _, a, _ in self.carry] + [a for _, a in self.xs]

    @property
    def outs(self) -> list[Expr]:
        """Of the body: next carry and ys."""
        return [new for _, _, new in self.carry] + self.ys

    def results(self) -> tuple[list[Expr], Expr | None, list[Expr]]:
        """Final carry, number of rounds (`count`, for a scan), stacked ys."""
        body = Body.close(self.arguments, self.outs)
        consts, start = [v for v, _ in self.consts], [v for v, _, _ in self.carry]
        n = len(start)
        if self.test is None:
            assert self.length is not None
            xs = [v for v, _ in self.xs]
            made = scan(body, consts, start, xs, self.length, reverse=self.reverse,
                        count=self.count)  # fmt: skip
            self._mark(made)
            return made[:n], self.count, made[n:]
        test = Body.close(self.arguments, [self.test])
        made = while_loop(test, body, consts, start, self.length)
        self._mark(made)
        return made[:n], made[n], made[n + 1 :]

    def _mark(self, made: Sequence[Expr]) -> None:
        if made and made[0].args[0].site is None:
            made[0].args[0].site = self.site


def _counts(node: Expr) -> tuple[int, int]:
    """How many operands are consts, how many are carried."""
    consts = node.attr("consts")
    if "carry" in node.op.attr_names:
        return consts, node.attr("carry")
    return consts, len(node.args) - consts


def zero(like: Expr) -> Expr:
    return const(0, like.dtype, like.shape)


def everywhere(support: Maybe, like: Expr) -> Expr:
    return const(True, "bool", like.shape) if support is None else support


def is_variable(node: Expr) -> bool:
    """Whether a node is an argument or a parameter."""
    return node.op.kind is Kind.SOURCE and "position" in node.op.attr_names
