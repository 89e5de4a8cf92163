"""The order in which a contraction of many factors is computed.

Lowering takes the steps from here, and `inspect.cost` counts them: both mean the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import opt_einsum

from symgrad.ops.einsum import Labels

_FACTORS_OF_EVERY_ORDER = 5  # up to so many, every order is compared


@dataclass(frozen=True)
class Step:
    """One contraction, mostly of two factors; its result goes behind those that are left.

    positions : which of the factors that are present it takes, ascending
    inputs : their labels
    output : the labels of its result, those that later steps or the whole still need
    """

    positions: tuple[int, ...]
    inputs: tuple[Labels, ...]
    output: Labels

    def flops(self, size: Mapping[int, int]) -> int:
        """Multiplications, and as many additions if anything is summed."""
        labels = {k for t in self.inputs for k in t}
        per = len(self.inputs) - 1 + (not labels <= set(self.output))
        return math.prod(size[k] for k in labels) * per


def steps(inputs: Sequence[Labels], output: Labels, size: Mapping[int, int]) -> Iterator[Step]:
    """The steps of the cheapest order in pairs (opt_einsum); up to two factors are one step.

    size : the size of every label
    """
    terms = list(inputs)
    for positions in _path(inputs, output, size):
        chosen = tuple(terms[i] for i in positions)
        for i in reversed(positions):
            del terms[i]
        needed = {k for t in terms for k in t} | set(output)
        kept = tuple(dict.fromkeys(k for t in chosen for k in t if k in needed))
        terms.append(kept if terms else output)
        yield Step(positions, chosen, terms[-1])


def _path(
    inputs: Sequence[Labels], output: Labels, size: Mapping[int, int]
) -> list[tuple[int, ...]]:
    if len(inputs) <= 2:
        return [tuple(range(len(inputs)))]
    letters = {k: opt_einsum.get_symbol(k) for k in size}  # opt_einsum wants one for each label
    spec = ",".join("".join(letters[k] for k in t) for t in inputs)
    spec += "->" + "".join(letters[k] for k in output)
    path, _ = opt_einsum.contract_path(
        spec,
        *(tuple(size[k] for k in t) for t in inputs),
        shapes=True,
        optimize="optimal" if len(inputs) <= _FACTORS_OF_EVERY_ORDER else "auto",
    )
    return [tuple(sorted(step)) for step in path]
