"""Where classes and objects keep what they have: files, slots, dicts."""

from __future__ import annotations

import ctypes
import sys
import types
from typing import Any

from symgrad.captures.code import Seen
from symgrad.captures.rows import ABSENT

_MANAGED = 1 << 4  # the flag of types whose objects have their dict before them, and where
_BEFORE = -24


def is_constant(module: types.ModuleType, seen: Seen) -> bool:
    """Whether what a module holds counts as constant."""
    file = getattr(module, "__file__", None)
    if file is None:  # made by the program, or a folder of modules, or a part of Python
        spec = getattr(module, "__spec__", None)
        return spec is not None and spec.origin in ("built-in", "frozen")
    return seen.is_library(file)


def module_of(cls: type) -> str:
    """The name of the module of a class, "" where it is no text."""
    name = cls.__module__
    return name if isinstance(name, str) else ""


def file_of(cls: type) -> str:
    name = module_of(cls)
    module = sys.modules.get(name)
    if module is None or name in ("builtins", "__main__"):
        return "<frozen>" if name == "builtins" else ""
    return getattr(module, "__file__", None) or "<frozen>"


def members(cls: type) -> dict[str, Any]:
    """The members that ``__slots__`` made."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if "__slots__" in vars(base):
            found.update((n, m) for n, m in vars(base).items()
                         if isinstance(m, types.MemberDescriptorType))  # fmt: skip
    return found


def slot(value: Any, member: Any) -> Any:
    try:
        return member.__get__(value, type(value))
    except AttributeError:
        return ABSENT


def slot_offset(member: Any) -> int | None:
    """Where a member descriptor reads; see PyMemberDescrObject and PyMemberDef."""
    described = ctypes.c_void_p.from_address(id(member) + 40).value
    return None if described is None else ctypes.c_ssize_t.from_address(described + 16).value


def dict_offset(value: Any, names: dict[str, Any]) -> int | None:
    """Where an object has the pointer to its ``__dict__``, None if it is not found."""
    offset = _BEFORE if type(value).__flags__ & _MANAGED else type(value).__dictoffset__
    if offset > 0 or offset == _BEFORE:
        if ctypes.c_void_p.from_address(id(value) + offset).value == id(names):
            return offset
    return None
