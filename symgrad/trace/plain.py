"""Plain arrays that a traced function changes in place: ``F += x`` where F is np.zeros(3).

NumPy hands us F and x, and Python binds the name F to what we return. Where that was the only name
of the array, it is gone with the instruction that binds the name, and nothing is left to do. Where
it lives on (another name, a list, a view, the caller's variable), its memory belongs to the trace:
whatever traced operations read there is what was written, as in NumPy. Two things cannot be seen:
what NumPy itself reads or writes there, and whoever uses the array after the function. So a
function that changes an array that lives on is run twice more, with other numbers in that memory
(`Block.hold`): if they reach the result, or are overwritten, the function is refused; and so it
is if the array outlives the call.
"""

from __future__ import annotations

import gc
import opcode
import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from symgrad.errors import MutationError, at_user_line, is_internal
from symgrad.expr.node import Expr
from symgrad.ops.linear import reshape
from symgrad.trace.memory import Reader, content, reader_at, share
from symgrad.trace.state import CURRENT, NO_TRACE, Trace, fail

if TYPE_CHECKING:
    from symgrad.trace.tracer import Tracer

_BETWEEN = frozenset({"CACHE", "SWAP", "COPY", "NOP", "EXTENDED_ARG"})  # an operator and its store


class Block:
    """The memory of one plain array that a trace has changed."""

    def __init__(self, trace: Trace, owner: np.ndarray, what: str) -> None:
        self.trace, self.what = trace, what
        self.low, self.high = np.lib.array_utils.byte_bounds(owner)
        self.dtype = owner.dtype
        self.memory: Tracer | None = None  # what is in it now, in the order of memory
        self.handle: Callable[[], Tracer | None] = _nothing  # what the change returned
        self.frame, self.store, self.name = _store()
        self.owner: weakref.ref[np.ndarray] | None = None
        self.held: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        if trace.fill:
            self.hold(owner)
        else:
            self.owner = weakref.ref(owner, self._died)

    def _died(self, _: Any) -> None:
        """The array is gone: in the instruction that gave its name to the new value, or later."""
        frame = sys._getframe(1)
        if self in self.trace.blocks:
            self.trace.blocks.remove(self)
        if id(frame) == self.frame and frame.f_lasti == self.store:
            handle = self.handle()
            if handle is not None:
                handle._group = handle._links = handle._base = handle._derive = None
        elif self not in self.trace.shared:
            self.trace.shared.append(self)

    def hold(self, owner: np.ndarray) -> None:
        """Put other numbers there, until `let_go`."""
        kept = owner.copy(order="K")
        random = np.random.default_rng(0).uniform(1, 2, owner.shape)
        if owner.dtype.kind == "b":
            owner[...] = (random > 1.5) == (self.trace.fill > 0)
        else:
            large = {"i": 2.0**20, "f": 1e30}[owner.dtype.kind]
            owner[...] = self.trace.fill * large * random
        self.held = owner, kept, owner.copy(order="K")

    def let_go(self) -> bool:
        """What was there before, again; whether NumPy had left it alone."""
        assert self.held is not None
        owner, kept, filled = self.held
        untouched = owner.tobytes() == filled.tobytes()
        owner[...] = kept
        self.held = None
        return untouched


def _nothing() -> None:
    return None


def _store() -> tuple[int, int, str]:
    """The user's frame, the place in its code that binds the result of this operator, and how."""
    frame = sys._getframe(2)
    while is_internal(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    code, place = frame.f_code.co_code, frame.f_lasti
    if opcode.opname[code[place]] != "BINARY_OP":
        return id(frame), -1, ""  # a call, such as np.add(F, x, out=F): nothing is bound
    place += 2
    while opcode.opname[code[place]] in _BETWEEN:
        place += 2
    return id(frame), place, opcode.opname[code[place]]


def change(target: np.ndarray, value: Expr, what: str, wrap: Callable[[Expr], Any]) -> Any:
    """The tracer that stands for `target` from now on, with `value` in it; `wrap` makes tracers.

    Raises MutationError where the change cannot be followed.
    """
    trace = CURRENT.get()
    if trace is NO_TRACE or not value.size:
        return wrap(value)
    if not target.flags.writeable:
        raise fail(MutationError, f"{what}: the array is read-only")
    block = _find(trace, target)
    if block is not None:
        if block not in trace.shared:
            trace.shared.append(block)
        return _written(block, target, value, what, wrap)
    owner = _owner(target, what)
    whole = target.size == owner.size and target.flags.c_contiguous
    elements = reshape(value, (value.size,)) if whole else content(owner)
    block = Block(trace, owner, at_user_line(what))
    block.memory = wrap(elements)
    trace.blocks.append(block)
    if whole:  # what was there does not matter, and nothing is written through
        handle = wrap(value)
        share(block.memory, handle, Reader(0, None, value.shape))
    else:
        handle = _written(block, target, value, what, wrap)
    block.handle = weakref.ref(handle)
    if block.name not in ("STORE_FAST", ""):  # an attribute, an element, a global
        trace.stored.append((block.handle, block.what))
    return handle


def read(value: np.ndarray) -> Expr | None:
    """What a trace has written where `value` lies, None for an array that none has changed."""
    trace: Trace | None = CURRENT.get()
    while trace is not None and trace is not NO_TRACE:
        block = _find(trace, value) if trace.blocks else None
        if block is not None:
            assert block.memory is not None
            return _reader(block, value)(block.memory.expr)
        trace = trace.parent
    return None


def _find(trace: Trace, value: np.ndarray) -> Block | None:
    low, high = np.lib.array_utils.byte_bounds(value)
    for block in trace.blocks:
        if low < block.high and block.low < high and low < high:
            return block
    return None


def _written(block: Block, target: np.ndarray, value: Expr, what: str, wrap: Any) -> Any:
    """A tracer that is `target` in a block, after a change."""
    reader = _reader(block, target)
    if reader.positions is not None and np.unique(reader.positions).size < target.size:
        raise fail(MutationError, f"{what}: elements of the array share memory; change a .copy()")
    assert block.memory is not None
    handle = wrap(reader(block.memory.expr))
    share(block.memory, handle, reader)
    return handle.assign(value, what)


def _reader(block: Block, value: np.ndarray) -> Reader:
    return reader_at(block.low, block.dtype, value, f" ({block.what})")


def _owner(value: Any, what: str) -> np.ndarray:
    """The array that owns the memory of `value`."""
    while True:
        base = value.obj if type(value) is memoryview else getattr(value, "base", None)
        if base is None:
            break
        value = base
    known = type(value) is np.ndarray and value.flags.owndata and value.flags.writeable
    low, high = np.lib.array_utils.byte_bounds(value) if known else (0, 0)
    if not known or high - low != value.nbytes:
        raise fail(
            MutationError,
            f"{what} changes memory that belongs to no NumPy array; change a .copy()",
        )
    return value


# ---- the end of a trace --------------------------------------------------------------------------


def outliving(trace: Trace) -> str | None:
    """The user's line of a change that somebody outside of the function would see, if any."""
    for wait in (True, False):
        left = [b.what for b in trace.blocks] + [w for t, w in trace.stored if t() is not None]
        if left and wait:
            gc.collect()  # the function's own cycles
    return left[0] if left else None


def unseen(trace: Trace) -> str | None:
    """End a run with other numbers; the line of a change after which NumPy wrote there, if any."""
    blocks, trace.blocks = trace.blocks, []
    touched = [block.what for block in reversed(blocks) if not block.let_go()]
    return touched[-1] if touched else None
