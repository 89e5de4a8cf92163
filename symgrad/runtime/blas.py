"""The BLAS that SciPy brings, for libraries that leave large products of matrices to one.

Such a library has a pointer for each routine it calls (templates/call/gemm.c.jinja), which are
Fortran's: SciPy offers these to other modules in the form that Cython uses, a capsule whose name is
the C type.
"""

from __future__ import annotations

import ctypes
import functools

from symgrad.errors import BuildError, MissingPackageError
from symgrad.runtime.build import Library, ffi

_ROUTINES = ("dgemm", "sgemm")


def connect(library: Library) -> None:
    """Let the library call the routines it has pointers for.

    Raises MissingPackageError without a SciPy that offers them.
    """
    for name in _ROUTINES:
        try:
            pointer = library.address(f"sg_blas_{name}")
        except BuildError:  # another type
            continue
        ffi.cast("void **", pointer)[0] = ffi.cast("void *", _address(name))


@functools.cache
def _address(name: str) -> int:
    try:
        from scipy.linalg import cython_blas

        capsule = cython_blas.__pyx_capi__[name]
    except (ImportError, KeyError) as error:
        raise MissingPackageError(
            "blas=True needs SciPy's BLAS: pip install symgrad[sparse], or compile without blas"
        ) from error
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype = ctypes.c_void_p
    get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return get_pointer(capsule, get_name(capsule))
