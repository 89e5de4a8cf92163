"""Python's operators of traced values: each is a ufunc of NumPy's, and has a row where one is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np


class Operators:
    """What ``x + y`` and ``x < y`` are.

    _binary : of the row's name ("" for none), the ufunc and both operands
    """

    __slots__ = ()
    if TYPE_CHECKING:

        @staticmethod
        def _binary(name: str, ufunc: np.ufunc, a: Any, b: Any) -> Any: ...

    def __add__(self, other: Any) -> Any:
        return self._binary("add", np.add, self, other)

    def __radd__(self, other: Any) -> Any:
        return self._binary("add", np.add, other, self)

    def __sub__(self, other: Any) -> Any:
        return self._binary("subtract", np.subtract, self, other)

    def __rsub__(self, other: Any) -> Any:
        return self._binary("subtract", np.subtract, other, self)

    def __mul__(self, other: Any) -> Any:
        return self._binary("multiply", np.multiply, self, other)

    def __rmul__(self, other: Any) -> Any:
        return self._binary("multiply", np.multiply, other, self)

    def __truediv__(self, other: Any) -> Any:
        return self._binary("divide", np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._binary("divide", np.divide, other, self)

    def __floordiv__(self, other: Any) -> Any:
        return self._binary("floor_divide", np.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._binary("floor_divide", np.floor_divide, other, self)

    def __mod__(self, other: Any) -> Any:
        return self._binary("mod", np.remainder, self, other)

    def __rmod__(self, other: Any) -> Any:
        return self._binary("mod", np.remainder, other, self)

    def __divmod__(self, other: Any) -> Any:
        return self._binary("", np.divmod, self, other)

    def __rdivmod__(self, other: Any) -> Any:
        return self._binary("", np.divmod, other, self)

    def __rpow__(self, other: Any) -> Any:
        return self._binary("", np.power, other, self)

    def __eq__(self, other: Any) -> Any:
        return False if other is None else self._binary("equal", np.equal, self, other)

    def __ne__(self, other: Any) -> Any:
        return True if other is None else self._binary("not_equal", np.not_equal, self, other)

    def __lt__(self, other: Any) -> Any:
        return self._binary("less", np.less, self, other)

    def __le__(self, other: Any) -> Any:
        return self._binary("less_equal", np.less_equal, self, other)

    def __gt__(self, other: Any) -> Any:
        return self._binary("greater", np.greater, self, other)

    def __ge__(self, other: Any) -> Any:
        return self._binary("greater_equal", np.greater_equal, self, other)

    def __and__(self, other: Any) -> Any:
        return self._binary("", np.bitwise_and, self, other)

    def __rand__(self, other: Any) -> Any:
        return self._binary("", np.bitwise_and, other, self)

    def __or__(self, other: Any) -> Any:
        return self._binary("", np.bitwise_or, self, other)

    def __ror__(self, other: Any) -> Any:
        return self._binary("", np.bitwise_or, other, self)

    def __xor__(self, other: Any) -> Any:
        return self._binary("", np.bitwise_xor, self, other)

    def __rxor__(self, other: Any) -> Any:
        return self._binary("", np.bitwise_xor, other, self)

    def __lshift__(self, other: Any) -> Any:
        return self._binary("", np.left_shift, self, other)

    def __rlshift__(self, other: Any) -> Any:
        return self._binary("", np.left_shift, other, self)

    def __rshift__(self, other: Any) -> Any:
        return self._binary("", np.right_shift, self, other)

    def __rrshift__(self, other: Any) -> Any:
        return self._binary("", np.right_shift, other, self)
