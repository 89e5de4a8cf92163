"""Exceptions of symgrad, and where in the user's own file they arose.

Every class is also a standard type, so that ``except ValueError`` keeps working::

    SymgradError
    ├── TraceError
    │   ├── ConcretizationError(TypeError)   a traced value was asked for a number
    │   ├── UnsupportedError(TypeError)      NumPy function or Python construct that is not traced
    │   ├── BranchError(TypeError)           sides of a branch that differ in structure
    │   └── MutationError(ValueError)        in-place change whose effect cannot be followed
    ├── ShapeError(ValueError)
    ├── DtypeError(TypeError)
    ├── StructureError(TypeError)            number, names or nesting of arguments
    ├── DifferentiationError(TypeError)      gradient of a non-scalar, of an integer, …
    ├── UnsafeNameError(ValueError)               a name that must not reach C text
    ├── OutOfRangeError(IndexError)          an index outside its axis, found while the C ran
    ├── LoopLimitError(RuntimeError)         a loop took more rounds than it was given
    │   └── RecursionLimitError(RecursionError)
    ├── GraphTooLargeError(ValueError)
    ├── RewriteError(AssertionError)         a rewrite changed a value (SYMGRAD_CHECK_REWRITES=1)
    ├── MissingPackageError(ImportError)     an optional package is not installed
    ├── ExportError(OSError)
    ├── InternalError                        a mistake of symgrad's own, found by SYMGRAD_VERIFY=1
    └── BuildError(RuntimeError)
        ├── CompilerNotFoundError
        │   └── UnusableCompilerError        the one that CC names does not work
        ├── CompileError                     the compiler failed; its last lines are kept
        ├── CompileTimeoutError(TimeoutError)
        └── CacheError(OSError)              the cache directory cannot be trusted or written

Warnings: ``SymgradWarning`` and its subclasses ``NoCompilerWarning``, ``MutationWarning`` and
``LimitWarning``.
"""

from __future__ import annotations

import os
import sys
import warnings
from types import FrameType
from typing import Any

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
# Folders of installed packages; Debian has one of its own.
INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_CALLERS = tuple(f"{mark}{name}{os.sep}" for mark in INSTALLED for name in ("numpy", "scipy"))


class SymgradError(Exception):
    """Root of all errors that symgrad raises on purpose.

    predicates : of the traced decisions in whose sides it happened
    """

    predicates: tuple[Any, ...] = ()


class TraceError(SymgradError):
    """Something in the user's function could not be recorded.

    operands : expressions of the traced values at which it failed, as far as known
    in_derivative : whether that was below a derivative, in terms of what it is taken by
    taken_by : argument nodes of the whole trace that derivatives above are taken by
    decisions : lines of the decisions on traced values that caused it, if it may be that the
        function can be followed one path after the other (see `trace.paths`)
    """

    operands: tuple[Any, ...] = ()
    in_derivative: bool = False
    taken_by: tuple[Any, ...] = ()
    decisions: frozenset[tuple[str, int]] | None = None


class ConcretizationError(TraceError, TypeError):
    """A traced value was used where Python or NumPy needs an actual number."""


class UnsupportedError(TraceError, TypeError):
    """A NumPy function or an option of one that symgrad does not trace."""


class BranchError(TraceError, TypeError):
    """The sides of a branch on a traced value leave what cannot be one value."""


class MutationError(TraceError, ValueError):
    """An in-place change whose effect on other names cannot be followed."""


class ShapeError(SymgradError, ValueError):
    """Shapes that do not fit together."""


class DtypeError(SymgradError, TypeError):
    """A dtype that is not accepted here."""


class StructureError(SymgradError, TypeError):
    """Wrong number, names or nesting of arguments."""


class DifferentiationError(SymgradError, TypeError):
    """A derivative that does not exist or has no rule."""


class UnsafeNameError(SymgradError, ValueError):
    """A name that is not allowed to reach generated C."""


class OutOfRangeError(SymgradError, IndexError):
    """An index outside its axis, found while compiled code ran."""


class CheckFailedError(SymgradError):
    """A check of a traced function fails; where a call ends it becomes the user's own exception."""


class LoopLimitError(SymgradError, RuntimeError):
    """A loop whose number of rounds the data decide took more of them than it was given."""


class RecursionLimitError(LoopLimitError, RecursionError):
    """A function whose end the data decide calls itself more often than it was compiled for."""


class TapeFullError(LoopLimitError):
    """Reverse mode has no room for more rounds of a loop: it makes some where it can."""


class GraphTooLargeError(SymgradError, ValueError):
    """More nodes than the documented limit; the message says what to write instead."""


class RewriteError(SymgradError, AssertionError):
    """A rewrite changed a value; raised only where SYMGRAD_CHECK_REWRITES asks for the check."""


class MissingPackageError(SymgradError, ImportError):
    """A package that only this function needs is not installed."""


class ExportError(SymgradError, OSError):
    """Files could not be exported where they were asked for."""


class InternalError(SymgradError):
    """A mistake of symgrad's own, found before it could do harm."""


class BuildError(SymgradError, RuntimeError):
    """Generated C could not be turned into a loaded library."""


class CompilerNotFoundError(BuildError):
    """No C compiler was found; the message lists what was tried."""


class UnusableCompilerError(CompilerNotFoundError):
    """The compiler that CC names does not work; no other is taken in its place."""


class CompileError(BuildError):
    """The C compiler failed; the message ends with its last lines."""


class CompileTimeoutError(BuildError, TimeoutError):
    """The C compiler did not finish in time and was stopped."""


class CacheError(BuildError, OSError):
    """The cache directory cannot be trusted or written."""


class SymgradWarning(UserWarning):
    """Root of the warnings that symgrad gives."""


class NoCompilerWarning(SymgradWarning):
    """No C compiler: functions run on the NumPy evaluator, correct but slower."""


class MutationWarning(SymgradWarning):
    """A function changes an array that was passed to it: for itself, not for its caller."""


class LimitWarning(SymgradWarning):
    """A higher derivative is not the right one where a root is exactly 0; elsewhere it is."""


_internal: dict[str, bool] = {}  # by file name


def is_internal(filename: str) -> bool:
    """Whether a frame of that file belongs to symgrad, or to what calls back into it."""
    internal = _internal.get(filename)
    if internal is None:
        internal = _internal[filename] = (
            filename.startswith((_PACKAGE, "<__array_function__"))
            or filename.endswith((f"{os.sep}functools.py", ".pyx"))
            or any(part in filename for part in _CALLERS)
        )
    return internal


def user_site() -> tuple[str, int] | None:
    """File and line of the innermost frame outside symgrad and what calls back into it, or None."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        if not is_internal(filename):
            return filename, frame.f_lineno
        frame = frame.f_back
    return None


def at_user_line(message: str, site: tuple[str, int] | None = None) -> str:
    """`message`, preceded by the user's file and line where that is known."""
    site = site or user_site()
    return f"{site[0]}:{site[1]}: {message}" if site else message


def warn(message: str, category: type[SymgradWarning]) -> None:
    """Give a warning that blames the user's line, however deep in symgrad it arose."""
    level = 1  # warnings.warn counts from its caller, this frame, outwards
    frame: FrameType | None = sys._getframe()
    while frame is not None and is_internal(frame.f_code.co_filename):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
