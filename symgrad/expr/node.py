"""Expr, the one node type, and `bind`, the one way to make a node.

Nodes are hash-consed: equal (op, args, attrs) is the same object, so `is` is equality and common
subexpressions are shared by construction. Two facts decide what "equal" means:

* a constant is keyed by dtype and bit pattern (0.0 and -0.0 differ, every NaN equals itself);
* an argument is keyed by a number that is fresh for every trace, never by its name, so that
  nested derivatives cannot confuse each other's variables.

`order` is a number that depends on a node's structure only (depth first, then a digest), never on
addresses or creation history: operands of commutative operations are sorted by it, which makes
generated text the same in every process.
"""

from __future__ import annotations

import collections
import functools
import itertools
import math
import struct
import weakref
import zlib
from typing import Any

import numpy as np

from symgrad.errors import DtypeError, ShapeError
from symgrad.expr.op import OPS, Kind, Op
from symgrad.forks import ForkSafeLock

DTYPES = ("bool", "int32", "int64", "float32", "float64")
TUPLE = "tuple"  # in the place of a dtype: of nodes with several results, which only `item` reads
FLOATS = ("float32", "float64")
_MASK = (1 << 64) - 1
DEPTH_SHIFT = 64  # `order` is depth << DEPTH_SHIFT, plus a digest


class Expr:
    """An array-valued expression: `op` applied to `args` with metadata `attrs`.

    Attributes
    ----------
    shape : tuple of int
    dtype : str, one of DTYPES
    order : int, structural sort key
    site : (file, line) of the user code that first made it, or None; not part of identity
    form, settled : what `simplify/pattern.py` has found out about the node: a number for its
        operation and those of its arguments, and for which sets of rules no rule fires at it
    """

    __slots__ = (
        "op", "args", "attrs", "shape", "dtype", "order", "site", "form", "settled", "__weakref__",
    )  # fmt: skip

    op: Op
    args: tuple[Expr, ...]
    attrs: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: str
    order: int
    site: tuple[str, int] | None
    form: int
    settled: int

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.op.name

    def attr(self, name: str) -> Any:
        """The attribute of that name."""
        return self.attrs[self.op.attr_names.index(name)]

    def __reduce__(self) -> Any:
        raise TypeError("an Expr does not pickle alone; pickle the Graph that holds it")

    def __copy__(self) -> Expr:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Expr:
        return self

    def __repr__(self) -> str:
        return f"<Expr {self.op.name} {self.dtype}{list(self.shape)}>"

    # Arithmetic on nodes of equal shape and dtype; Python numbers become constants. The tables use
    # it to write partials the way a person would.
    def __add__(self, other: Any) -> Expr:
        return bind("add", self, lift(other, self))

    def __radd__(self, other: Any) -> Expr:
        return bind("add", lift(other, self), self)

    def __sub__(self, other: Any) -> Expr:
        return bind("subtract", self, lift(other, self))

    def __rsub__(self, other: Any) -> Expr:
        return bind("subtract", lift(other, self), self)

    def __mul__(self, other: Any) -> Expr:
        return bind("multiply", self, lift(other, self))

    def __rmul__(self, other: Any) -> Expr:
        return bind("multiply", lift(other, self), self)

    def __truediv__(self, other: Any) -> Expr:
        return bind("divide", self, lift(other, self))

    def __rtruediv__(self, other: Any) -> Expr:
        return bind("divide", lift(other, self), self)

    def __neg__(self) -> Expr:
        return bind("negative", self)


class _Entry(weakref.ref[Expr]):
    """A weak reference that knows its key in the table."""

    __slots__ = ("key",)

    key: tuple[Any, ...]


# Not a WeakValueDictionary: that calls Python whenever a node dies, and a Ctrl-C that arrives there
# is printed and lost. Here C notes which entries are dead; the next new node drops them.
_TABLE: dict[tuple[Any, ...], _Entry] = {}
_DEAD: collections.deque[_Entry] = collections.deque()
_DIED = _DEAD.append  # one object for all entries
_LOCK = ForkSafeLock()
_ARG_NUMBERS = itertools.count()
_DOUBLE = struct.Struct("=d").pack


