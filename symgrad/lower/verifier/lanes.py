"""Rule: what shares a loop over the lanes of a block may do so, and what lives between is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from symgrad.lower.cpu import Lanes
from symgrad.lower.statements import Best, Let, Loop, Store
from symgrad.lower.tuning import LANES
from symgrad.lower.verifier.races import meetings
from symgrad.lower.verifier.view import View, has_partial


def lanes(p: View) -> Iterator[str]:
    """Lanes that see each other come in order, in a loop of their own; the others in any order.

    Each statement of a point stands in such a loop. What another one takes is in an array.
    """
    where = {id(s): _innermost(around) for s, _, around in p.every}
    opened = any(isinstance(s, Lanes) for s, *_ in p.every)
    for s, path, around in p.every:
        for value, let in p.taken[id(s)].items():
            if where[id(let)] not in (None, where[id(s)]) and let.array is None:
                yield f"{type(s).__name__}: {p.text(value)} is known in another loop over lanes"
        blocks = [loop for loop in path if loop.lanes]
        if isinstance(s, Lanes):
            if not blocks or _innermost(around) is not None:
                yield "a loop over lanes in no block of them, or in another such loop"
            else:
                yield from _loop(p, s, blocks[-1], path[: path.index(blocks[-1])])
        sets = isinstance(s, (Store, Best)) or isinstance(s, Loop) and s.accumulates
        if opened and blocks and where[id(s)] is None and sets and not has_partial(s):
            yield f"{type(s).__name__} of a point stands in no loop over lanes"
    for place in p.places:
        b = p.buffers[place.access.buffer]
        for block in place.path:
            if block.lanes and b.lanes < block.lanes and b.lanes and b.number not in p.partial:
                yield f"{p.name(place)}: {b.lanes} lanes for {block.lanes} points"


def _innermost(around: Any) -> int | None:
    """The `id` of the loop over lanes that something stands in."""
    return next((id(s) for s, _ in reversed(around) if isinstance(s, Lanes)), None)


def _loop(p: View, s: Lanes, block: Loop, path: tuple[Loop, ...]) -> Iterator[str]:
    sizes = block.lanes, 0 if block.again else block.extent % block.lanes
    for count, size in zip(s.vectors, sizes, strict=True):
        if not 0 <= count <= size or (count < size and count % LANES):
            yield f"a loop over {size} lanes, {count} of them in vectors"
    if not s.in_order:
        yield from meetings(p, block, path, ["any order"] + ["chunks"] * bool(block.chunks), s)
    elif any(s.vectors) or sum(not isinstance(one, Let) for one in s.body) > 1:
        yield "lanes that come in order are a vector, or share a loop"
