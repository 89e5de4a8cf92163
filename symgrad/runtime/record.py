"""From the digest of a graph to its library in the cache, without generating any C.

In: a digest, and the arrays that the graph captured. Out: the library that C of this graph was
compiled to, and how to call it. A record says nothing that could not be computed anew: whatever is
missing, damaged or odd about one means that the C is generated and looked up by its text.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from symgrad.boundary import Binding
from symgrad.options import DEFAULT_OPTIONS, Options
from symgrad.resources import generator_digest, generator_stamp
from symgrad.runtime.build import Library, cache_key, find_key
from symgrad.runtime.cache import is_key, open_cache
from symgrad.runtime.compiler import find_compiler, resolve_flags

_LARGEST = 1 << 48  # bytes of workspace


@dataclass(frozen=True)
class Record:
    """Where the library of one graph may be noted.

    digest : of the graph
    captured : its arrays
    options : of its compilation
    """

    digest: str
    captured: Sequence[np.ndarray]
    options: Options = DEFAULT_OPTIONS

    def find(self) -> tuple[Binding, Library] | None:
        """How to call the library, and the library, loaded; or None.

        Raises BuildError as `build` does, if there is no compiler or no place for a cache.
        """
        name = self._name()
        if name is None:
            return None
        cache = open_cache()
        match cache.read_note(name):
            case {
                "library": str(key),
                "optimize": level,
                "threads": threads,
                "blas": bool(blas),
                "name": str(function),
                "entry": str(entry),
                "workspace": workspace,
                "data": list(places),
            } if (
                is_key(key)
                and _is_number(level, 4)
                and threads in (1, self.options.threads)
                and _is_number(workspace, _LARGEST)
            ):
                pass
            case _:
                return None
        if not all(_is_number(k, len(self.captured)) for k in places):
            return None
        binding = Binding(function, entry, workspace, tuple(self.captured[k] for k in places))
        compiler = find_compiler()
        flags = resolve_flags(compiler, native=True, optimize=level, threads=threads, blas=blas)
        library = find_key(key, (entry, function), compiler, flags)
        if library is None:
            return None
        cache.keep_note(name)
        return binding, library

    def write(self, binding: Binding, library: Library) -> None:
        """Note that `library` is what the C of the graph was compiled to."""
        name = self._name()
        number = {id(a): k for k, a in enumerate(self.captured)}
        places = [number.get(id(a)) for a in binding.data]
        if name is None or None in places:  # lowering made a new array
            return
        note = {
            "library": library.key,
            "optimize": library.optimize,
            "threads": library.threads,
            "blas": library.blas,
            "name": binding.name,
            "entry": binding.entry,
            "workspace": binding.workspace_bytes,
            "data": places,
        }
        open_cache().write_note(name, note)

    def _name(self) -> str | None:
        """A key as that of the library itself, with the graph and its generator for the C."""
        generator = _generator()
        if generator is None:
            return None
        compiler = find_compiler()
        flags = resolve_flags(compiler, native=True, optimize=0)
        return cache_key(f"{generator} {self.digest}", compiler, flags, f"record {self.options}")


@functools.cache
def _generator() -> str | None:
    """`generator_digest`, from a note if no file has changed since that was written."""
    stamp = generator_stamp()
    if stamp is None:
        return None
    cache = open_cache()
    noted = cache.read_note(stamp)
    if isinstance(noted, str) and is_key(noted):
        return noted
    digest = generator_digest()
    if digest is not None:
        cache.write_note(stamp, digest)
    return digest


def _is_number(value: object, limit: int) -> bool:
    return type(value) is int and 0 <= value < limit
