"""What code can read by name: globals, attributes, imports.

In: code objects. Out: names. Nothing is run. A name is an attribute wherever it may be one, so what
is found is more than what a call reads, never less: ``eval``, ``globals`` and the like make every
word of the code's text a name, and ``vars`` and the like make all attributes read.
"""

from __future__ import annotations

import dis
import re
import types
from collections.abc import Iterable
from dataclasses import dataclass, field

from symgrad.origin import is_library

_BY_TEXT = frozenset({"eval", "exec", "globals", "locals", "compile", "import_module"})
_BY_STRING = frozenset({"getattr", "hasattr", "setattr", "attrgetter", "methodcaller"})
_WHOLE = frozenset({"vars", "__dict__", "dir", "asdict", "astuple", "fields", "deepcopy",
                    "__getattribute__", "__getstate__", "__reduce__"})  # fmt: skip
_WHOLE_AS_GLOBAL = frozenset({"copy", "replace", "dataclasses"})  # arrays have a copy as well
_WORD = re.compile(r"[^\W\d]\w*")
_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_ASSIGN = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF"})
_LOOK = frozenset({"FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC", "CONTAINS_OP"})
_BY_LOOK = frozenset({"str", "repr", "format", "print", "hash", "type", "id", "get", "setdefault",
                      "pop", "set", "frozenset", "__class__", "isinstance", "warn", "debug",
                      "info"})  # fmt: skip
_SET = frozenset({"STORE_ATTR", "STORE_GLOBAL", "STORE_NAME", "LOAD_CONST"})  # not read


@dataclass(frozen=True)
class Names:
    """What some code reads by name.

    read : globals; `attributes` of anything; `modules` that it imports itself
    whole : it can read all attributes of an object, whatever they are called
    assigns : it assigns to globals or to variables of the functions around it, or may do so by text
    looks : it may learn of a value otherwise than by computing with it: its text, class or hash
    """

    read: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    whole: bool = False
    assigns: bool = False
    looks: bool = False


@dataclass
class Seen:
    """The attributes that all code found so far may read; it only grows.

    own : the folders of installed packages to which the functions belong that are asked about; what
        is in them is not a library
    """

    attributes: set[str] = field(default_factory=set)
    whole: bool = False
    own: set[str] = field(default_factory=set)

    def is_library(self, filename: str) -> bool:
        """Whether a file counts as constant."""
        return is_library(filename) and not filename.startswith(tuple(self.own))

    def add(self, names: Names) -> None:
        """Those of further code."""
        self.attributes |= names.attributes
        self.whole |= names.whole

    def size(self) -> tuple[int, bool]:
        """Grows exactly when something was added."""
        return len(self.attributes), self.whole


_known: dict[types.CodeType, Names] = {}


def names_of(code: types.CodeType) -> Names:
    """The names of a function's code, functions and classes inside it included."""
    found = _known.get(code)
    if found is None:
        if len(_known) > 4096:  # code of a REPL that nobody needs any longer
            _known.clear()
        found = _known[code] = _read(code)
    return found


def _read(code: types.CodeType) -> Names:
    read: set[str] = set()
    other: set[str] = set()
    modules: set[str] = set()
    texts: list[str] = []
    assigns = looks = False
    stack = [code]
    while stack:
        inner = stack.pop()
        for step in dis.get_instructions(inner):
            if step.opname in _ASSIGN:
                assigns |= step.opname[-5:] != "DEREF" or step.argval in inner.co_freevars
            looks |= step.opname in _LOOK
            if step.opname in _GLOBAL:
                read.add(step.argval)
            elif step.opname == "IMPORT_NAME":
                modules.add(step.argval)
            elif step.opname not in _SET and step.argval in inner.co_names:
                other.add(step.argval)
        for constant in inner.co_consts:
            if isinstance(constant, types.CodeType):
                stack.append(constant)
            else:
                texts.extend(_texts(constant))
    used = read | other
    assigns |= bool(used & _BY_TEXT)
    if used & _BY_TEXT:
        words = {word for text in texts for word in _WORD.findall(text)}
        read |= words
        other |= words
    if used & _BY_STRING:
        other |= {word for text in texts for word in text.split(".") if word.isidentifier()}
    looks |= bool(used & _BY_LOOK) or any("%s" in text or "%r" in text for text in texts)
    whole = bool(used & _WHOLE or (read | modules) & _WHOLE_AS_GLOBAL)
    return Names(frozenset(read), frozenset(other), frozenset(modules), whole, assigns, looks)


def _texts(constant: object) -> Iterable[str]:
    if isinstance(constant, str):
        return (constant,)
    if isinstance(constant, (tuple, frozenset)):
        return [c for c in constant if isinstance(c, str)]
    return ()
