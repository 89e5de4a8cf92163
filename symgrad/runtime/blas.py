"""The BLAS that SciPy brings, for libraries that leave large products of matrices to one.

Such a library has a pointer for each routine it calls (templates/c99/call/gemm.c.jinja), which are
Fortran's: SciPy offers these to other modules in the form that Cython uses, a capsule whose name is
the C type.
"""

from __future__ import annotations

import ctypes
import functools

from symgrad.errors import BuildError, MissingPackageError
from symgrad.runtime.build import Library, ffi

_ROUTINES = ("dgemm", "sgemm")
_POINTER = "sg_blas_"


def connect(library: Library) -> None:
    """Let a library that calls a BLAS call SciPy's.

    Raises MissingPackageError without a SciPy that offers its routines.
    """
    if not library.blas:
        return
    names = [name for name in _ROUTINES if library.offers((_POINTER + name,))]
    if not names:  # a call through no address would end the process
        raise BuildError(f"{library.path} offers no pointer to a BLAS.")
    for name in names:
        pointer = ffi.cast("void **", library.address(_POINTER + name))
        pointer[0] = ffi.cast("void *", _address(name))


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
    address: int = get_pointer(capsule, get_name(capsule))
    return address
