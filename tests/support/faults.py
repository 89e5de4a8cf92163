"""Errors that say that symgrad is at fault; other errors of its own are refusals."""

from symgrad.errors import CompileError, InternalError, OutOfRangeError, RewriteError

FAULTS = (CompileError, InternalError, OutOfRangeError, RewriteError)
