"""Graphs for readers: listing, matrix notation, LaTeX, SymPy, Graphviz, cost.

In: argument nodes and output nodes. Out: text, SymPy expressions, counts. No other stage reads
what is made here.
"""

from __future__ import annotations

from collections.abc import Mapping

from symgrad.inspect.ascii import ascii_text
from symgrad.inspect.cost import Cost, cost
from symgrad.inspect.dot import to_dot
from symgrad.inspect.listing import listing
from symgrad.inspect.matrix import LINES, matrix_latex, matrix_text
from symgrad.inspect.sympy_form import to_sympy

__all__ = [
    "LINES", "Cost", "ascii_text", "cost", "explain", "listing", "matrix_latex", "matrix_text",
    "to_dot", "to_sympy",
]  # fmt: skip


def explain(fired: Mapping[str, int], documentation: Mapping[str, str] | None = None) -> str:
    """Which rewrite rules fired, how often, and what each one says.

    >>> print(explain({"log1p": 2}, {"log1p": "log(1 + x) = log1p(x)"}))
    log1p  ×2  log(1 + x) = log1p(x)
    """
    used = sorted(((n, name) for name, n in fired.items() if n), key=lambda t: (-t[0], t[1]))
    if not used:
        return "no rule fired"
    width = max(len(name) for _, name in used)
    digits = max(len(str(n)) for n, _ in used)
    lines = []
    for n, name in used:
        text = ((documentation or {}).get(name) or "").strip()
        line = f"{name:<{width}}  ×{n:<{digits}}  {text.splitlines()[0] if text else ''}"
        lines.append(line.rstrip())
    return "\n".join(lines)
