"""A reading as text and as LaTeX."""

from __future__ import annotations

from symgrad.inspect.formula import to_latex, to_text
from symgrad.inspect.matrix import left
from symgrad.inspect.naming import latex_index, latex_name, plain_name
from symgrad.reader.reading import Piece, Reading


def text(reading: Reading) -> str:
    """The lines of a reading."""
    rows: list[str] = []
    for line in reading.lines:
        rows += [_piece(plain_name(line.name), p) for p in line.pieces] or [
            f"{left(line, plain_name(line.name), ',')} = {to_text(line.formula)}"
        ]
    for k, part in enumerate(reading.parts):
        lead = "  where " if k == 0 else "        "
        rows.append(f"{lead}{left(part, part.text, ',')} = {to_text(part.formula)}")
    if reading.conditions:
        told = ", ".join([to_text(c.shown) for c in reading.conditions if c.shown is not None])
        rows.append(f"  for {told}")
    return "\n".join(rows)


def _piece(name: str, p: Piece) -> str:
    places = " = ".join([f"{name}[{','.join(at)}]" for at in p.places])
    bounds = f"  for {_bounds(p, '<')}" if p.bounded else ""
    return f"{places} = {to_text(p.formula)}{bounds}"


def _bounds(p: Piece, sign: str) -> str:
    """0 < i < 4; at an end of the array, one side."""
    low, high = p.range
    return f"{low - 1} {sign} {p.letter} {sign} {high + 1}" if low else (
        f"{p.letter} {sign} {high + 1}")  # fmt: skip


def latex(reading: Reading) -> str:
    """The same for LaTeX's math mode."""
    rows: list[tuple[str, str]] = []
    for line in reading.lines:
        rows += [_latex_piece(latex_name(line.name), p) for p in line.pieces] or [
            (left(line, latex_name(line.name), " ", "_{", "}"), to_latex(line.formula))
        ]
    if len(rows) == 1 and not reading.parts and not reading.conditions:
        return f"{rows[0][0]} = {rows[0][1]}"
    told = [f"{a} &= {b}" for a, b in rows]
    for k, part in enumerate(reading.parts):
        lead = r"\text{where}\quad " if k == 0 else ""
        told.append(f"{lead}{left(part, part.latex, ' ', '_{', '}')} &= {to_latex(part.formula)}")
    if reading.conditions:
        where = ", ".join([to_latex(c.shown) for c in reading.conditions if c.shown is not None])
        told.append(rf"& \text{{for }} {where}")
    return "\\begin{aligned}\n" + " \\\\\n".join(told) + "\n\\end{aligned}"


def _latex_piece(name: str, p: Piece) -> tuple[str, str]:
    places = " = ".join([rf"{{{name}}}_{{{latex_index(','.join(at))}}}" for at in p.places])
    bounds = rf" \quad \text{{for }} {_bounds(p, '<')}" if p.bounded else ""
    return places, to_latex(p.formula) + bounds
