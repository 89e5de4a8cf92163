"""The functions that a file of C has beside its own: helpers of operations and kernels of calls."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from symgrad.emit.literals import C_TYPES, literal
from symgrad.emit.printer import function_name
from symgrad.emit.templates import TEMPLATES

_WORD = re.compile(r"[A-Za-z_]\w*")
LIBMVEC = """acos acosh asin asinh atan atan2 atanh cbrt cos cosh erf erfc exp expm1 hypot log
    log10 log1p log2 pow sin sinh tan tanh""".split()  # those of glibc 2.35
# Helpers that others call stand before them.
_NEEDS = {
    name: ("sg_tile",) for name in ("sg_panels", "sg_take_rows", "sg_turn_rows", "sg_put_rows")
}


def functions_of(
    calls: Iterable[tuple[str, str, str]], carrying: Collection[tuple[str, str]]
) -> list[str]:
    """Texts of the static functions that C calls: small ones for operations, kernels for calls.

    calls : function, dtype and origin of each, as in `tree.Call`
    carrying : functions, with a dtype, that have to note what additions round away
    """
    helpers: dict[tuple[str, str], None] = {}
    kernels: dict[tuple[str, str], None] = {}
    for function, dtype, origin in calls:
        if origin == "call":
            kernels[(function.removeprefix("sg_"), dtype)] = None
        elif origin:
            for name in (*_NEEDS.get(function, ()), function):
                helpers[(name, dtype)] = None
    out = [
        _render(f"helpers/{name}.c.jinja", name, dtype, (name, dtype) in carrying)
        for name, dtype in helpers
        if name != "sg_select"
    ]
    words = words_of(out) | {function_name(name, dtype) for name, dtype in helpers}
    for name, dtype in (("sg_selectf", "float32"), ("sg_select", "float64")):
        if name in words:  # other helpers use it
            out.insert(0, _render("helpers/sg_select.c.jinja", "sg_select", dtype))
    if "sg_bits_of" in words:
        out.insert(0, _render("helpers/sg_bits_of.c.jinja", "sg_bits_of", "float64"))
    for name, dtype in kernels:
        out.append(_render(f"call/{name}.c.jinja", f"sg_{name}", dtype, (name, dtype) in carrying))
    return out


def vector_math(used: set[str]) -> list[dict[str, Any]]:
    """Declarations of the functions in use that glibc has for vectors."""
    return [
        dict(name=name + suffix, type=ctype, two=name in ("atan2", "hypot", "pow"),
             alias=name in ("sin", "cos"))
        for name in LIBMVEC
        for suffix, ctype in (("", "double"), ("f", "float"))
        if name + suffix in used
    ]  # fmt: skip


def words_of(texts: Iterable[str]) -> set[str]:
    """Every identifier in the texts of helpers."""
    return {word for text in texts for word in _WORD.findall(text)}


def _render(template: str, name: str, dtype: str, carries: bool = False) -> str:
    return TEMPLATES.get_template(template).render(
        name=function_name(name, dtype),
        real=C_TYPES[dtype],
        integer=C_TYPES[dtype],
        f="f" if dtype == "float32" else "",
        carries=carries,
        lit=lambda value: literal(value, dtype),
    )