def bind(op: str | Op, /, *args: Expr, attrs: tuple[Any, ...] = ()) -> Expr:
    """Make or find the node `op(*args; *attrs)`.

    Applies what the row states as a fact: constants fold through `evaluate`, the identity element
    disappears, operands of commutative operations are sorted, `normalize` is asked for a simpler
    node.

    Raises
    ------
    ShapeError, DtypeError
        From the row's `infer`, if the arguments do not fit.
    """
    row = OPS[op] if isinstance(op, str) else op
    if row.commutative and args[0].order > args[1].order:
        args = (args[1], args[0])
    key = (row, args, attrs)
    entry = _TABLE.get(key)
    if entry is not None:
        node = entry()
        if node is not None:  # for which there was nothing simpler when it was made
            return node
    if row.kind is Kind.ELEMENTWISE:
        for a in args:
            if a.op is CONST:
                folded = _fold(row, args)
                if folded is not None:
                    return folded
                break
    if row.normalize is not None:
        simpler: Expr | None = row.normalize(args, attrs)
        if simpler is not None:
            return simpler
    return _made(key)


def moved(node: Expr, args: tuple[Expr, ...]) -> Expr:
    """`node` with other operands in the place of its own, of which none is a constant now that was
    not one before, and which are the same where those were: nothing folds that did not.

    What `bind` finds, in half the time.
    """
    row = node.op
    if row.commutative and args[0].order > args[1].order:
        args = (args[1], args[0])
    key = (row, args, node.attrs)
    return _known(key) or _store(key, node.shape, node.dtype, _order(key))


def _intern(row: Op, args: tuple[Expr, ...], attrs: tuple[Any, ...]) -> Expr:
    key = (row, args, attrs)
    return _known(key) or _made(key)


def _made(key: tuple[Any, ...]) -> Expr:
    row, args, attrs = key
    shape, dtype = row.infer(*args, *attrs) if attrs else row.infer(*args)
    return _store(key, shape, dtype, _order(key))


def _order(key: tuple[Any, ...]) -> int:
    digest: int = key[0].stable_id
    depth = 0
    args, attrs = key[1], key[2]
    for arg in args:
        order: int = arg.order
        digest = (digest * 0x9E3779B97F4A7C15 + (order & _MASK) + 0x632BE59BD9B4E019) & _MASK
        digest ^= digest >> 29
        if order >> DEPTH_SHIFT > depth:
            depth = order >> DEPTH_SHIFT
    if attrs:
        digest = (digest * 0x9E3779B97F4A7C15 + zlib.crc32(repr(attrs).encode())) & _MASK
    return ((depth + 1) << DEPTH_SHIFT) | digest


def _store(key: tuple[Any, ...], shape: tuple[int, ...], dtype: str, order: int) -> Expr:
    node = Expr.__new__(Expr)
    node.op, node.args, node.attrs = key[0], key[1], key[2]
    node.shape, node.dtype, node.order, node.site = shape, dtype, order, None
    node.form = node.settled = 0
    entry = _Entry(node, _DIED)
    entry.key = key
    if _DEAD:
        _drop_dead()
    found = _TABLE.setdefault(key, entry)
    if found is entry:
        return node
    with _LOCK.held():  # another thread's node, or a dead one that is still to be dropped
        other = _known(key)
        if other is None:
            _TABLE[key] = entry
        return other or node


def _known(key: tuple[Any, ...]) -> Expr | None:
    entry = _TABLE.get(key)
    return None if entry is None else entry()


