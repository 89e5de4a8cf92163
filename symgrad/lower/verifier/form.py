"""Rules: statements are well formed, variables and buffers are used where they exist, all fits."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from symgrad.expr.node import CONST, Expr
from symgrad.lower.cpu import CpuStatement, Flush, Lanes
from symgrad.lower.forms import constant, plus
from symgrad.lower.program import Around, common
from symgrad.lower.scalar import INDEX, LOAD
from symgrad.lower.statement import Buffer
from symgrad.lower.statements import Loop, While
from symgrad.lower.verifier.view import GIVEN, READ_ONLY, Place, View


def form(p: View) -> Iterator[str]:
    """Indices have an entry for each axis, buffers are those of the program, loops make sense."""
    every = [s for s, _ in (*p.loops, *p.leaves)]
    if len({id(s) for s in every}) < len(every):
        yield "a statement stands in two places"
    for s in every:
        for b in s.named():
            if p.buffers.get(b.number) is not b:
                yield f"{type(s).__name__}: {b.name} is not as the program has it"
    # What is known of a variable is known of all loops over it.
    rounds: dict[Expr, tuple[Any, ...]] = {}
    for loop, _ in p.loops:
        yield from _loop(loop)
        mine = loop.extent, loop.start, loop.stop, loop.step
        if rounds.setdefault(loop.index, mine) != mine:
            yield f"i{loop.index.attrs[0]} is the variable of loops that differ"
    for s, path in p.leaves:
        yield from _statement(p, s, path)
    for place in p.places:
        yield from _access(p, place)


def _loop(loop: Loop) -> Iterator[str]:
    name = f"loop i{loop.index.attrs[0]}"
    if loop.extent < 0 or loop.step < 1 or not 0 <= loop.lanes <= max(loop.extent, 0):
        yield f"{name}: extent {loop.extent}, step, or lanes {loop.lanes}"
    if loop.serial and (loop.lanes or loop.chunks or loop.simd or loop.shared):
        yield f"{name} comes in order, and all at once"
    if (loop.lanes or loop.chunks) and not loop.is_plain:
        yield f"{name} has lanes and a start, a stop or a step"


def _statement(p: View, s: Any, path: Sequence[Loop]) -> Iterator[str]:
    if isinstance(s, CpuStatement) and not p.tuning.vectors:
        yield f"{type(s).__name__} in a program without vectors"
    if s.inside and not isinstance(s, Lanes) and any(loop.lanes for loop in path):
        yield f"{type(s).__name__} in a block of lanes"
    leaves = isinstance(s, While) and s.most is not None
    if leaves and any(loop.shared or loop.simd for loop in path):
        yield "a While with a limit may leave a loop that is shared or a vector"
    for node in p.nodes(s):
        buffer = p.buffers.get(node.attrs[0]) if node.op is LOAD else None
        if buffer is not None and node.dtype != buffer.dtype:
            yield f"load of {buffer.name} as {node.dtype}"


def _access(p: View, place: Place) -> Iterator[str]:
    a = place.access
    buffer = p.buffers.get(a.buffer)
    if buffer is None:
        yield f"no buffer has number {a.buffer}"
    elif len(a.index) != len(buffer.shape):
        yield f"{p.name(place)}: {len(a.index)} indices for {len(buffer.shape)} axes"
    elif any(i.dtype != "int64" for i in a.index):
        yield f"{p.name(place)}: an index that is no int64"
    elif a.writes and buffer.role in READ_ONLY:
        yield f"{p.name(place)}: nobody may write there"


def scope(p: View) -> Iterator[str]:
    """Loop variables are used inside their loops only, and a buffer where it is declared."""
    for loop, path in p.loops:
        yield from _unbound(p.nodes(loop), path, f"bounds of i{loop.index.attrs[0]}")
        if any(outer.index is loop.index for outer in path):
            yield f"loop i{loop.index.attrs[0]} inside a loop over the same variable"
    chunks = {loop.chunk for loop, _ in p.loops}
    counters = {s.index for s, _ in p.leaves if isinstance(s, While)}
    for (s, path), around in zip(p.leaves, p.around, strict=True):
        more: set[Expr | None] = set()
        if type(s) is Flush:  # what is flushed stands in the chunk
            more = chunks
        if counters:
            more = more | {w.index for w, _ in around if isinstance(w, While)}
        yield from _unbound(p.nodes(s), path, type(s).__name__, more)
    for number, places in p.of_buffer.items():
        yield from _beyond_home(p, p.buffers[number], places)


def _beyond_home(p: View, buffer: Buffer, places: Sequence[Place]) -> Iterator[str]:
    """Where a buffer is used outside of the loop whose rounds each have one."""
    home: Around = ()
    if buffer.home is not None and buffer.role not in GIVEN:
        if buffer.home not in p.rounds:
            yield f"{buffer.name} has a home that is no loop of the program"
            return
        home = p.rounds[buffer.home]
    if buffer.role == "scalar":
        home = _declared(home, next((q for q in places if q.access.writes), None))
    outside = [q for q in places if q.around[: len(home)] != home]
    if outside:
        yield f"{p.name(outside[0])}: outside of the body that declares it"
    if buffer.role in ("scalar", "local") and len({p.part[q.position] for q in places}) > 1:
        yield f"{buffer.name} is a variable of one part and used in another"
    fixed = {s.index for s, k in home if isinstance(s, Loop) and k == 0}
    for axis in set(range(len(buffer.shape))) - set(buffer.kept_axes):
        entries = {q.access.fixed.get(axis) for q in places}
        same = all(i is not None and (i in fixed or i.op is CONST) for i in entries)
        if len(entries) > 1 or not same:
            yield f"{buffer.name} does not keep axis {axis}, where it has several elements"


def _declared(home: Around, first: Place | None) -> Around:
    """The body where C declares a local variable: where it is set first.

    Branches inside of its home make an exception: it is declared before these.
    """
    if first is None or first.around[: len(home)] != home:
        return home
    inner = first.around[len(home) :]
    return home + tuple(
        itertools.takewhile(lambda found: isinstance(found[0], (Loop, Lanes)), inner)
    )


def _unbound(
    nodes: Sequence[Expr], path: Sequence[Loop], what: str, more: Collection[Expr | None] = ()
) -> Iterator[str]:
    around = {loop.index for loop in path}
    for n in nodes:
        if n.op is INDEX and n not in around and n not in more:
            yield f"{what}: i{n.attrs[0]} is used outside of its loop"


def rounds(p: View) -> Iterator[str]:
    """A loop has no more rounds than it says, and none of them changes what its bounds read."""
    for loop, path in p.loops:
        inside = (*path, loop)
        for read in loop.reads:
            for q in p.of_buffer[read.buffer]:
                if q.access.writes and q.path[: len(inside)] == inside:
                    yield f"{p.name(q)}: a bound of that loop reads it before each round"
        if loop.stop is None:
            continue
        start = constant(0) if loop.start is None else p.bounds.form(loop.start)
        most = plus(start, constant(loop.extent))
        if not any(
            p.bounds.holds(plus(most, end, -1), path, frozenset()) for end in p.bounds.ends(loop)
        ):
            yield f"loop i{loop.index.attrs[0]}: more than {loop.extent} rounds"


def space(p: View) -> Iterator[str]:
    """Stack arrays are small, and arrays that are in use together lie apart in the workspace."""
    local = [b for b in p.program.buffers if b.role == "local"]
    total = sum(b.nbytes for b in local)
    if total > p.tuning.all_locals_bytes:
        yield f"{total} bytes of arrays on the stack, {p.tuning.all_locals_bytes} at most"
    for b in local:
        if b.nbytes > p.tuning.local_bytes:
            yield f"{b.name}: {b.nbytes} bytes on the stack, {p.tuning.local_bytes} at most"
    if p.program.workspace_bytes < 0:
        return  # no place is chosen yet
    used = _in_use(p)
    placed = [b for b in p.program.buffers if b.role == "work" and b.number in used]
    for b in placed:
        if b.offset + b.nbytes > p.program.workspace_bytes:
            yield f"{b.name}: beyond the end of the workspace"
    for a, b in itertools.combinations(sorted(placed, key=lambda b: b.offset), 2):
        if a.offset + a.nbytes > b.offset and a.nbytes and b.nbytes:
            one, two = used[a.number], used[b.number]
            if one[0] <= two[1] and two[0] <= one[1]:
                yield f"{a.name} and {b.name} are in use together and share memory"


def _in_use(p: View) -> dict[int, tuple[int, int]]:
    """The first and last position at which each buffer is in use.

    What stands in a loop is so in all of its rounds, unless only one body has all that touches it,
    in which no round sees what another has left: the rule `init` says so. That of a loop with
    rounds in any order never counts as such a body.
    """
    ends: dict[int, list[int]] = {}  # of statements with bodies
    for position, around in enumerate(p.around):
        for s, _ in around:
            ends.setdefault(id(s), [position, position])[1] = position
    found = {}
    for number, places in p.of_buffer.items():
        around = functools.reduce(common, [q.around for q in places])
        serial = [isinstance(s, Loop) and not s.serial for s, _ in around]
        depth = serial.index(True) if True in serial else len(around)
        users = [(q, q.around[depth][0] if len(q.around) > depth else q.statement) for q in places]
        spans = [ends.get(id(s), [q.position] * 2) for q, s in users]
        found[number] = min(low for low, _ in spans), max(high for _, high in spans)
    for top in itertools.chain(*p.program.parts):
        if isinstance(top, Loop) and top.team is not None and id(top) in ends:
            low, high = ends[id(top)]
            found[top.team.number] = low, high
    return found
