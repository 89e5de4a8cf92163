"""Random graphs: evaluator, simplified graph and compiled C agree, derivatives included."""

from __future__ import annotations

import pytest

from support.random_graphs import compare
from symgrad.lower import lanes, straight


@pytest.mark.quick(1)
@pytest.mark.parametrize("block", range(10))
def test_values(block):
    for seed in range(10 * block, 10 * block + 10):
        compare(seed, "float64", False)


@pytest.mark.quick(1)
@pytest.mark.parametrize("block", range(10))
def test_derivatives(block):
    for seed in range(1000 + 10 * block, 1000 + 10 * block + 10):
        compare(seed, "float64", True)


@pytest.mark.quick(1)
@pytest.mark.parametrize("block", range(4))
def test_float32(block):
    for seed in range(2000 + 10 * block, 2000 + 10 * block + 10):
        compare(seed, "float32", False)


@pytest.fixture(params=["straight", "loops"])
def short_blocks(monkeypatch, request):
    """Lanes for loops that are short enough for random graphs, with a shorter block at the end;
    inner loops written out and not."""
    if request.param == "loops":
        monkeypatch.setattr(straight, "_MOST_OPERATIONS", 0)
    monkeypatch.setattr(lanes, "_MIN_EXTENT", 2)
    monkeypatch.setattr(lanes, "_SIZES", (3, 2))
    monkeypatch.setattr(lanes, "_FLUSH_BLOCKS", 1)
    monkeypatch.setattr(lanes, "_COMPENSATE", 0)


@pytest.mark.quick(1)
@pytest.mark.parametrize("block", range(6))
def test_lanes(block, short_blocks):
    for seed in range(3000 + 10 * block, 3000 + 10 * block + 10):
        compare(seed, "float64" if block % 3 else "float32", block % 2 == 1)
