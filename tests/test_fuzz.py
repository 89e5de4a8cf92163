"""Random graphs: evaluator, simplified graph and compiled C agree, derivatives included."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.random_graphs import compare
from symgrad.lower.tuning import HOST_TUNING


@pytest.mark.sample(3)
@pytest.mark.quick(1)
@pytest.mark.parametrize("block", range(10))
def test_values(block):
    for seed in range(10 * block, 10 * block + 10):
        compare(seed, "float64", False)


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_derivatives(block):
    for seed in range(1000 + 10 * block, 1000 + 10 * block + 10):
        compare(seed, "float64", True)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_float32(block):
    for seed in range(2000 + 10 * block, 2000 + 10 * block + 10):
        compare(seed, "float32", False)


# Lanes for loops that are short enough for random graphs, with a shorter block at the end.
SHORT_BLOCKS = replace(
    HOST_TUNING,
    lanes_from_points=2,
    lane_counts=(3, 2),
    flush_blocks=1,
    compensate_from_flushes=0,
)


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("block", range(6))
@pytest.mark.parametrize("inner", ["straight", "loops"])
def test_lanes(block, inner):
    """Inner loops written out and not."""
    loops = inner == "loops"
    tuning = replace(SHORT_BLOCKS, straight_operations=0) if loops else SHORT_BLOCKS
    for seed in range(3000 + 10 * block, 3000 + 10 * block + 10):
        dtype = "float64" if block % 3 else "float32"
        compare(seed, dtype, block % 2 == 1, tuning=tuning)
