"""``x.flat`` of a traced array: its elements in order, to read and to store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from symgrad.errors import MutationError
from symgrad.trace.state import fail


class Flat:
    """The elements of an array as NumPy's flatiter shows them: reading copies, storing changes it.

    array : a tracer with a shape, of which this is no copy
    """

    def __init__(self, array: Any) -> None:
        self.base = array

    def __len__(self) -> int:
        return int(self.base.size)

    def __getitem__(self, index: Any) -> Any:
        return self.base.flatten()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.base.flatten())

    def copy(self) -> Any:
        return self.base.flatten()

    def __setitem__(self, index: Any, value: Any) -> None:
        """Values that are fewer than the elements are repeated, as NumPy does."""
        if hasattr(index, "expr"):
            raise fail(
                MutationError, "x.flat[k] = y is traced for an index k that is known while tracing"
            )
        chosen = np.arange(self.base.size)[index]
        count = np.size(value)
        if np.ndim(value):
            value = np.ravel(value)
            value = value[0] if count == 1 or not np.ndim(chosen) else value
        if np.ndim(value) and count != chosen.size:
            value = value[np.arange(chosen.size) % count]
        place = chosen.ravel() if np.ndim(chosen) else chosen
        self.base[np.unravel_index(place, self.base.shape)] = value
