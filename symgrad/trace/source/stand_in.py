"""What stands where there is no value: whatever is done with it says why there is none."""

from __future__ import annotations

from typing import Any


class StandIn:
    """Raises what `_fail` raises in whatever operation, but for those that ask what it is."""

    __slots__ = ()

    def _fail(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._fail()


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow",
              "matmul", "rmatmul", "floordiv", "rfloordiv", "mod", "rmod", "neg", "pos", "abs",
              "invert", "lt", "le", "gt", "ge", "eq", "ne", "bool", "float", "int", "index", "len",
              "iter", "getitem", "setitem", "call", "contains", "array", "enter", "exit", "hash",
              "array_ufunc", "array_function"):  # fmt: skip
    setattr(StandIn, f"__{_name}__", lambda self, *args, **kwargs: self._fail(*args, **kwargs))
