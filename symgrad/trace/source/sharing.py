"""Which arrays that a loop leaves may be others: older ones, and each other.

A round is traced once, on symbols. A variable may end as the array it was (no round ran), as one
that another variable had, or as a view: what is changed in either later must be seen in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.expr.node import Expr, bind
from symgrad.expr.walk import toposort
from symgrad.trace import journal
from symgrad.trace.memory import join
from symgrad.trace.source.handed import Slot, is_array
from symgrad.trace.source.places import Trial
from symgrad.trace.source.refusal import Unlike


def sharing(value: Any) -> list[Any]:
    """The arrays alive that share memory with this one, or do in some cases; itself first."""
    if not is_array(value):
        return []
    found, seen = [value], {id(value)}
    for handle in found:
        near = [r() for r in handle._group or ()] + [link[0]() for link in handle._links or ()]
        for h in near:
            if h is not None and id(h) not in seen:
                seen.add(id(h))
                found.append(h)
    return found


def note_sharing(
    trial: Trial, slots: Sequence[Slot], appended: Sequence[Any], afters: Sequence[Expr]
) -> None:
    """Find what arrays older than the loop the slots may be that it leaves.

    appended : what the round has put at the end of lists
    afters : what the round leaves in all places

    Raises
    ------
    Unlike
        A round changes an array that it may also see as one that was handed to it.
    """
    by_given = {id(s.given): s for s in slots if s.given is not None}
    older = _older(trial, slots, by_given)
    used = None
    for slot, found in zip(slots, older, strict=True):
        slot.shared = list(found.values())
        if slot.symbol is not None and trial.written.intersection(found):
            used = set(toposort(afters)) if used is None else used
            if slot.symbol in used:
                raise Unlike("an array is changed that a variable shares with others")
    for element in appended:
        _check_appended(trial, element, by_given)


def _older(trial: Trial, slots: Sequence[Slot], by_given: dict[int, Slot]) -> list[dict[int, Any]]:
    """For each slot the older arrays that what a round leaves there may be, by id."""
    is_new = trial.journal.has_made
    older: list[dict[int, Any]] = []
    handed_on: list[list[Slot]] = []
    for slot in slots:
        near = sharing(slot.like)
        handed_on.append([by_given[id(h)] for h in near if id(h) in by_given])
        older.append({
            id(h): h for h in near
            if id(h) not in by_given and not is_new(h) and not journal.is_gone(h)
        })  # fmt: skip
        slot.is_older = id(slot.like) in older[-1]
    place = {id(s): k for k, s in enumerate(slots)}
    changed = True
    while changed:  # what a variable hands to another one may be what it got itself
        changed = False
        for found, sources in zip(older, handed_on, strict=True):
            before = len(found)
            for source in sources:
                found.update(older[place[id(source)]])
                found.update({id(h): h for h in sharing(source.old)})
            changed = changed or len(found) > before
    return older


def _check_appended(trial: Trial, element: Any, by_given: dict[int, Slot]) -> None:
    """Refuse elements of lists that are others' arrays in more than the first and last round."""
    is_new = trial.journal.has_made
    itself, others = sharing(element)[:1], sharing(element)[1:]
    slot = by_given.get(id(element))
    fresh = all(is_new(h) and id(h) not in by_given for h in others)
    if slot is not None:
        fresh = fresh and not slot.shared
    else:
        fresh = fresh and all(map(is_new, itself))
    if not fresh:
        raise Unlike("a list gets an array that others have")


def join_left(slots: Sequence[Slot], ran: Expr | None) -> None:
    """Note which arrays that a loop leaves may be older ones, or share memory with each other.

    ran : whether there was a round, None if that is certain
    """
    near: dict[int, set[int]] = {}
    left: dict[int, Slot] = {}
    for slot in slots:
        if id(slot.new) in left or slot.new is slot.like:
            continue
        sources: list[tuple[Any, Expr | None]] = [(h, None) for h in slot.shared]
        old = slot.old
        if ran is not None and is_array(old) and all(h is not old for h in slot.shared):
            alike = (old.dtype, old.shape) == (slot.new.dtype, slot.new.shape)
            sources.append((old, bind("logical_not", ran) if alike else None))
        mine = set(map(id, sharing(slot.like)))
        for k, other in left.items():
            if not mine.isdisjoint(near[k]):
                same = other.like is slot.like and other.new.dtype == slot.new.dtype
                sources.append((other.new, ran if same else None))
        near[id(slot.new)], left[id(slot.new)] = mine, slot
        if sources:
            join(slot.new, sources)
