"""Processors that C is generated for, as values.

A machine says what is known of a processor; `symgrad.lower.tuning` has what follows from that for
lowering. The C itself is C99 for every machine: what is said here decides which of several right
programs is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from symgrad.errors import BuildError


@dataclass(frozen=True)
class Machine:
    """What decides about the C that suits a processor.

    name : in messages
    l1_bytes, l2_bytes : of its caches for data, of one core; no cache counts as one of
        the size of what can be read fast
    stack_bytes : that the arrays of one function may take
    local_bytes : that one of these arrays may take
    vectors : whether blocks of points in SIMD lanes, and products in register tiles, are worth
        their code
    threads : whether there are several, by OpenMP
    blas : whether there is a BLAS to call
    """

    name: str
    l1_bytes: int
    l2_bytes: int
    stack_bytes: int
    local_bytes: int
    vectors: bool
    threads: bool
    blas: bool


HOST = Machine(  # any processor of a desk or a server; measured on ones with AVX2 and AVX-512
    "host",
    l1_bytes=32 << 10,
    l2_bytes=2 << 20,
    stack_bytes=16 << 10,
    local_bytes=2 << 10,
    vectors=True,
    threads=True,
    blas=True,
)
CORTEX_M4 = Machine(  # 32 bits, no cache, no vectors of floats, 64 to 256 KiB of memory
    "cortex_m4",
    l1_bytes=16 << 10,
    l2_bytes=16 << 10,
    stack_bytes=1 << 10,
    local_bytes=256,
    vectors=False,
    threads=False,
    blas=False,
)
CORTEX_M7 = Machine(  # 32 bits, 4 to 64 KiB of cache, no vectors of floats, some 512 KiB of memory
    "cortex_m7",
    l1_bytes=16 << 10,
    l2_bytes=16 << 10,
    stack_bytes=4 << 10,
    local_bytes=1 << 10,
    vectors=False,
    threads=False,
    blas=False,
)
MACHINES = {m.name: m for m in (HOST, CORTEX_M4, CORTEX_M7)}


def find_machine(given: Any) -> Machine:
    """A machine, or the one of a name; BuildError for anything else."""
    if isinstance(given, Machine):
        return given
    found = MACHINES.get(given) if isinstance(given, str) else None
    if found is None:
        known = ", ".join(map(repr, MACHINES))
        raise BuildError(f"machine={given!r}: must be one of {known}, or a Machine.")
    return found
