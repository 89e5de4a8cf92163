"""The functions that a file of C has beside its own: helpers of operations and kernels of calls.

Each is a template, which sets `uses`: the functions that it calls (those of several types without
their suffix) and the macros and types that stand in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from symgrad.emit.printer import function_name
from symgrad.emit.target import Target
from symgrad.emit.templates import environment
from symgrad.ops.elementwise import vector_functions

_SIN_AND_COS = ("sin", "cos")  # C functions: gcc makes one call of both, which is no vector
# What other functions call stands before all of them.
_FIRST = [("sg_bits_of", "float64"), ("sg_select", "float64"), ("sg_select", "float32")]
_HEADERS = {
    "stdbool": {"bool"},
    "stddef": {"ptrdiff_t", "NULL"},
    "stdint": {"int32_t", "int64_t", "uint32_t", "uint64_t"},
}
_BUILT_IN = {"double", "float", "int", "void", ""}


def functions_of(
    calls: Iterable[tuple[str, str, str]], carrying: Collection[tuple[str, str]], target: Target
) -> tuple[list[str], set[str]]:
    """Texts of the static functions that C calls, and the names of others that stand in them.

    calls : function, dtype and origin of each, as in `tree.Call`
    carrying : functions, with a dtype, that have to note what additions round away
    target : the language, whose templates they are
    """
    texts: dict[str, dict[tuple[str, str], str]] = {"helpers": {}, "call": {}}
    names: set[str] = set()
    vectors = vector_functions()

    def add(function: str, dtype: str, origin: str) -> None:
        key = function, dtype
        if key in texts[origin]:
            return
        text, needed = _rendered(function, dtype, origin, key in carrying, target)
        for name in needed:
            if name.startswith("sg_"):
                add(name, dtype, "helpers")
            else:
                names.add(function_name(name, dtype) if name in vectors else name)
        texts[origin][key] = text

    for function, dtype, origin in calls:
        if origin in texts:
            add(function, dtype, origin)
    helpers = texts["helpers"]
    first = [helpers.pop(key) for key in _FIRST if key in helpers]
    return [*first, *helpers.values(), *texts["call"].values()], names


def _rendered(
    function: str, dtype: str, origin: str, carries: bool, target: Target
) -> tuple[str, list[str]]:
    """The text of a function, and what its template says that it uses."""
    name = function.removeprefix("sg_") if origin == "call" else function
    module = (
        environment(target.name)
        .get_template(f"{origin}/{name}.c.jinja")
        .make_module(
            dict(
                name=function_name(function, dtype),
                real=target.types[dtype],
                integer=target.types[dtype],
                f="f" if dtype == "float32" else "",
                carries=carries,
                lit=lambda value: target.literal(value, dtype),
            )
        )
    )
    return str(module), module.uses.split()  # type: ignore[attr-defined]


def headers(names: set[str]) -> list[str]:
    """The headers of C that have these functions, types and constants: math.h takes gcc 10 ms."""
    others = names.difference(_BUILT_IN, *_HEADERS.values())
    math = any(not name.startswith(("SG_", "sg_")) for name in others)
    found = [header for header, known in _HEADERS.items() if names & known]
    return ["math", *found] if math else found


def vector_math(names: set[str]) -> list[dict[str, Any]]:
    """Declarations of the functions among these that glibc has for vectors."""
    return [
        dict(name=name + suffix, type=ctype, two=arguments == 2, alias=name in _SIN_AND_COS)
        for name, arguments in sorted(vector_functions().items())
        for suffix, ctype in (("", "double"), ("f", "float"))
        if name + suffix in names
    ]  # fmt: skip
