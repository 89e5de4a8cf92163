"""From the user's NumPy function to Exprs. Knows `expr` and `ops`; nothing of calculus or C."""

from symgrad.trace import (  # noqa: F401  (fill SUPPORTED)
    applying_api,
    index_api,
    joining_api,
    linalg_api,
    numpy_api,
    products_api,
    search_api,
    shapes_api,
    sorting_api,
)
from symgrad.trace.handle import as_expr
from symgrad.trace.named import note
from symgrad.trace.numpy_api import supported_names
from symgrad.trace.paths import MOST as MOST_PATHS
from symgrad.trace.paths import Exploring, exploring
from symgrad.trace.record import function_name, record
from symgrad.trace.scipy_api import (
    give,
    log_softmax,
    logsumexp,
    polygamma,
    softmax,
    solve_triangular,
    take,
)
from symgrad.trace.source.raising import checked, set_checks
from symgrad.trace.state import CURRENT, NO_TRACE, is_nested, is_tracing
from symgrad.trace.tables import SUPPORTED
from symgrad.trace.tracer import (
    ArrayTracer,
    ScalarTracer,
    Tracer,
    argument,
    is_python,
    wrap,
)

__all__ = [
    "CURRENT", "MOST_PATHS", "NO_TRACE", "SUPPORTED", "ArrayTracer", "Exploring", "ScalarTracer",
    "Tracer", "argument", "as_expr", "checked", "exploring", "function_name", "give", "is_nested",
    "is_python", "is_tracing", "log_softmax", "logsumexp", "note", "polygamma", "record",
    "set_checks", "softmax",
    "solve_triangular", "supported_names", "take", "wrap",
]  # fmt: skip
