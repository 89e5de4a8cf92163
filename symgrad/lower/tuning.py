"""Thresholds of lowering and emission, each once: what pays, and how large blocks are.

No result depends on them beyond rounding. What follows from a machine is filled in by `Tuning.of`;
the rest was measured on x86-64 with AVX2 or AVX-512, gcc 12 to 14 (benchmarks/).
"""

from __future__ import annotations

from dataclasses import replace

from symgrad.lazy import dataclass
from symgrad.machines import HOST, Machine

NEVER = 1 << 60  # more than there is of anything
# Templates and results are made for these: they are no thresholds.
COSTLY = 10  # cost of an operation that is a function: worth a vector of its own
LANES = 8  # partial sums of one accumulation, in an order that no vector width changes
SHORT = 4  # rounds that are whole vectors with any width; fewer are not worth one


@dataclass(frozen=True)
class Tuning:
    """Sizes and numbers from which something is done, or up to which it is.

    `x_from_y` is the least y for which x is done; `most_x` and `x_bytes` are the largest allowed.
    """

    # ---- of the machine --------------------------------------------------------------------------

    vectors: bool  # whether it has any: else passes for the CPU and all that serves vectors go
    local_bytes: int  # of a temporary that is an array on the stack
    all_locals_bytes: int  # of these in one function, or in one round of a loop that threads share
    block_bytes: int  # of the arrays of a block of lanes, if it can be so small: the L1 cache
    most_block_bytes: int  # of the smallest block; beyond this the points are too large for lanes
    cached_bytes: int  # of an array that stays in the L2 cache between two loops, beside others
    read_again_bytes: int  # of all arrays that one loop reads in every round: the L2 cache

    # ---- kernels: what gets a buffer -------------------------------------------------------------

    inline_cost: int = 8  # in flops: an element that costs less may be computed twice
    picked_cost: int = 4  # the same for one that many places of a gather read
    constant_elements: int = 4096  # of a captured array in the file; larger ones are handed in
    fold_from_rows: int = 24  # of a quadratic form in tiles: those of a triangle leave out enough
    triangle_from_rows: int = 4  # of a quadratic form, or of a sum with two axes, in loops
    triangle_from_points: int = 32  # that use one matrix or add to one: it pays to fold or mirror
    carried_elements: int = 64  # of a result of a loop; smaller ones have an array while it runs
    most_slices: int = 32  # readers of one node that are compared with each other
    split_from_rounds: int = 64  # of a recurrence: the rest of its rounds is computed apart
    split_from_cost: int = 10  # operations of a round that this saves at least
    split_bytes: int = 64 << 20  # of the rows that a loop keeps for what is computed behind it
    split_nodes: int = 4000  # of a round; finding the best cut of more takes long
    ahead_from_rounds: int = 64  # of a linear recurrence, several of whose rounds are one
    ahead_widths: tuple[int, ...] = (4, 5, 6, 7, 3)  # the first that divides n
    ahead_from_factor: float = 2.0**-16  # a smaller one may underflow, taken so often
    row_cost: int = 10  # operations in the time of storing and reading a number of a row

    # ---- products in register tiles --------------------------------------------------------------

    tiles_from_extent: int = 8  # rows, columns and summands each; fewer are left to other loops
    tiles_from_face: int = 256  # the product of the two smallest of these
    block_rows: int = 96  # a left block and a right panel stay in the L2 and L1 cache
    most_rows: int = 144  # that stay one block
    block_columns: int = 512
    block_summands: int = 256
    compensate_from_blocks: int = 16  # of summands, whose sums are then added with compensation
    share_of_blocks: float = 0.75  # of the time: rows of a long axis are made and used in blocks
    few_columns: int = 128  # up to which rows are not turned into panels, which are read faster
    share_from_work: int = 1 << 20  # multiply-adds that threads share: some 50 µs
    shared_block_bytes: int = 96 * 1024  # of the left block that each thread has on its stack
    shared_blocks: int = 16  # of rows that threads share, if rows are enough
    blas_from_work: int = 1 << 24  # multiply-adds for which the threads of a BLAS pay

    # ---- loops and streams -----------------------------------------------------------------------

    sums_in_cache: int = 4096  # elements of an array of sums that a loop over other data carries
    stream_points: int = 96  # of a block: rows of a product
    many_summands: int = 192  # of a product, from which copying its other factor wants more rows
    stream_from_bytes: int = 2 << 20  # that are then not written and read again
    blas_block: int = 1024  # points of a block, or summands, that are worth a call of a BLAS
    added_share: float = 0.5  # of sums that every block adds to; the others are in a cache
    compensate_from_points: int = 16  # blocks; the sums of chunks are then added with compensation
    chunk_sum_bytes: int = 8 << 20  # of a sum over the points of which chunks have one of their own
    chunk_blocks: int = 16  # added up before they go to a sum
    merge_work: int = 24  # multiply-adds in the time of adding one element of a chunk's sum
    merge_share: float = 0.02  # of the products in a chunk: the time that merging may take
    chunk_from_work: int = 1 << 18  # multiply-adds beside which giving them to a thread is nothing
    team_bytes: int = 256 << 20  # of the workspace that threads have of their own, all together

    # ---- lanes -----------------------------------------------------------------------------------

    lanes_from_points: int = 32  # shorter loops do not pay for the arrays
    lane_counts: tuple[int, ...] = (64, 56, 48, 40, 32, 24, 16)  # multiples of every vector width
    long_row: int = 32  # elements of a point in a result from which lanes do not pay
    long_input_row: int = 48  # the same in what is read
    most_partial_sums: int = 8192  # each of which takes a few lanes
    most_inner_summands: int = 128  # more are left to the compensated sum along their own axis
    hoist_from_rounds: int = 3  # of a loop from which a value is computed before it
    vector_from_rounds: int = 4  # of a loop outside of lanes that calls functions such as exp
    flush_blocks: int = 16  # added up before partial sums go to their target
    compensate_from_flushes: int = 8  # whose additions then carry a compensation
    parallel_from_cost: int = 100_000  # operations of a loop that threads share: some 50 µs
    chunk_stack_bytes: int = 128 * 1024  # of the arrays of each chunk of a parallel loop
    kept_sum_bytes: int = 8 << 20  # of the sums of all chunks, added up when all are there

    # ---- straight code ---------------------------------------------------------------------------

    straight_operations: int = 1500  # of one point; beyond it, loops are cheaper to compile
    straight_rounds: int = 16  # of one inner loop; longer sums are added up in parts
    rows_from_operations: int = 40  # of a point, which are worth copying its rows to lanes
    zeros_from: int = 100  # of an array that is then set to 0 by one loop; compilers call memset
    zeros_from_share: float = 0.5  # of its elements: the others are stored twice
    sines_from: int = 4  # angles, whose sines and cosines are then taken in one loop of vectors
    fetch_from_bytes: int = 256 * 1024  # of a result that does not stay in the L2 cache
    powers_from_points: int = 1024  # whose powers are worth compiling code of our own
    lanes_of_powers: int = 32  # as many chains side by side as a processor has under way

    # ---- C ---------------------------------------------------------------------------------------

    part_statements: int = 250  # of a function, in whose length C compilers are superlinear
    unit_parts: int = 16  # that one compiler translates, where several work on a file at once
    sum_block: int = 128  # elements between two compensated additions, as in NumPy's pairwise sums
    inner_block: int = 16  # elements that one lane adds before they go to its sum: short errors
    extremum_lanes: int = 32  # so many that compilers do not write the loop over them out

    @classmethod
    def of(cls, machine: Machine) -> Tuning:
        """What suits a machine."""
        tuning = cls(
            vectors=machine.vectors,
            local_bytes=machine.local_bytes,
            all_locals_bytes=machine.stack_bytes,
            block_bytes=machine.l1_bytes,
            most_block_bytes=3 * machine.l1_bytes,
            cached_bytes=machine.l2_bytes // 8,
            read_again_bytes=machine.l2_bytes,
        )
        if not machine.vectors:
            tuning = replace(
                tuning,
                tiles_from_face=NEVER,
                split_from_rounds=NEVER,
                zeros_from=NEVER,
                sines_from=NEVER,
            )
        return tuning

    @classmethod
    def tiny(cls) -> Tuning:
        """So small that arrays of a few dozen elements take every path: for tests."""
        return replace(
            cls.of(HOST),
            split_from_rounds=3,
            split_from_cost=1,
            ahead_from_rounds=3,
            lanes_from_points=4,
            lane_counts=(8, 4),
            flush_blocks=2,
            compensate_from_flushes=1,
            parallel_from_cost=1,
            chunk_stack_bytes=1 << 20,
            tiles_from_extent=2,
            tiles_from_face=4,
            block_rows=12,
            most_rows=12,
            block_columns=16,
            block_summands=8,
            share_from_work=8,
            stream_points=6,
            stream_from_bytes=0,
            chunk_from_work=8,
            chunk_blocks=2,
        )


HOST_TUNING = Tuning.of(HOST)