def _drop_dead() -> None:
    """Take dead entries out of the table. Their keys held other nodes, which then die in turn."""
    with _LOCK.held():
        while _DEAD:
            entry = _DEAD.popleft()
            if _TABLE.get(entry.key) is entry:  # else a new node has the key
                del _TABLE[entry.key]
            del entry  # the last to hold its key, and so the operands


def _fold(row: Op, args: tuple[Expr, ...]) -> Expr | None:
    """A constant if all operands are constants; the other operand of an identity element.

    One of them is.
    """
    for arg in args:
        if arg.op is not CONST:
            break
    else:
        with np.errstate(all="ignore"):
            value = row.evaluate(*[const_value(a) for a in args])
        _, dtype = row.infer(*args)
        return const(value, dtype, args[0].shape)
    if row.identity is not None:
        for this, other in ((args[0], args[1]), (args[1], args[0])):
            if this.op is CONST and this.attrs[1] == _bits(row.identity, this.dtype):
                return other
    return None


@functools.cache
def _bits(value: float, dtype: str) -> bytes:
    return np.asarray(value).astype(dtype).tobytes()


# ---- sources ---------------------------------------------------------------------------------


class ArrayData:
    """A captured array: read-only C-contiguous copy, equal by dtype, shape and bytes."""

    __slots__ = ("array", "digest")

    def __init__(self, array: np.ndarray) -> None:
        self.array = np.array(array, order="C", copy=True)
        self.array.flags.writeable = False
        # Fast and independent of the process; equality still compares the bytes themselves.
        self.digest = zlib.crc32(self.array.view(np.uint8).reshape(-1).data) if array.size else 0

    def __hash__(self) -> int:
        return self.digest

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ArrayData)
            and self.array.dtype == other.array.dtype
            and self.array.shape == other.array.shape
            and self.array.tobytes() == other.array.tobytes()
        )

    def __repr__(self) -> str:
        return f"data<{self.array.dtype}{list(self.array.shape)} {self.digest:08x}>"


