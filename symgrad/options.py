"""How a function is compiled, apart from what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from symgrad.errors import BuildError
from symgrad.machines import HOST, Machine, find_machine

if TYPE_CHECKING:  # only what generates C imports it
    from symgrad.lower.tuning import Tuning

_MOST_THREADS = 1024
Scalar = bool | int | Literal["auto"]
SCALAR: Scalar = "auto"  # whether functions get their scalar form where nobody says (0078)
AUTO = "auto"
# Rules, or groups of them, that are left out for scalars. They are not rolled up to loops again;
# products are taken in the order that is written; a call of hypot takes as long as 20 operations.
NOT_OF_SCALARS = frozenset({"loops", "einsum", "hypot", "hypot-nested"})
MOST_SCALARS = 5000  # operations of a scalar form, whose C gcc takes a second for


@dataclass(frozen=True)
class Options:
    """Choices of whoever compiles a function; BuildError for values that are none.

    threads : how many may share a large loop or product; the results do not depend on it
    blas : whether large products of matrices are left to SciPy's BLAS, which decides the last bits
    machine : what the C is for, or its name
    tuning : thresholds; None: what suits the machine
    scalar : whether what is small and of fixed size is computed scalar by scalar; a number is the
        most operations that C may then have; "auto": where `symgrad.scalar.choice` expects that it
        pays, and so that NaN and infinities go where they go in the usual form. What has no such
        form, or a longer one, is compiled without; see `symgrad.scalar`
    """

    threads: int = 1
    blas: bool = False
    machine: str | Machine = HOST
    tuning: Tuning | None = None
    scalar: Scalar = SCALAR

    def __post_init__(self) -> None:
        if type(self.threads) is not int or not 1 <= self.threads <= _MOST_THREADS:
            raise BuildError(f"threads={self.threads!r}: must be an int from 1 to {_MOST_THREADS}.")
        if type(self.blas) is not bool:
            raise BuildError(f"blas={self.blas!r}: must be True or False.")
        machine = find_machine(self.machine)
        object.__setattr__(self, "machine", machine)
        if self.threads > 1 and not machine.threads:
            raise BuildError(f"threads={self.threads}: {machine.name} has one thread.")
        if self.blas and not machine.blas:
            raise BuildError(f"blas=True: {machine.name} has no BLAS.")
        self._check_scalar()

    def _check_scalar(self) -> None:
        if self.scalar == AUTO or self.scalar is False:
            return
        if type(self.scalar) is not bool and (type(self.scalar) is not int or self.scalar < 1):
            raise BuildError(
                f'scalar={self.scalar!r}: must be True, False, "auto" or the most operations, a '
                "positive int."
            )
        if self.threads > 1:
            raise BuildError(
                f"scalar={self.scalar!r} and threads={self.threads}: scalar form has no loops that "
                "threads could share; leave out one of them."
            )
        if self.blas:
            raise BuildError(
                f"scalar={self.scalar!r} and blas=True: scalar form has no products of matrices "
                "that a BLAS could take; leave out one of them."
            )

    @property
    def most_scalars(self) -> int:
        """The most operations of a scalar form."""
        return self.scalar if type(self.scalar) is int else MOST_SCALARS


DEFAULT_OPTIONS = Options()
