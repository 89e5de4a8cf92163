"""What prompts and notebooks show of graphs and compiled functions: formula, cost, zeros, code.

In: a Graph. Out: text, LaTeX and HTML. All that comes from a user (names of functions, arguments
and variables) is escaped for where it stands, and what is no formula stands in elements whose
dollar signs a browser leaves alone. Nothing here is imported before it is asked for.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from symgrad.diff.support import Supports
from symgrad.expr.evaluate import evaluate
from symgrad.expr.node import ARG, Expr
from symgrad.expr.walk import toposort
from symgrad.inspect.naming import plain_name

LONGEST_LATEX = 6000  # characters that a browser is asked to set
MOST_LINES = 400  # of code or listing
MOST_ELEMENTS = 1 << 22  # of a result whose zeros are looked for
CELLS = 64  # along a side of a picture of zeros


def heading(graph: Any) -> str:
    """name(argument: type, …) → types of the results, on one line."""
    given = ", ".join(f"{plain_name(t.name)}: {_short(t)}" for t in graph.input_types)
    results = ", ".join(_short(t) for t in graph.output_types)
    return f"{plain_name(graph.name)}({given}) → {results}"


def _short(t: Any) -> str:
    """float64[7, 3]; a scalar has no brackets."""
    return f"{t.dtype}{list(t.shape)}" if t.shape else str(t.dtype)


def text(graph: Any, what: str = "Graph") -> str:
    """The heading and the formula."""
    lines = "\n".join("  " + line for line in graph.formula().splitlines())
    return f"{what} {heading(graph)}\n{lines}"


def latex(graph: Any) -> str:
    """The formula between dollar signs; text where it would be too long to set."""
    found: str = graph.latex()
    if len(found) > LONGEST_LATEX:
        return ""
    return "$$" + found + "$$"


def page(graph: Any, what: str = "Graph", c: str | None = None, cost: Any = None) -> str:
    """HTML: heading, formula, picture of zeros, cost, and code to fold out."""
    formula = latex(graph)
    shown = f"<div>{html.escape(formula)}</div>" if formula else _block(graph.formula(), "formula")
    parts = [f"<div><b>{what}</b> <code>{html.escape(heading(graph))}</code></div>", shown]
    if formula and (why := graph.why_code()):
        parts.append(f"<div><small>{html.escape(why)}</small></div>")
    for name, out in zip(graph.out_names, graph.outs, strict=True):
        found = zeros(out)
        if found is not None:
            parts.append(_picture(plain_name(name), found))
    parts.append(_folded("cost", str(graph.cost() if cost is None else cost)))
    parts.append(_folded("operations", str(graph)))
    if c is not None:
        parts.append(_folded("C", c))
    return '<div class="symgrad">' + "".join(parts) + "</div>"


def sparse_page(plain: str, pattern: Any, graph: Any, c: str, cost: Any) -> str:
    """HTML of a sparse derivative: which entries it has, and the operations and C for these."""
    found = np.zeros(pattern.shape, bool) if np.prod(pattern.shape) <= MOST_ELEMENTS else None
    parts = [f"<div><code>{html.escape(plain)}</code></div>"]
    if found is not None:
        found[np.repeat(np.arange(len(found)), np.diff(pattern.indptr)), pattern.indices] = True
        parts.append(_picture(graph.name, found))
    parts += [_folded("cost", str(cost)), _folded("operations", str(graph)), _folded("C", c)]
    return '<div class="symgrad">' + "".join(parts) + "</div>"


def bundle(
    plain: str,
    makers: dict[str, Callable[[], str]],
    include: Collection[str] | None,
    exclude: Collection[str] | None,
) -> dict[str, str]:
    """What a notebook may choose from, by MIME type; only what it asks for is made."""
    made = {"text/plain": lambda: plain, **makers}
    wanted = [k for k in made if (not include or k in include) and k not in (exclude or ())]
    return {k: v for k in wanted if (v := made[k]())}


def pretty(printer: Any, plain: str) -> None:
    """Lines for IPython's printer."""
    for k, line in enumerate(plain.splitlines()):
        if k:
            printer.break_()
        printer.text(line)


def zeros(out: Expr) -> np.ndarray | None:
    """Where a matrix may be other than 0, if its zeros are known without its arguments."""
    if out.ndim != 2 or not 1 < out.size <= MOST_ELEMENTS:
        return None
    support = Supports().of(out)
    if support is None or any(n.op is ARG for n in toposort([support])):
        return None
    found: np.ndarray = evaluate([support], {})[0]
    return None if found.all() else found


def _picture(name: str, filled: np.ndarray) -> str:
    """A square for each entry that may be other than 0, or for each block with such entries."""
    rows, columns = filled.shape
    step = -(-max(rows, columns) // CELLS)
    starts = [np.arange(0, n, step) for n in filled.shape]
    blocks = np.logical_or.reduceat(np.logical_or.reduceat(filled, starts[0], 0), starts[1], 1)
    path = "".join(f"M{j} {i}h1v1h-1z" for i, j in zip(*np.nonzero(blocks), strict=True))
    height, width = blocks.shape
    scale = 3 if max(height, width) > 20 else 8
    count = int(filled.sum())
    told = f"{count:,} of {filled.size:,} entries are not 0 by structure"
    return (
        f"<figure style='margin:.5em 0'><svg width='{width * scale}' height='{height * scale}' "
        f"viewBox='0 0 {width} {height}' style='border:1px solid #888' role='img' "
        f"aria-label='{told}'><path d='{path}' fill='#36c'/></svg>"
        f"<figcaption style='font-size:smaller'><code>{html.escape(name)}</code>: {told}"
        "</figcaption></figure>"
    )


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>{_block(body, title)}</details>"


def _block(body: str, title: str) -> str:
    lines = body.splitlines()
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"… {len(lines) - MOST_LINES} more lines of {title}"]
    text = html.escape("\n".join(lines))
    style = "overflow-x:auto;font-family:monospace;line-height:1.2"
    return f"<pre style='{style}'>{text}</pre>"
