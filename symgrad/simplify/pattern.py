"""Patterns compiled to closures, and the driver that applies rules to a fixed point.

In: a list of Expr. Out: a list of Expr of the same values. Knows operations only through the
patterns it is given.

A pattern is written with the operators and functions of expressions: `log(1 + x)`. It is compiled
to one closure per order of commutative operands, so that matching never searches. Rules are looked
up by what two levels of operations look like, so that few are tried in vain; a node at which no
rule fired, whatever is around it, is not looked at again, in this pass or another.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from symgrad.expr.node import CONST, Expr, bind, const, is_const
from symgrad.expr.op import OPS, Kind, Op
from symgrad.expr.walk import rebuild, toposort
from symgrad.simplify.looks import AXIS, FORMS, Look, common, form_of

# ---- patterns --------------------------------------------------------------------------------


class Pattern:
    """A variable, a constant (any, or of one value), or an operation on patterns."""

    __slots__ = ("kind", "name", "args", "value", "once")

    def __init__(
        self,
        kind: str,
        name: str = "",
        args: tuple[Pattern, ...] = (),
        value: float | None = None,
        once: bool = False,
    ) -> None:
        self.kind, self.name, self.args, self.value, self.once = kind, name, args, value, once

    def __add__(self, other: Any) -> Pattern:
        return operation("add", self, other)

    def __radd__(self, other: Any) -> Pattern:
        return operation("add", other, self)

    def __sub__(self, other: Any) -> Pattern:
        return operation("subtract", self, other)

    def __rsub__(self, other: Any) -> Pattern:
        return operation("subtract", other, self)

    def __mul__(self, other: Any) -> Pattern:
        return operation("multiply", self, other)

    def __rmul__(self, other: Any) -> Pattern:
        return operation("multiply", other, self)

    def __truediv__(self, other: Any) -> Pattern:
        return operation("divide", self, other)

    def __rtruediv__(self, other: Any) -> Pattern:
        return operation("divide", other, self)

    def __neg__(self) -> Pattern:
        return operation("negative", self)


def _lift(value: Any) -> Pattern:
    return value if isinstance(value, Pattern) else Pattern("literal", value=value)


def operation(name: str, *args: Any) -> Pattern:
    """The elementwise operation `name` on patterns."""
    return Pattern("op", name, tuple(_lift(a) for a in args))


def function(name: str) -> Callable[..., Pattern]:
    """`operation` with the name given."""
    return lambda *args: operation(name, *args)


def variables(names: str) -> list[Pattern]:
    """Patterns that match anything; the same one twice must be the same node."""
    return [Pattern("any", name) for name in names.split()]


def constants(names: str) -> list[Pattern]:
    """Patterns that match a uniform constant."""
    return [Pattern("const", name) for name in names.split()]


def once(pattern: Pattern) -> Pattern:
    """`pattern`, where its node has no other user."""
    return Pattern(pattern.kind, pattern.name, pattern.args, pattern.value, once=True)


Slots = dict[str, int]
Matcher = Callable[[Expr, list[Any], "Context"], bool]


def _orders(p: Pattern) -> Iterable[Pattern]:
    """`p` with the operands of commutative operations in every order."""
    if p.kind != "op":
        yield p
        return
    for args in product(*(list(_orders(a)) for a in p.args)):
        yield Pattern("op", p.name, args, once=p.once)
        if OPS[p.name].commutative and p.args[0] is not p.args[1]:
            yield Pattern("op", p.name, args[::-1], once=p.once)


def _matcher(p: Pattern, slots: Slots) -> Matcher:
    if p.kind == "literal":
        value = p.value
        return lambda node, env, context: node.op is CONST and is_const(node, value)
    if p.kind != "op":
        bound, anything = p.name in slots, p.kind == "any"
        slot = slots.setdefault(p.name, len(slots))
        if bound:
            return lambda node, env, context: env[slot] is node

        def keep(node: Expr, env: list[Any], context: Context) -> bool:
            env[slot] = node
            return anything or node.op is CONST

        return keep
    row, only_once = OPS[p.name], p.once
    subs = [_matcher(a, slots) for a in p.args]

    def match(node: Expr, env: list[Any], context: Context) -> bool:
        if node.op is not row:
            return False
        for sub, a in zip(subs, node.args):  # noqa: B905
            if not sub(a, env, context):
                return False
        return not only_once or context.single(node)

    return match


def _builder(p: Pattern, slots: Slots) -> Callable[[list[Any], Expr], Expr]:
    if p.kind == "literal":
        value = p.value
        return lambda env, like: const(value, like.dtype, like.shape)
    if p.kind != "op":
        slot = slots[p.name]
        return lambda env, like: env[slot]
    row, subs = OPS[p.name], [_builder(a, slots) for a in p.args]
    return lambda env, like: bind(row, *[sub(env, like) for sub in subs])


def _caller(f: Callable[..., Any], slots: Slots) -> Callable[[list[Any]], Any]:
    """`f` called with the matches of the variables that its parameters name.

    The parameter of a function of one argument may have any name if there is one variable only.
    """
    names = f.__code__.co_varnames[: f.__code__.co_argcount]
    picked = [0] if len(names) == len(slots) == 1 else [slots[n] for n in names]
    return lambda env: f(*[env[k] for k in picked])


# ---- rules -----------------------------------------------------------------------------------

Apply = Callable[[Expr, "Context"], "Expr | None"]
Forms = Sequence[tuple[Op, ...]]  # of each argument: its operation and those of its arguments
Screen = Callable[[Forms, int], bool]  # and the bits of what is common to them


@dataclass(frozen=True, eq=False)
class Rule:
    """A named rewrite.

    name    as reported and as given to `disable`
    group   the same for many rules at once
    doc     the identity, and where it holds
    roots   operations at which it is tried
    parts   (screen on what the arguments look like or None, function) pairs
    rank    rules of a lower rank are tried first; within a rank the order does not matter
    pattern what a rule made by `rule` matches, for tests and documentation
    """

    name: str
    group: str
    doc: str
    roots: tuple[str, ...]
    parts: tuple[tuple[Screen | None, Apply], ...]
    rank: int = 1
    pattern: Pattern | None = None


def rule(
    name: str,
    pattern: Pattern,
    replacement: Pattern | Callable[..., Expr | None],
    doc: str,
    when: Callable[..., bool] | None = None,
    group: str = "algebra",
    rank: int = 1,
) -> Rule:
    """A rule from a pattern; `when` and a callable replacement take variables by name."""
    parts = []
    for ordered in _orders(pattern):
        parts.append(_part(ordered, replacement, when))
    return Rule(name, group, doc, (pattern.name,), tuple(parts), rank, pattern)


def _part(
    pattern: Pattern,
    replacement: Pattern | Callable[..., Expr | None],
    when: Callable[..., bool] | None,
) -> tuple[Screen, Apply]:
    slots: Slots = {}
    match = _matcher(pattern, slots)
    size = len(slots)
    guard = None if when is None else _caller(when, slots)
    if isinstance(replacement, Pattern):
        build = _builder(replacement, slots)
    else:
        call = _caller(replacement, slots)
        build = lambda env, like: call(env)  # noqa: E731
    screen = Look.of(pattern).fits

    def apply(node: Expr, context: Context) -> Expr | None:
        env: list[Any] = [None] * size
        if not match(node, env, context) or (guard is not None and not guard(env)):
            return None
        return build(env, node)

    return screen, apply


def function_rule(
    name: str,
    roots: str | Sequence[str],
    apply: Apply,
    doc: str,
    group: str,
    among: str = "",
    rank: int = 1,
    like: Sequence[Pattern] = (),
    axes: int = 0,
) -> Rule:
    """A rule from a function.

    among : it is tried where some argument has one of these operations
    like : it is tried at nodes that look like one of these patterns, as far as two levels tell
    axes : at elementwise nodes of fewer axes it can do nothing
    """
    names = frozenset(among.split())
    looks = [Look.of(ordered) for pattern in like for ordered in _orders(pattern)]

    def screen(forms: Forms, bits: int) -> bool:
        if bits // AXIS < axes:
            return False
        if names and not any(form[0].name in names for form in forms):
            return False
        return not looks or any(look.fits(forms, bits) for look in looks)

    roots = tuple(roots.split()) if isinstance(roots, str) else tuple(roots)
    return Rule(name, group, doc, roots, ((screen, apply),), rank)


# ---- driver ----------------------------------------------------------------------------------

Check = Callable[[str, Sequence[Expr], Sequence[Expr]], None]  # rule, before, after


class Context:
    """What a rule may ask about the graph around a node.

    Counts are those of the graph at the start of the pass, carried over to the nodes that replace
    its nodes; the last pass, in which nothing changes, has them exactly. They are made when a rule
    first asks.

    asked : set by each question; what no rule asked for at a node is the same in the next pass
    """

    __slots__ = ("asked", "check", "_outs", "_nodes", "_uses", "_inner", "_moved")

    def __init__(
        self, outs: Sequence[Expr], nodes: Sequence[Expr], check: Check | None = None
    ) -> None:
        self.check = check
        self.asked = False
        self._outs, self._nodes = outs, nodes
        self._uses: dict[Expr, int] | None = None
        self._inner: set[Expr] = set()
        self._moved: list[tuple[Expr, Expr]] = []

    @property
    def counted(self) -> bool:
        """Whether any rule has asked."""
        return self._uses is not None

    def _counted(self) -> dict[Expr, int]:
        uses: dict[Expr, int] = dict.fromkeys(self._nodes, 0)
        last: dict[Expr, Expr] = {}
        for node in self._nodes:
            for a in node.args:
                uses[a] += 1
                last[a] = node
        for o in self._outs:
            uses[o] += 1
        sums = (OPS["add"], OPS["subtract"])
        self._uses = uses
        self._inner = {
            node
            for node in self._nodes
            if node.op in sums and uses[node] == 1 and node in last and last[node].op in sums
        }
        for old, new in self._moved:
            self._move(old, new)
        return uses

    def single(self, node: Expr) -> bool:
        """Whether `node` has one user only."""
        self.asked = True
        uses = self._uses
        return (self._counted() if uses is None else uses).get(node, 1) <= 1

    def is_inner(self, node: Expr) -> bool:
        """Whether `node` is an addition used by one other addition only."""
        self.asked = True
        if self._uses is None:
            self._counted()
        return node in self._inner

    def replaced(self, old: Expr, new: Expr) -> None:
        """Note that the users of `old` now use `new`."""
        if self._uses is None:
            self._moved.append((old, new))
        else:
            self._move(old, new)

    def _move(self, old: Expr, new: Expr) -> None:
        uses = self._uses
        assert uses is not None
        uses[new] = uses.get(new, 0) + uses.get(old, 1)
        if old in self._inner:
            self._inner.add(new)
        else:
            self._inner.discard(new)


@dataclass
class Simplified:
    """Simplified outputs, how often each rule fired, and in how many passes."""

    outs: list[Expr]
    fired: dict[str, int] = field(default_factory=dict)
    passes: int = 0
    converged: bool = True


class RuleSet:
    """Rules indexed by the operation of a node and those of its arguments."""

    def __init__(
        self,
        rules: Iterable[Rule],
        disable: frozenset[str] = frozenset(),
        order_seed: int | None = None,
        usual: RuleSet | None = None,
    ) -> None:
        """`usual` is a set that most nodes have met before: what is settled there needs no rule
        here but those that it lacks."""
        enabled = [r for r in rules if r.name not in disable and r.group not in disable]
        if order_seed is not None:
            random.Random(order_seed).shuffle(enabled)
        enabled.sort(key=lambda r: r.rank)
        self.by_root: dict[Op, list[Rule]] = {}
        for r in enabled:
            for root in r.roots:
                if root in OPS:
                    self.by_root.setdefault(OPS[root], []).append(r)
        # By operation, forms of the arguments and what these have in common.
        self.tables: dict[tuple[Any, ...], list[tuple[str, Apply]]] = {}
        number = next(_RULE_SETS)
        self.bit = 1 << number if number < _MOST_BITS else 0  # of `Expr.settled`
        self.enabled = frozenset(enabled)
        self._usual = 0 if usual is None else usual.bit
        more = self.enabled if usual is None else self.enabled - usual.enabled
        self._more = {OPS[root] for r in more for root in r.roots if root in OPS}

    def candidates(self, key: tuple[Any, ...]) -> list[tuple[str, Apply]]:
        """What to try at a node: its operation, forms of its arguments (at most three), bits."""
        op, *forms, bits = key
        looks = [FORMS[k] for k in forms]
        found: list[tuple[str, Apply]] = []
        for r in self.by_root.get(op, ()):
            for screen, apply in r.parts:
                if screen is None or not looks or screen(looks, bits):
                    found.append((r.name, apply))
        self.tables[key] = found
        return found

    def rewrite(self, node: Expr, context: Context, fired: dict[str, int]) -> Expr | None:
        """The first rule's result that differs from `node`, or None."""
        args = node.args
        count = len(args)
        op, axes = node.op, len(node.shape)
        if axes > 2 or op.kind is not Kind.ELEMENTWISE:
            axes = 2
        if count == 2:
            a, b = args
            bits = common(a, b) | axes * AXIS
            key: tuple[Any, ...] = (op, a.form or form_of(a), b.form or form_of(b), bits)
        elif count == 1:
            a = args[0]
            key = (op, a.form or form_of(a), axes * AXIS)
        elif count == 3:
            key = (op, *[a.form or form_of(a) for a in args], axes * AXIS)
        else:
            key = (op, axes * AXIS)
        found = self.tables.get(key)
        if found is None:
            found = self.candidates(key)
        for name, apply in found:
            new = apply(node, context)
            if new is not None and new is not node:
                assert new.shape == node.shape and new.dtype == node.dtype, name
                if context.check is not None:
                    context.check(name, [node], [new])
                fired[name] = fired.get(name, 0) + 1
                return new
        return None

    def settled(self, node: Expr, context: Context, fired: dict[str, int]) -> Expr | None:
        """As `rewrite`; a node at which no rule fires, whatever is around it, is remembered."""
        if node.settled & self.bit or not node.args:
            return None
        if node.settled & self._usual and node.op not in self._more:
            node.settled |= self.bit
            return None
        context.asked = False
        new = self.rewrite(node, context, fired)
        if new is None and not context.asked:
            node.settled |= self.bit
        return new


