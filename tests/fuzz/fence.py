"""Arrays that end where unreadable memory begins: one element too many kills the process."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

_PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)


class Fences:
    """Copies of arrays between two pages that nobody may touch; `close` frees them all.

    before : whether the first element, and not the last, lies at a fence
    """

    def __init__(self, before: bool = False) -> None:
        self.before = before
        self._maps: list[tuple[mmap.mmap, Any]] = []

    def array(self, like: np.ndarray, copy: bool = True) -> np.ndarray:
        """A copy of `like`, or NaN (all bits set) of its type."""
        room = -(-max(like.nbytes, 1) // _PAGE) * _PAGE
        block = mmap.mmap(-1, room + 2 * _PAGE)
        # A ctypes object keeps the mapping open and tells its address.
        holder = (ctypes.c_char * (room + 2 * _PAGE)).from_buffer(block)
        start = ctypes.addressof(holder)
        for page in (start, start + _PAGE + room):
            if _libc.mprotect(ctypes.c_void_p(page), _PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self._maps.append((block, holder))
        offset = _PAGE if self.before else _PAGE + room - like.nbytes
        flat = np.frombuffer(block, np.uint8, like.nbytes, offset)
        made = flat.view(like.dtype).reshape(like.shape) if like.size else np.empty_like(like)
        if copy:
            made[...] = like
        else:
            flat[...] = 255
        return made

    def close(self) -> None:
        for _, holder in self._maps:
            address = ctypes.addressof(holder)
            size = len(holder)
            _libc.mprotect(ctypes.c_void_p(address), size, 3)
        self._maps.clear()  # unmapped when the last array is gone
