"""Thresholds of lowering so small that arrays of a few dozen elements take every path."""

from __future__ import annotations

import pytest

from symgrad.lower import lanes, product, schedule, straight, stream

TINY = {
    lanes: dict(
        _MIN_EXTENT=4, _SIZES=(8, 4), _FLUSH_BLOCKS=2, _COMPENSATE=1, _PARALLEL_COST=1,
        _OWN_BYTES=1 << 20,
    ),
    product: dict(
        _FEWEST=2, _SMALLEST_FACE=4, _BLOCK_ROWS=12, _MOST_ROWS=12, _BLOCK_COLUMNS=16,
        _BLOCK_INNER=8, SHARED_WORK=8,
    ),
    schedule: dict(_STREAM_BLOCK=6, _STREAM_BYTES=0),
    stream: dict(_CHUNK_WORK=8, _CHUNK_BLOCKS=2),
}  # fmt: skip


def make_tiny(patch: pytest.MonkeyPatch, loops: bool = False) -> None:
    """Use them; `loops`: inner loops of a point are not written out."""
    for module, constants in TINY.items():
        for name, value in constants.items():
            patch.setattr(module, name, value)
    if loops:
        patch.setattr(straight, "_MOST_OPERATIONS", 0)
