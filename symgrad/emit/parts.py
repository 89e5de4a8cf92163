"""A long function as several: compilers are superlinear in a function's length.

Values that cross a cut travel through workspace slots, stored where they are complete and loaded
where they are first used: everything else stays local, and live ranges stay short. Both matter:
compilers take several times longer otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from symgrad.emit import tree as c
from symgrad.emit.tree import integer, uses
from symgrad.lazy import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """A statement of the function, between which and the next it can be cut.

    writes : variables of the function that it declares or changes
    """

    node: c.Statement
    uses: c.Uses
    writes: tuple[str, ...]

    @property
    def used(self) -> set[str]:
        return self.uses.names


def record(node: c.Statement, written: Collection[str]) -> Record:
    """A statement that changes the variables `written` as far as it has them."""
    used = uses(node)
    own = {node.name} if isinstance(node, c.Declare) else used.names.intersection(written)
    return Record(node, used, tuple(sorted(own)))


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the function that is compiled on its own."""

    body: tuple[c.Statement, ...]
    used: set[str]


def cut(records: Sequence[Record], slot_offset: int, most: int) -> tuple[list[Part], int]:
    """Parts of at most so many statements, and the number of slots, which begin at an offset."""
    if len(records) <= most:
        used = set().union(*(r.used for r in records))
        return [Part(tuple(r.node for r in records), used)], 0
    declared = {r.node.name: k for k, r in enumerate(records) if isinstance(r.node, c.Declare)}
    read = [
        sorted((n for n in r.used if n in declared), key=lambda n: (len(n), n)) for r in records
    ]
    starts = _starts(read, declared, most)
    pieces = list(zip(starts, [*starts[1:], len(records)], strict=True))
    slots: dict[str, c.Expression] = {}
    for start, end in pieces:
        for name in (n for found in read[start:end] for n in found):
            if declared[name] < start and name not in slots:
                ctype = records[declared[name]].node.ctype  # type: ignore[attr-defined]
                slots[name] = _slot(ctype, slot_offset + len(slots))
    parts = [_part(records, read, declared, slots, start, end) for start, end in pieces]
    return parts, len(slots)


def _part(
    records: Sequence[Record],
    read: Sequence[Sequence[str]],
    declared: Mapping[str, int],
    slots: Mapping[str, c.Expression],
    start: int,
    end: int,
) -> Part:
    """The statements of one part, with the loads and stores of what crosses its ends."""
    out: list[c.Statement] = []
    loaded: set[str] = set()
    last_write = _last_writes(records[start:end], slots)
    written = {name for names in last_write.values() for name in names}
    for k in range(start, end):
        for name in read[k]:
            if declared[name] < start and name not in loaded:
                loaded.add(name)
                ctype = records[declared[name]].node.ctype  # type: ignore[attr-defined]
                out.append(c.Declare(ctype, name, slots[name], const=name not in written))
        out.append(records[k].node)
        out.extend(c.Assign(slots[n], "=", c.Name(n)) for n in last_write.get(k - start, ()))
    return Part(tuple(out), set().union(*(r.used for r in records[start:end])))


def _slot(ctype: str, number: int) -> c.Expression:
    """A value in the workspace, in its own type: not every int64_t is a double."""
    if ctype == "double":
        return c.Index("work", integer(number))
    place = c.Group(c.Binary("+", c.Name("work"), integer(number)))
    return c.Unary("*", c.Cast(f"{ctype} *", c.Cast("void *", place)))


def _starts(read: Sequence[Sequence[str]], declared: Mapping[str, int], most: int) -> list[int]:
    """Where each part begins: loads of values from before count as statements."""
    starts = [0]
    size = 0
    loaded: set[str] = set()
    for k, used in enumerate(read):
        loads = {n for n in used if declared[n] < starts[-1]} - loaded
        if size + 1 + len(loads) > most and k > starts[-1]:
            starts.append(k)
            size = 0
            loaded = set()
            loads = {n for n in used if declared[n] < k}
        size += 1 + len(loads)
        loaded |= loads
    return starts


def _last_writes(records: Sequence[Record], crossing: Collection[str]) -> dict[int, list[str]]:
    """For each record, the crossing variables that are complete behind it."""
    last: dict[str, int] = {}
    for k, r in enumerate(records):
        for name in r.writes:
            if name in crossing:
                last[name] = k
    result: dict[int, list[str]] = {}
    for name, k in last.items():
        result.setdefault(k, []).append(name)
    return result
