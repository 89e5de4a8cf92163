"""Decisions answered one after the other: for functions whose two sides cannot be run in one call.

Where a decision cannot be followed by the source (there is none, a generator yields on one side, a
list is longer on one side), the function is run again for each way that it can go. A run gets its
answers from `Paths`, which prescribes those of the run before but for the last one that was True.
What the runs leave, results and in-place changes, is merged from the last decision to the first,
into `branch` nodes, as the sides of a branch are (`source.merging`).

Nothing is taken from one run alone. Each run starts from the same state: what rewritten code
changes is taken back (`journal`), arguments are put together anew, and what the function captures
is compared after each run (`captures`). Equal answers must lead to the same decisions, and the
first run, repeated at the end, must give the very same nodes.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from symgrad import tree
from symgrad.captures.code import Seen
from symgrad.captures.state import State
from symgrad.captures.walk import state_of
from symgrad.errors import BranchError, SymgradError, TraceError, UnsupportedError, at_user_line
from symgrad.expr.node import Expr, bind, const
from symgrad.ops.checks import Failure
from symgrad.ops.control import branch
from symgrad.trace import journal
from symgrad.trace.handle import as_expr
from symgrad.trace.source.merging import Frozen, Merge, freeze, thaw
from symgrad.trace.source.raising import checked, failing, failure_of, set_checks
from symgrad.trace.state import CURRENT, NO_TRACE, Site, Trace, remembered
from symgrad.trace.tracer import Tracer, wrap_array

MOST = 256  # paths of one function
_LONG = 10  # as many decisions in all paths together, for each path: a loop of 70 rounds may end


class Exploring(NamedTuple):
    """How functions are recorded.

    most : paths of one function
    sites : lines of rewritten code whose decisions are explored, and not merged where they are made
    """

    most: int
    sites: frozenset[Site]


EXPLORING: ContextVar[Exploring | None] = ContextVar("symgrad_exploring", default=None)


@contextlib.contextmanager
def exploring(how: Exploring | None) -> Iterator[None]:
    """What is recorded inside explores paths, unless `how` is None."""
    token = EXPLORING.set(how)
    try:
        yield
    finally:
        EXPLORING.reset(token)


class _Fork:
    """A decision of the run that is on; `then` is what all runs with the answer True leave."""

    __slots__ = ("predicate", "site", "then")

    def __init__(self, predicate: Expr, where: Site | None) -> None:
        self.predicate, self.site = predicate, where
        self.then: _Left | None = None


class _Left(NamedTuple):
    """What a run leaves, or several merged ones.

    leaves, structure : of the result; None where the user's exception is raised in any case
    check : what has been checked, that exception included
    failure : of a run that raises
    """

    leaves: list[Any]
    structure: tree.TreeDef | None
    changes: journal.Changes
    check: Expr
    failure: Failure | None = None


class Paths:
    """The paths of one function while they are run.

    sites : lines of rewritten code whose decisions are explored
    """

    def __init__(self, trace: Trace, how: Exploring) -> None:
        self.trace, self.most, self.sites = trace, how.most, set(how.sites)
        self.forks: list[_Fork] = []
        self.finished = self.total = 0
        self._start()

    def _start(self, repeats: bool = False) -> None:
        self.count = 0  # decisions of this run so far
        self.answers: dict[Expr, bool] = {}
        self.repeats = repeats  # whether all is prescribed
        self.root: journal.Journal | None = None

    def ways(self) -> list[tuple[Expr, bool]]:
        """The decisions of this run so far; between runs those that all paths have in common."""
        if self.root is not None:
            return [*self.answers.items()][::-1]
        return [(f.predicate, f.then is None) for f in self.forks][::-1]

    # ---- what decisions ask ----
    def known(self, predicate: Expr) -> bool | None:
        """The truth of a predicate, if it was asked for on this path."""
        predicate, negated = _positive(predicate)
        answer = self.answers.get(predicate)
        return None if answer is None else answer != negated

    def answer(self, predicate: Expr, where: Site | None, native: bool) -> bool | None:
        """The truth of a predicate on this path; None if its sides are to be merged at once, or if
        the decision stands where it cannot be explored (see `journal.Journal.enclosing`).

        native : whether the decision is Python's own, which sees no sides
        """
        found = self.known(predicate)
        if found is not None:
            return found
        if not native and where not in self.sites:
            return None
        current = self.trace.journal
        if CURRENT.get() is not self.trace or current is not self.root:
            return None
        predicate, negated = _positive(predicate)
        return self._next(predicate, where) != negated

    def _next(self, predicate: Expr, where: Site | None) -> bool:
        if self.count < len(self.forks):
            fork = self.forks[self.count]
            if fork.predicate is not predicate:
                raise self._unsteady(where)
        elif self.repeats:
            raise self._unsteady(where)
        else:
            fork = _Fork(predicate, where)
            self.forks.append(fork)
            # Each decision means a path more at least.
            if self.finished + sum(f.then is None for f in self.forks) + 1 > self.most:
                raise self._too_many()
        self.count += 1
        self.total += 1
        if self.total > _LONG * self.most:
            raise self._too_many()
        answer = fork.then is None
        self.answers[predicate] = answer
        return answer

    def _too_many(self) -> BranchError:
        counts = Counter([f.site for f in self.forks])
        where, times = counts.most_common(1)[0]
        why = (
            "A loop or a recursion whose end depends on a traced value cannot be followed without "
            "the source of the function: put it into a file, or use symgrad.while_loop"
        )
        if self.sites:  # decisions of rewritten code, which is there
            why = (
                "A loop whose end depends on a traced value, and in which a list gets longer or "
                "shorter on one side of a decision, cannot be one loop: use an array with room for "
                "all and a number that says how many there are, or symgrad.while_loop"
            )
        told = (
            f"{self.trace.name} goes too many ways (max_paths={self.most}) by its decisions on "
            f"traced values, of which {times} in one call are made here. {why}. Otherwise use "
            "np.where, or give symgrad.jit or symgrad.compile a larger max_paths"
        )
        error = remembered(BranchError(at_user_line(told, where)))
        error.operands = tuple([f.predicate for f in self.forks])
        return error

    def _unsteady(self, where: Site | None) -> UnsupportedError:
        told = (
            f"{self.trace.name} decides on traced values, so it is called once for each way that "
            "it can go, and here it does something else in one call than in another: it reads "
            "what changes from call to call (an iterator, a counter, an object of a library)"
        )
        return remembered(UnsupportedError(at_user_line(told, where)))

    # ---- runs ----
    def run(self, call: Callable[[], Any], roots: Sequence[Any]) -> Any:
        """The result of `call`, merged over all paths.

        roots : functions, which must not change what they capture where there is more than one path
        """
        while True:
            try:
                return self._explore(call, roots)
            except Exception as error:
                cause = _cause(self.trace, error)
                more = None if cause is None else cause.decisions
                if more is None or self.sites.issuperset(more):
                    raise
                assert cause is not None
                self.sites.update(more)
                _forgive(self.trace, cause)

    def _explore(self, call: Callable[[], Any], roots: Sequence[Any]) -> Any:
        state = state_of(roots, Seen())
        self.forks, self.finished, self.total = [], 0, 0
        left = self._path(call)
        first, forks = left, list(self.forks)
        content = _content(left)
        self._check(state, roots)
        while self.forks:
            self.finished += 1
            while self.forks and self.forks[-1].then is not None:
                left = self._merged(self.forks.pop(), left)
            if self.forks:
                self.forks[-1].then = left
                left = self._path(call)
                self._check(state, roots)
        if forks:
            self._repeat(call, forks, first.structure, content)
        self._start()
        if left.structure is None:
            raise first.failure.exception() if first.failure else AssertionError
        _apply(left.changes)
        if left.check is not checked():
            set_checks(left.check)
        return left.structure.unflatten([thaw(v) for v in left.leaves])

    def _path(self, call: Callable[[], Any], repeats: bool = False) -> _Left:
        """One run."""
        trace = self.trace
        self._start(repeats)
        self.root = trace.journal = journal.Journal(trace.journal)
        self.root.is_path = True
        changes: journal.Changes | None = None
        try:
            failure = structure = None
            try:
                leaves, structure = tree.flatten(call())
                if trace.blocks:  # arrays whose content is only known as long as the run lasts
                    leaves = [_held(v) for v in leaves]
            except TraceError:
                raise
            except Exception as error:
                if not self.count or _cause(trace, error) is not None:
                    raise
                leaves, failure = [], failure_of(error, trace)
                if failure is None:
                    raise self._raises(error) from error
            if trace.poison is not None:
                raise trace.poison
            if self.count < len(self.forks):
                raise self._unsteady(self.forks[self.count].site)
            frozen = [freeze(v) for v in leaves]
            check = checked()
            if failure is not None:
                check = failing(check, const(True, "bool"), failure)
            root = self.root
            changes = root.take_back()
            del leaves
            if self.forks and root.advanced():
                raise self._unsteady(self.forks[0].site)
            changes.places.pop((id(trace.checks), "value"), None)
            return _Left(frozen, structure, changes, check, failure)
        finally:
            if changes is None:
                self.root.take_back()
            trace.journal = self.root.parent
            self.root = None

    def _raises(self, error: Exception) -> UnsupportedError:
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        last = self.forks[self.count - 1]
        told = (
            f"where this decision on a traced value is {last.then is None} (the last of "
            f"{self.count}) the function raises {what}; that is not traced: check arguments before "
            "the call"
        )
        refused = remembered(UnsupportedError(at_user_line(told, last.site)))
        refused.operands = tuple([f.predicate for f in self.forks])
        return refused

    def _check(self, state: State, roots: Sequence[Any]) -> None:
        """Refuse what a run has changed for the next one."""
        if not self.forks or state.holds():
            return
        now = state_of(roots, Seen())
        if now.label != state.label:
            told = (
                f"{self.trace.name} changes {state.label.changes(now.label)}, which it captures, "
                "and decides on traced values, so that it is called once for each way that it can "
                "go; return what changes"
            )
            raise remembered(UnsupportedError(at_user_line(told, self.forks[0].site)))

    def _repeat(
        self,
        call: Callable[[], Any],
        forks: list[_Fork],
        structure: tree.TreeDef | None,
        content: Any,
    ) -> None:
        """The first path again: a state that nobody has seen to change would show."""
        for fork in forks:
            fork.then = None
        self.forks = forks
        again = self._path(call, repeats=True)
        same = again.structure == structure and _same(_content(again), content)
        self.forks = []
        if not same:
            raise self._unsteady(forks[0].site)

    def _merged(self, fork: _Fork, orelse: _Left) -> _Left:
        """What all paths leave that are equal up to a decision."""
        then, trace = fork.then, self.trace
        assert then is not None
        check = self._checked(fork, then, orelse)
        if then.structure is None or orelse.structure is None:
            other = orelse if then.structure is None else then
            return _Left(other.leaves, other.structure, other.changes, check)
        if then.structure != orelse.structure:
            told = (
                f"{trace.name} returns values of different structures, depending on this decision "
                "on a traced value"
            )
            error = remembered(BranchError(at_user_line(told, fork.site)))
            error.operands = (fork.predicate,)
            raise error
        kept = trace.journal = journal.Journal(trace.journal)
        kept.is_path = True
        try:
            merge = Merge(fork.predicate, fork.site)
            found = [merge.values(a, b, "the result")
                     for a, b in zip(then.leaves, orelse.leaves, strict=True)]  # fmt: skip
            merge.changes(then.changes, orelse.changes)
            merge.run()
            leaves = [freeze(merge.result(v)) for v in found]
        except BranchError as error:
            told = re.sub(r"^.+?:\d+: ", "", str(error))
            error.args = (at_user_line(told, fork.site),)
            error.operands = (fork.predicate,)
            raise
        finally:
            changes = kept.take_back()
            trace.journal = kept.parent
        return _Left(leaves, then.structure, changes, check)

    def _checked(self, fork: _Fork, then: _Left, orelse: _Left) -> Expr:
        """What all of these paths have checked."""
        if then.check is orelse.check:
            return then.check
        for one, other, bad in (
            (then, orelse, fork.predicate),
            (orelse, then, bind("logical_not", fork.predicate)),
        ):
            if one.failure is not None and one.check.args[0] is other.check:
                return failing(other.check, bad, one.failure)
        (check,) = branch(fork.predicate, [then.check], [orelse.check])
        return check


def _positive(predicate: Expr) -> tuple[Expr, bool]:
    """A predicate without negations, and whether there was an odd number of them."""
    negated = False
    while predicate.op.name == "logical_not":
        predicate, negated = predicate.args[0], not negated
    return predicate, negated


def _held(leaf: Any) -> Any:
    """A plain array as a traced one of what is in it now."""
    return leaf if isinstance(leaf, Tracer) or not hasattr(leaf, "dtype") else \
        wrap_array(as_expr(leaf))  # fmt: skip


def _content(left: _Left) -> list[Any]:
    """What tells a result from another one: its nodes."""
    found: list[Any] = [left.check]
    for leaf in left.leaves:
        if isinstance(leaf, Frozen):
            found.append(leaf.handle.expr if leaf.expr is None else leaf.expr)
        else:
            try:
                found.append(as_expr(leaf))
            except SymgradError:
                found.append(leaf)
    return found


def _same(one: list[Any], other: list[Any]) -> bool:
    return all(a is b or not isinstance(a, Expr) and type(a) is type(b)
               for a, b in zip(one, other, strict=True))  # fmt: skip


def _apply(changes: journal.Changes) -> None:
    """Make the changes that were taken back."""
    for handle, expr in changes.handles.values():
        journal.note_handle(handle)
        handle.expr = expr
    for key, (place, value) in changes.places.items():
        journal.put(key, place, value)


def _cause(trace: Trace, error: BaseException) -> TraceError | None:
    """The error of a trace that stands behind another one, or was caught."""
    if trace.poison is not None:
        return trace.poison if isinstance(trace.poison, TraceError) else None
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TraceError):
            return seen
        seen = seen.__cause__
    return None


def _forgive(trace: Trace | None, error: TraceError) -> None:
    """Let the running traces forget an error."""
    while trace is not None and trace is not NO_TRACE:
        if trace.poison is error:
            trace.poison = None
        trace = trace.parent
