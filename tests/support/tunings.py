"""Thresholds of lowering with which small arrays take the paths of large ones."""

from __future__ import annotations

from dataclasses import replace

from symgrad.lower.tuning import HOST_TUNING, Tuning

TINY = Tuning.tiny()
TINY_LOOPS = replace(TINY, straight_operations=0)  # inner loops of a point are not written out
LOOPS = replace(HOST_TUNING, straight_operations=0)

# Every contraction of two matrices in tiles, in blocks smaller than they are.
SMALL_TILES = replace(
    HOST_TUNING,
    fold_from_rows=1,
    tiles_from_extent=1,
    tiles_from_face=1,
    block_rows=12,
    most_rows=12,
    block_columns=16,
    block_summands=3,
    compensate_from_blocks=2,
)
# And these in blocks of two points.
SHORT_STREAMS = replace(
    SMALL_TILES,
    stream_points=2,
    stream_from_bytes=-1,
    added_share=0,
    compensate_from_points=2,
    chunk_blocks=1,
)