_RULE_SETS = itertools.count()
_MOST_BITS = 60  # sets of rules that nodes remember; only tests make more
_MOST_PASSES = 60


def run(
    outs: Sequence[Expr],
    rules: RuleSet,
    nodes: list[Expr] | None = None,
    check: Check | None = None,
) -> Simplified:
    """Apply `rules` until none fires; `nodes`, if known, are those of `outs`, toposorted.

    check : called with every rewrite; raises if it is wrong
    """
    result = Simplified(list(outs))
    while result.passes < _MOST_PASSES:
        before = result.outs
        result.passes += 1
        one = _Pass(before, nodes or toposort(before), rules, result.fired, check)
        result.outs = one.outs()
        nodes = None
        if not one.context.counted and one.fuel >= 0:
            return result  # all that any rule looked at is in normal form
        if all(a is b for a, b in zip(before, result.outs, strict=True)):
            return result
    result.converged = False
    return result


class _Pass:
    """One sweep from arguments to users. What a rule makes is simplified in the same sweep."""

    def __init__(
        self,
        outs: Sequence[Expr],
        nodes: list[Expr],
        rules: RuleSet,
        fired: dict[str, int],
        check: Check | None,
    ) -> None:
        self.start = outs
        self.rules = rules
        self.fired = fired
        self.nodes = nodes
        self.context = Context(outs, nodes, check)
        self.done: dict[Expr, Expr] = {}
        self.forward: dict[Expr, Expr] = {}
        self.fuel = 100 * len(nodes) + 10_000

    def outs(self) -> list[Expr]:
        done, context, fired, rewrite = self.done, self.context, self.fired, self.rules.settled
        for node in self.nodes:
            if node in done:
                continue
            for a in node.args:
                if done[a] is not a:
                    self.settle(node)
                    break
            else:
                new = rewrite(node, context, fired)
                if new is None:
                    done[node] = node
                else:
                    self.step(node, new)
                    self.settle(node)
        return [done[o] for o in self.start]

    def step(self, node: Expr, new: Expr) -> None:
        self.forward[node] = new
        self.context.replaced(node, new)
        if new.site is None:
            new.site = node.site

    def settle(self, root: Expr) -> None:
        """Find the normal form of `root`, whose arguments may be new."""
        done, forward = self.done, self.forward
        stack = [root]
        while stack:
            node = stack[-1]
            if node in done:
                stack.pop()
                continue
            self.fuel -= 1
            target = forward.get(node)
            if target is not None:
                if target in done:
                    done[node] = done[target]
                elif self.fuel < 0:  # rules that undo each other: keep what there is
                    done[node] = node
                else:
                    stack.append(target)
                continue
            waiting = [a for a in node.args if a not in done]
            if waiting:
                stack.extend(reversed(waiting))
                continue
            new: Expr | None = rebuild(node, tuple([done[a] for a in node.args]))
            if new is node:
                usable = self.fuel > 0
                new = self.rules.settled(node, self.context, self.fired) if usable else None
            if new is None:
                done[node] = node
            else:
                self.step(node, new)
