"""Compiled functions for other tools: cffi pointers and SciPy's low-level callables.

In: the C of a compiled function and its loaded library. Out: handles that call it without Python
in between. This module must not know graphs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import cffi

from symgrad.boundary import ArrayType
from symgrad.emit.c import Source
from symgrad.errors import MissingPackageError, UnsupportedError
from symgrad.runtime.blas import connect
from symgrad.runtime.build import Library, build

_STACK_BYTES = 65536  # scratch memory that a wrapper may keep on the stack


def prototype(source: Source) -> str:
    """The C type of the function, such as ``int (*)(const double *, double *)``."""
    declared = re.search(rf"^int {source.name}\((.*)\);$", source.header, re.MULTILINE)
    assert declared is not None
    types = [re.sub(r"\w+$", "", p).strip() for p in declared.group(1).split(", ")]
    return f"int (*)({', '.join(types) if declared.group(1) != 'void' else 'void'})"


def cffi_pointer(source: Source, library: Library) -> Any:
    """The function with its own signature, as a cffi function pointer."""
    return cffi.FFI().cast(prototype(source), library.address(source.name))


def low_level_callable(
    source: Source, inputs: Sequence[ArrayType], outputs: Sequence[ArrayType]
) -> Any:
    """scipy.LowLevelCallable of signature ``double (int, double *)``, or ``double (double)``.

    For functions of float64 numbers, or of one float64 array, with one float64 number as result.
    A status other than 0 (see the header) gives NaN.

    Raises
    ------
    UnsupportedError for other arguments or results, MissingPackageError without SciPy.
    """
    numbers = all(t.dtype == "float64" and t.shape == () for t in inputs)
    array = len(inputs) == 1 and inputs[0].dtype == "float64" and len(inputs[0].shape) == 1
    result = len(outputs) == 1 and outputs[0].dtype == "float64" and outputs[0].shape == ()
    if not (numbers or array) or not result or not inputs:
        raise UnsupportedError(
            f"{source.name}: SciPy calls functions of float64 numbers, or of one float64 array, "
            "with one float64 number as the result"
        )
    if source.data or source.workspace_bytes > _STACK_BYTES:
        raise UnsupportedError(
            f"{source.name}: captured arrays, or scratch memory of {source.workspace_bytes} bytes, "
            "have no place in a call by SciPy"
        )
    try:
        import scipy
    except ImportError as error:
        raise MissingPackageError(
            "low-level callables need SciPy: pip install symgrad[sparse]"
        ) from error
    single = numbers and len(inputs) == 1
    given = "double x" if single else "int n, double *x"
    values = ["x"] if single or array else [f"x[{k}]" for k in range(len(inputs))]
    work = source.workspace_bytes // 8
    scratch = f"    double work[{work}];\n" if work else ""
    unused = "" if single else "    (void)n;\n"
    call = f"{source.name}({', '.join([*values, '&result', *(['work'] if work else [])])})"
    text = (
        f"#include <math.h>\n{source.c}\nSG_API double {source.name}_scipy({given});\n"
        f"double {source.name}_scipy({given})\n{{\n    double result = 0;\n{scratch}{unused}"
        f"    return ({call} == 0) ? result : (double)NAN;\n}}\n"
    )
    library = build(text, (f"{source.name}_scipy",), optimize=3, blas=source.blas)
    connect(library)
    kind = "double (*)(double)" if single else "double (*)(int, double *)"
    pointer = cffi.FFI().cast(kind, library.address(f"{source.name}_scipy"))
    return scipy.LowLevelCallable(pointer)
