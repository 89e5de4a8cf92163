"""Derivatives, batches and supports of loops, which are loops over those of their bodies.

    forward : the tangents are carried beside the values; which carries have any is a fixed point
    reverse : the loop once more, which stacks what the reverse rounds read of each round (the
              residuals, see `residuals`), and a loop the other way whose carry are the cotangents
              of the carry, and sums for the cotangents of what all rounds share

A cotangent (or tangent) in the carry may be zero by structure in some rounds, before the first
result that is used. Where a round has an infinite derivative such zeros must not meet it. There a
bool in the carry says where the cotangent is not such a zero (`diff.support`); where nothing reads
it, it is a carry that is not used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from symgrad.expr.evaluate import evaluate
from symgrad.expr.limits import tape_rounds
from symgrad.expr.node import FLOATS, Expr, bind, const
from symgrad.expr.walk import depends_on, substitute, toposort
from symgrad.ops.body import fresh
from symgrad.ops.elementwise import join
from symgrad.ops.linear import broadcast_to, concat, reshape, slice_
from symgrad.ops.loop import Loop, Maybe, is_variable, zero
from symgrad.ops.residuals import chosen

# ---- forward ----------------------------------------------------------------------------------


def jvp(tangents: Sequence[Maybe], node: Expr, calculus: Any) -> list[Maybe]:
    """Tangents of the results, from those of the operands."""
    loop = Loop.of(node)
    if loop.count is not None:
        tangents = tangents[1:]
    first, n = len(loop.consts), len(loop.carry)
    carried = range(first, first + n)
    arguments = loop.arguments
    seeds = fresh(arguments, len(arguments))
    flags = _Flags(calculus, tangents, carried, seeds)
    have = [t is not None for t in tangents]
    while True:
        active = [k for k, h in enumerate(have) if h]
        pushed = calculus.jvp(
            loop.outs, [arguments[k] for k in active], [seeds[k] for k in active],
            flags.known(active),
        )  # fmt: skip
        made = {k: pushed[k - first] for k in carried}
        grown = [h or made.get(k) is not None for k, h in enumerate(have)]
        following = flags.next(active, made) if grown == have else None
        if following is not None:
            break
        have = grown
    values = [v for v, _ in loop.consts] + [v for v, _, _ in loop.carry] + [v for v, _ in loop.xs]
    new = loop.copy()
    for k in active:
        t = tangents[k]
        new.add(k, first, n, (zero(values[k]) if t is None else t, seeds[k], made.get(k)))
    for k in active:
        if k in flags.flags:
            new.add(k, first, n, (flags.start(k), flags.flags[k], following.get(k)))
    new.ys += [y for y in pushed[n:] if y is not None]
    final, _, ys = new.results()
    rest, more = iter(final[n:]), iter(ys[len(loop.ys) :])
    result: list[Maybe] = [next(rest) if have[k] else None for k in carried]
    if loop.test is not None:
        result.append(None)
    return result + [None if y is None else next(more) for y in pushed[n:]]


class _Flags:
    """Bool arguments of a body which say where its seeds are not zero by structure.

    There are some where a derivative inside may be infinite and a seed may be zero. One for a whole
    array of the carry is enough where all of its elements begin together: after the first round
    from which something is read, mostly.
    """

    def __init__(
        self, calculus: Any, values: Sequence[Maybe], carried: range, seeds: Sequence[Expr]
    ) -> None:
        self.values, self.carried, self.seeds = values, carried, seeds
        self.calculus = calculus
        self.supports: list[Maybe] = [None] * len(values)
        self.flags: dict[int, Expr] = {}
        if not calculus.guarded:
            return
        self.supports = [None if v is None else calculus.outside.of(v) for v in values]
        for k, support in enumerate(self.supports):
            absent = k in carried and values[k] is None and seeds[k].dtype in FLOATS
            if absent or support is not None:
                self._flag(k, support is not None)

    def _flag(self, k: int, wide: bool) -> None:
        shape = self.seeds[k].shape if wide else ()
        position = 3 * len(self.seeds) + 2 * k + wide
        self.flags[k] = fresh([const(True, "bool", shape)], position)[0]

    def start(self, k: int) -> Expr:
        """What the flag of a seed is where it comes in."""
        shape = self.flags[k].shape
        if self.values[k] is None:
            return const(False, "bool", shape)
        support = self.supports[k]
        return const(True, "bool", shape) if support is None else support

    def known(self, active: Sequence[int]) -> dict[Expr, Expr]:
        """Where the seeds are not zero."""
        return {
            self.seeds[k]: broadcast_to(self.flags[k], self.seeds[k].shape)
            for k in active if k in self.flags
        }  # fmt: skip

    def next(self, active: Sequence[int], made: Mapping[int, Maybe]) -> dict[int, Expr] | None:
        """The flags of the next round, for what the seeds in the carry are then.

        None if that takes other flags than there are: for what becomes zero in a later round, for
        elements of one array that begin in different rounds. They are there now.
        """
        supports = self.calculus.supports(self.known(active))
        found: dict[int, Expr] = {}
        wider = False
        for k in active if self.flags else ():
            if k not in self.carried:
                continue
            value = made[k]
            support = None if value is None else supports.of(value)
            if k not in self.flags:
                if value is None or support is not None:
                    self._flag(k, False)
                    wider = True
                continue
            shape = self.flags[k].shape
            if value is None:
                found[k] = const(False, "bool", shape)
            elif support is None or shape == support.shape:
                found[k] = const(True, "bool", shape) if support is None else support
            else:
                whole = self._whole(support, active)
                if whole is None:
                    self._flag(k, True)
                    wider = True
                else:
                    found[k] = whole
        return None if wider else found

    def _whole(self, support: Expr, active: Sequence[int]) -> Maybe:
        """The same for a whole array; None if that is not known.

        A derivative is linear in the seeds: it is zero by structure where it is for each alone.
        """
        flags = [self.flags[k] for k in active if k in self.flags]
        if not all(n in flags for n in toposort([support]) if is_variable(n)):
            return None
        cases = [dict.fromkeys(flags, False), *({f: f is g for f in flags} for g in flags)]
        whole: Maybe = const(False, "bool")
        for case, flag in zip(cases, [None, *flags], strict=True):
            values = {f: np.full(f.shape, on) for f, on in case.items()}
            (value,) = evaluate([support], values)
            if value.all() and value.size:
                if flag is None:
                    return const(True, "bool")
                whole = join(whole, reduced(flag))
            elif value.any():
                return None
        return whole


def reduced(flag: Expr) -> Expr:
    """Whether any element is set."""
    return bind("any", flag, attrs=(tuple(range(flag.ndim)),)) if flag.ndim else flag


# ---- reverse ----------------------------------------------------------------------------------


def vjp(
    cotangents: Sequence[Maybe], node: Expr, wanted: Sequence[bool], calculus: Any
) -> list[Maybe]:
    """Cotangents of the operands, from those of the results."""
    loop = Loop.of(node)
    if loop.length is None:  # it keeps values of each round, and needs room for them
        loop.length = tape_rounds.get()
    counted = loop.count is not None
    reverse = _Reverse(loop, cotangents, wanted[1:] if counted else wanted, calculus)
    return [None] * counted + reverse.cotangents()


class _Reverse:
    """The reverse loop of a loop."""

    def __init__(
        self, loop: Loop, cotangents: Sequence[Maybe], wanted: Sequence[bool], calculus: Any
    ) -> None:
        self.loop, self.wanted = loop, wanted
        self.first, self.n = len(loop.consts), len(loop.carry)
        carry, ys = cotangents[: self.n], cotangents[len(cotangents) - len(loop.ys) :]
        self.arguments = loop.arguments
        active = _active(loop, wanted)
        # of all results of a round: that of the next carry only where it depends on what is wanted
        self.given: list[Maybe] = [
            c if active[self.first + j] else None for j, c in enumerate(carry)
        ] + [*ys]  # fmt: skip
        self.seeds = fresh(loop.outs, len(self.arguments))
        flags = _Flags(calculus, self.given, range(self.n), self.seeds)
        wrt = [a for a, k in zip(self.arguments, active, strict=True) if k]
        have = [c is not None for c in self.given]
        while True:
            self.back = [k for k, h in enumerate(have) if h]
            pulled = calculus.vjp(
                [loop.outs[k] for k in self.back], wrt, [self.seeds[k] for k in self.back],
                flags.known(self.back),
            )  # fmt: skip
            self.pulled: dict[Expr, Maybe] = dict(zip(wrt, pulled, strict=True))
            grown = [
                h or (j < self.n and self.pulled.get(self.arguments[self.first + j]) is not None)
                for j, h in enumerate(have)
            ]  # fmt: skip
            made = {j: self.pulled.get(self.arguments[self.first + j]) for j in range(self.n)}
            following = flags.next(self.back, made) if grown == have else None
            if following is not None:
                break
            have = grown
        self.flags, self.following = flags, following

    def cotangents(self) -> list[Maybe]:
        """Of consts, carry and xs."""
        loop, n, first = self.loop, self.n, self.first
        back = Loop([], [], [], [], loop.length, not loop.reverse, loop.count, site=loop.site)
        slots: dict[int, int] = {}  # of arguments: where their cotangents are carried, or stacked
        for k in self.back:
            given, seed = self.given[k], self.seeds[k]
            if k < n:
                start = loop.carry[k][0]
                slots[first + k] = len(back.carry)
                now = self.pulled.get(self.arguments[first + k])
                back.add(0, 0, 1, (zero(start) if given is None else given, seed, now))
            else:
                assert given is not None
                back.xs.append((given, seed))
            if k in self.flags.flags:
                flag = self.flags.flags[k]
                back.add(0, 0, k < n, (self.flags.start(k), flag, self.following.get(k)))
        sums = fresh(self.arguments[:first], 3 * len(self.arguments) + len(self.seeds))
        for k, a in enumerate(self.arguments):
            now = self.pulled.get(a)
            if now is None or not self.wanted[k]:
                continue
            if k < first:
                slots[k] = len(back.carry)
                back.carry.append((zero(a), sums[k], sums[k] + now))
            elif k >= first + n:
                slots[k] = len(back.ys)
                back.ys.append(now)
        _with_residuals(back, loop)
        final, _, ys = back.results()
        return [
            None if not w or k not in slots else ys[slots[k]] if k >= first + n else final[slots[k]]
            for k, w in enumerate(self.wanted)
        ]


def _active(loop: Loop, wanted: Sequence[bool]) -> list[bool]:
    """Which arguments of the body are floats that depend on operands that are wanted."""
    arguments, first = loop.arguments, len(loop.consts)
    active = [w and a.dtype in FLOATS for w, a in zip(wanted, arguments, strict=True)]
    nodes = toposort(loop.outs)
    while True:
        reached = depends_on(nodes, [a for a, k in zip(arguments, active, strict=True) if k])
        before = list(active)
        for j, (_, a, new) in enumerate(loop.carry):
            active[first + j] |= new in reached and a.dtype in FLOATS
        if active == before:
            return active


def _with_residuals(back: Loop, loop: Loop) -> None:
    """Give the reverse rounds `back` what they read of the rounds of `loop`."""
    own = back.arguments
    outs = back.outs
    nodes = toposort(outs)
    after = depends_on(nodes, own)
    read = {a for node in nodes if node in after for a in node.args if a not in after}
    read.update(o for o in outs if o not in after)
    handed_through = {a: start for start, a, new in loop.carry if new is a}
    shared = [a for _, a in loop.consts] + list(handed_through)
    start = {a: value for value, a, _ in loop.carry}
    # The carry of a round is what the round before has left: one of the two arrays is enough.
    following = {a: new for _, a, new in loop.carry if new is not a}
    if loop.reverse and loop.count is not None:
        following = {}
    rows = [a for _, a in loop.xs]
    read_here = [n for n in nodes if n in read]
    stored = chosen(read_here, shared, rows, following, loop.length or 0)
    follows = {a: following[a] for a in stored if following.get(a) in stored}
    kept = [node for node in stored if node not in follows]
    place = {y: k for k, y in enumerate(loop.ys)}
    forward = replace(loop, ys=list(loop.ys))
    for node in kept:
        if node not in place:
            place[node] = len(forward.ys)
            forward.ys.append(node)
    arrays: dict[Expr, Expr] = {}
    if kept or loop.test is not None:
        _, back.count, ys = forward.results()
        arrays = {node: ys[place[node]] for node in kept}
    for a, out in follows.items():
        arrays[a] = _shifted(arrays[out], start[a], loop.reverse)
    inside = dict(zip(arrays, fresh(list(arrays), 4 * len(own)), strict=True))
    changed = substitute(outs, inside)
    n = len(back.carry)
    back.carry = [(v, a, o) for (v, a, _), o in zip(back.carry, changed[:n], strict=True)]
    back.ys = changed[n:]
    back.consts += [*loop.consts, *((value, a) for a, value in handed_through.items())]
    back.xs += [*loop.xs, *((arrays[node], inside[node]) for node in arrays)]


def _shifted(stacked: Expr, start: Expr, reverse: bool) -> Expr:
    """For each round what the round before has left; `start` for the first."""
    n = stacked.shape[0]
    if n == 0:
        return stacked
    rest = slice_(
        stacked, (1 if reverse else 0, *[0] * start.ndim), (n - 1, *start.shape),
        (1,) * stacked.ndim,
    )  # fmt: skip
    one = reshape(start, (1, *start.shape))
    return concat([rest, one] if reverse else [one, rest], 0)