def _infer_const(dtype: str, bits: bytes, shape: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
    return shape, dtype


CONST = Op(
    "const",
    Kind.SOURCE,
    _infer_const,
    lambda dtype, bits, shape: np.full(shape, np.frombuffer(bits, dtype)[0]),
    ("dtype", "bits", "shape"),
    support=lambda args, attrs, supports: (
        None if np.frombuffer(attrs[1], attrs[0])[0] else const(False, "bool", attrs[2])
    ),
    nonnegative=lambda args, attrs, which: bool(np.frombuffer(attrs[1], attrs[0])[0] >= 0),
)
ARRAY = Op(
    "array",
    Kind.SOURCE,
    lambda d: (d.array.shape, str(d.array.dtype)),
    lambda d: d.array,
    support=lambda args, attrs, supports: _nonzero(attrs[0]),
    nonnegative=lambda args, attrs, which: bool((attrs[0].array >= 0).all()),
)
ARG = Op(
    "arg",
    Kind.SOURCE,
    lambda number, position, shape, dtype, name: (shape, dtype),
    lambda *attrs: None,
    ("number", "position", "shape", "dtype", "name"),
)
PARAM = Op(
    "param",
    Kind.SOURCE,
    lambda position, shape, dtype: (shape, dtype),
    lambda *attrs: None,
    ("position", "shape", "dtype"),
)
EYE = Op(
    "eye",
    Kind.SOURCE,
    lambda n, dtype: ((n, n), dtype),
    lambda n, dtype: np.eye(n, dtype=dtype),
    ("n", "dtype"),
    support=lambda args, attrs, supports: bind(
        "not_equal", eye(*attrs), const(0, attrs[1], (attrs[0], attrs[0]))
    ),
    nonnegative=lambda args, attrs, which: True,
)
IOTA = Op(
    "iota", Kind.SOURCE, lambda n: ((n,), "int64"), lambda n: np.arange(n, dtype=np.int64), ("n",)
)
for _row in (CONST, ARRAY, ARG, PARAM, EYE, IOTA):
    OPS[_row.name] = _row


def const(value: Any, dtype: str = "float64", shape: tuple[int, ...] = ()) -> Expr:
    """An array of `shape` filled with one number; an infinity is an integer type's last value."""
    if dtype == "float64" and (type(value) is float or type(value) is int and abs(value) < 1 << 53):
        bits = _DOUBLE(value)  # the same, and the most frequent
    else:
        if type(value) is float and dtype in ("int32", "int64") and math.isinf(value):
            value = np.iinfo(dtype).max if value > 0 else np.iinfo(dtype).min
        bits = np.asarray(value).astype(dtype).tobytes()
    key = (CONST, (), (dtype, bits, shape))
    node = _known(key)
    if node is None:
        # Depth 0: constants sort before everything else; the value decides among them.
        node = _store(key, shape, dtype, zlib.crc32(bits) << 32 | len(shape) << 24 | _size(shape))
    return node


def _nonzero(data: ArrayData) -> Expr | None:
    """Zeros of captured arrays are structure: they are the same in every call."""
    if data.array.all():
        return None
    node = array(data.array)
    return bind("not_equal", node, const(0, node.dtype, node.shape))


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size & 0xFFFFFF


@functools.lru_cache(maxsize=4096)
def _number(dtype: str, bits: bytes) -> Any:
    return np.frombuffer(bits, dtype)[0]


def const_value(node: Expr) -> Any:
    """The number a constant node holds, as a NumPy scalar."""
    return _number(node.attrs[0], node.attrs[1])


def is_const(node: Expr, value: float | None = None) -> bool:
    """Whether `node` is a uniform constant (equal to `value`, if given; -0.0 equals 0.0)."""
    return node.op is CONST and (value is None or bool(const_value(node) == value))


def array(value: np.ndarray) -> Expr:
    """A captured array as a node; uniform small arrays become `const`."""
    if str(value.dtype) not in DTYPES:
        raise DtypeError(f"dtype {value.dtype} is not supported; use one of {', '.join(DTYPES)}")
    if value.ndim == 0:
        return const(value[()], str(value.dtype))
    data = ArrayData(value)
    key = (ARRAY, (), (data,))
    node = _known(key)
    if node is None:
        order = 1 << DEPTH_SHIFT | data.digest
        node = _store(key, data.array.shape, str(data.array.dtype), order)
    return node


def arg(position: int, shape: tuple[int, ...], dtype: str, name: str = "") -> Expr:
    """A fresh argument node, different from every other one that exists or will exist."""
    if dtype not in DTYPES:
        raise DtypeError(f"dtype {dtype} is not supported; use one of {', '.join(DTYPES)}")
    key = (ARG, (), (next(_ARG_NUMBERS), position, shape, dtype, name))
    return _store(key, shape, dtype, 1 << DEPTH_SHIFT | 1 << 40 | position)


def param(position: int, shape: tuple[int, ...], dtype: str) -> Expr:
    """A parameter of a body (`ops/control.py`): the same node in every body."""
    return _intern(PARAM, (), (position, shape, dtype))


def eye(n: int, dtype: str = "float64") -> Expr:
    """The identity matrix of size n: the delta tensor of two indices."""
    return _intern(EYE, (), (n, dtype))


def iota(n: int) -> Expr:
    """0, 1, …, n - 1 as int64."""
    return _intern(IOTA, (), (n,))


def lift(value: Any, like: Expr) -> Expr:
    """`value` itself if it is an Expr, else a constant of `like`'s dtype and shape."""
    if isinstance(value, Expr):
        return value
    return const(value, like.dtype, like.shape)


def same_shape(what: str, *args: Expr) -> tuple[int, ...]:
    """The common shape of `args`, or ShapeError."""
    shape = args[0].shape
    for a in args[1:]:
        if a.shape != shape:
            shapes = ", ".join(str(a.shape) for a in args)
            raise ShapeError(f"{what}: operands must have one shape, got {shapes}")
    return shape
