"""Summed labels told apart by what they connect, so that equal products are written alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symgrad.reader.heads import FIRST, Factor


def coloured(factors: Sequence[Factor], present: set[int]) -> list[list[int]]:
    """Summed labels in groups that what they connect does not tell apart, in one order."""
    colour = dict.fromkeys(present, 0)
    for _ in range(len(present)):
        seen: dict[int, list[Any]] = {k: [] for k in colour}
        for head, labels, e in factors:
            around = [(0, k) if k < FIRST else (1, colour[k]) for k in labels]
            for axis, k in enumerate(labels):
                if k >= FIRST:
                    if head.symmetric:
                        seen[k].append((head.order, e, 0, sorted(around)))
                    else:
                        seen[k].append((head.order, e, axis, around))
        marks = {k: (colour[k], sorted(rows)) for k, rows in seen.items()}
        ranked: list[Any] = []
        for m in sorted(marks.values()):
            if not ranked or ranked[-1] != m:
                ranked.append(m)
        new = {k: ranked.index(m) for k, m in marks.items()}
        if len(set(new.values())) == len(set(colour.values())):
            colour = new
            break
        colour = new
    groups: dict[int, list[int]] = {}
    for k in sorted(present):
        groups.setdefault(colour[k], []).append(k)
    return [groups[n] for n in sorted(groups)]
