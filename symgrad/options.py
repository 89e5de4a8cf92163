"""How a function is compiled, apart from what it computes."""

from __future__ import annotations

from dataclasses import dataclass

from symgrad.errors import BuildError

_MOST_THREADS = 1024


@dataclass(frozen=True)
class Options:
    """Choices of whoever compiles a function; BuildError for values that are none.

    threads : how many may share a large loop or product; the results do not depend on it
    blas : whether large products of matrices are left to SciPy's BLAS, which decides the last bits
    """

    threads: int = 1
    blas: bool = False

    def __post_init__(self) -> None:
        if type(self.threads) is not int or not 1 <= self.threads <= _MOST_THREADS:
            raise BuildError(f"threads={self.threads!r}: must be an int from 1 to {_MOST_THREADS}.")
        if type(self.blas) is not bool:
            raise BuildError(f"blas={self.blas!r}: must be True or False.")


DEFAULT_OPTIONS = Options()
