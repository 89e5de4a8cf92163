"""Functions whose source cannot be had."""

from __future__ import annotations

import types
from typing import Any


def stripped(f: Any) -> Any:
    """`f` as if its file could not be had."""

    def code(c: types.CodeType) -> types.CodeType:
        inner = [code(k) if isinstance(k, types.CodeType) else k for k in c.co_consts]
        return c.replace(co_filename="<no source>", co_consts=tuple(inner))

    return types.FunctionType(
        code(f.__code__), f.__globals__, f.__name__, f.__defaults__, f.__closure__
    )
