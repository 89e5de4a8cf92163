"""Formulas: small trees of mathematical notation, and how they are written in text and LaTeX.

In: trees that `matrix.py` makes with the constructors in `algebra.py`. Out: strings. Nothing here
knows what an expression node is. What is to be known about a kind of formula is one row of `KINDS`.
Trees are small (their maker cuts them into named parts), so the functions here recurse.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from symgrad.inspect.naming import SUPERSCRIPT, latex_index, latex_number, subscript

# How tightly a formula holds together: comparison < sum < ⊙ and / < juxtaposition < x² < atom.
COND, SUM, TERM, JUX, POW, ATOM = range(6)


class Formula:
    """One piece of notation: `kind`, sub-formulas `args`, and `data` that depends on the kind.

    rank   0 for what multiplies anything by juxtaposition, else the number of axes
    owner  what the formula stands for, if its maker wants to cut it out by name
    cost   what it takes to read it, once somebody asked (`reader.cost`)
    nests  how many brackets stand inside each other, once the cost is known
    """

    __slots__ = ("kind", "args", "data", "rank", "owner", "cost", "nests")

    def __init__(
        self, kind: str, args: tuple[Formula, ...] = (), data: Any = None, rank: int = 0
    ) -> None:
        self.kind, self.args, self.data, self.rank = kind, args, data, rank
        self.owner: Any = None
        self.cost: int | None = None
        self.nests = 0

    def same(self, other: Formula) -> bool:
        """Equal structure."""
        return (
            self.kind == other.kind
            and self.data == other.data
            and len(self.args) == len(other.args)
            and all(a.same(b) for a, b in zip(self.args, other.args, strict=True))
        )


# ---- how pieces are put together -------------------------------------------------------------


def _ends(parts: list[str], dots: str) -> list[str]:
    """The first and last of very many."""
    return parts if len(parts) <= 12 else [*parts[:6], dots, *parts[-3:]]


def _simple(text: str) -> bool:
    """Whether an exponent needs no brackets: a name or a number, without an exponent of its own."""
    return text.replace(".", "", 1).isalnum() and text[-1] not in "⁰¹²³⁴⁵⁶⁷⁸⁹ᵀ"


def _bracketed(text: str, wanted: bool) -> str:
    return f"({text})" if wanted else text


def _parenthesised(text: str, wanted: bool) -> str:
    return rf"\left({text}\right)" if wanted else text


def _terms(terms: list[str]) -> str:
    text = terms[0]
    for t in terms[1:]:
        text += " − " + t[1:] if t[0] in "−-" else " + " + t
    return text


def _juxtaposed(f: Formula, parts: list[str], dot: str) -> str:
    """Factors side by side; a dot where two numbers would run together."""
    text = parts[0]
    for before, after, part in zip(f.args, f.args[1:], parts[1:], strict=False):
        clash = before.kind == "number" and _head(after).kind in ("number", "ones")
        clash = clash and not part.startswith(("(", r"\left("))
        text += (f" {dot} " if clash else " ") + part
    return text


def _head(f: Formula) -> Formula:
    while f.kind in ("mul", "mat", "had", "div", "pow", "T") and f.args:
        f = f.args[0]
    return f


def _power_text(f: Formula, sub: list[str]) -> str:
    exponent = sub[1]
    if f.rank > 1:
        return f"{sub[0]}^⊙{_bracketed(exponent, not _simple(exponent))}"
    if exponent.isdigit() or exponent[0] == "−" and exponent[1:].isdigit():
        return sub[0] + exponent.translate(SUPERSCRIPT)
    return f"{sub[0]}^{_bracketed(exponent, not _simple(exponent))}"


def _power_latex(f: Formula, sub: list[str]) -> str:
    return f"{sub[0]}^{{{chr(92) + 'odot ' if f.rank > 1 else ''}{sub[1]}}}"


def _index_latex(f: Formula, sub: list[str]) -> str:
    base = sub[0] if re.fullmatch(r"[A-Za-z]", sub[0]) else f"{{{sub[0]}}}"
    return f"{base}_{{{latex_index(f.data)}}}"


def _cases_text(f: Formula, sub: list[str]) -> str:
    pairs = [f"{v} if {c}" for v, c in zip(sub[::2], sub[1::2], strict=False)]
    return f"{{{', '.join(pairs)}, else {sub[-1]}}}"


def _cases_latex(f: Formula, sub: list[str]) -> str:
    pairs = [rf"{v} & \text{{if }} {c}" for v, c in zip(sub[::2], sub[1::2], strict=False)]
    pairs.append(sub[-1] + r" & \text{otherwise}")
    return r"\begin{cases} " + r" \\ ".join(pairs) + r" \end{cases}"


def _sigma_text(f: Formula, sub: list[str]) -> str:
    summed, terms = f.data
    parts = [s + (f"[{','.join(t)}]" if t else "") for s, t in zip(sub, terms, strict=True)]
    sign = f"Σ{subscript(''.join(summed))} " if summed else ""
    return sign + " ".join(parts)


def _sigma_latex(f: Formula, sub: list[str]) -> str:
    summed, terms = f.data
    parts = [
        s if not t else (s if len(s) == 1 else f"{{{s}}}") + f"_{{{' '.join(t)}}}"
        for s, t in zip(sub, terms, strict=True)
    ]
    sign = rf"\sum_{{{' '.join(summed)}}} " if summed else ""
    return sign + r" \, ".join(parts)


def _stack_latex(f: Formula, sub: list[str]) -> str:
    return r"\begin{bmatrix} " + r" \\ ".join(_ends(sub, r"\vdots")) + r" \end{bmatrix}"


def _rows(f: Formula, sub: list[str]) -> list[list[str]]:
    return [sub[k : k + f.data] for k in range(0, len(sub), f.data)]


def _matrix_text(f: Formula, sub: list[str]) -> str:
    return f"[{'; '.join(', '.join(row) for row in _rows(f, sub))}]"


def _matrix_latex(f: Formula, sub: list[str]) -> str:
    rows = r" \\ ".join(" & ".join(row) for row in _rows(f, sub))
    return rf"\begin{{bmatrix}} {rows} \end{{bmatrix}}"


# ---- the kinds -------------------------------------------------------------------------------

Spelling = Callable[[Formula, list[str]], str]


@dataclass(frozen=True)
class Writing:
    """How one kind of formula is written.

    text, latex      from the formula and its arguments as written
    holds            the level at which it holds together without parentheses
    needs            the level that its arguments must have to stand bare: one for all, one for
                     each, or a function of the formula and the argument's position
    latex_holds      the same in LaTeX, where it differs: a fraction bar and a root show what is
    latex_needs      inside
    free             whether it is nothing to read apart from its arguments
    encloses         whether brackets stand around its arguments in any case
    """

    text: Spelling
    latex: Spelling
    holds: int | Callable[[Formula], int] = ATOM
    needs: int | tuple[int, ...] | Callable[[Formula, int], int] = COND
    latex_holds: Callable[[Formula], int] | None = None
    latex_needs: Callable[[Formula, int], int] | None = None
    free: bool = False
    encloses: bool = False


def _joined(sign: str) -> Spelling:
    return lambda f, sub: sign.join(sub)


def _has_ones(f: Formula) -> bool:
    """Whether a product of matrices has the vector of ones: (1 xᵀ) ⊙ A, but y ⊙ X w."""
    return f.kind == "mat" and any(a.kind == "ones" or a.args and a.args[0].kind == "ones"
                                   for a in f.args)  # fmt: skip


def _divides(f: Formula) -> bool:
    """Whether a product ends with a quotient, beside which another sign of division misleads."""
    while f.kind == "mul":
        f = f.args[-1]
    return f.kind == "div"


def _of_quotient(f: Formula, position: int) -> int:
    """What an argument of a quotient must have; below the bar 1ᵀ x needs no brackets."""
    if not position:
        return JUX if _divides(f.args[0]) else TERM
    below = f.args[1]
    is_sum = below.kind == "mat" and len(below.args) == 2 and below.args[0].kind == "T"
    if is_sum and below.args[0].args[0].kind == "ones" and below.args[1].kind in ("symbol", "part"):
        return JUX
    return POW


def _as_last(level: Callable[[Formula], int]) -> Callable[[Formula], int]:
    """A product holds together as its last factor does."""
    return lambda f: TERM if level(f.args[-1]) == TERM else JUX


KINDS: dict[str, Writing] = {
    "symbol": Writing(lambda f, sub: f.data[0], lambda f, sub: f.data[1]),
    "number": Writing(lambda f, sub: f.data, lambda f, sub: latex_number(f.data),
                      latex_holds=lambda f: JUX if "e" in f.data else ATOM),
    "part": Writing(lambda f, sub: f.data.text, lambda f, sub: f.data.latex),
    "ones": Writing(lambda f, sub: "1", lambda f, sub: r"\mathbf{1}"),
    "eye": Writing(lambda f, sub: "I" if f.data is None else "I" + subscript(str(f.data)),
                   lambda f, sub: "I" if f.data is None else f"I_{{{f.data}}}"),
    "neg": Writing(lambda f, sub: "−" + sub[0], lambda f, sub: "-" + sub[0], SUM, TERM, free=True),
    "sum": Writing(lambda f, sub: _terms(sub), lambda f, sub: _terms(sub).replace(" − ", " - "),
                   SUM, lambda f, k: SUM if f.args[k].kind == "neg" else TERM, free=True),
    "mul": Writing(lambda f, sub: _juxtaposed(f, sub, "·"),
                   lambda f, sub: _juxtaposed(f, sub, r"\cdot"),
                   _as_last(lambda f: tightness(f)),
                   lambda f, k: TERM if k == len(f.args) - 1 else POW,
                   _as_last(lambda f: _latex_tightness(f)),
                   lambda f, k: (COND if f.args[k].kind == "number"
                                 else TERM if k == len(f.args) - 1 else POW),
                   free=True),
    "mat": Writing(_joined(" "), _joined(" "), JUX, POW, free=True),
    "had": Writing(_joined(" ⊙ "), _joined(r" \odot "), TERM,
                   lambda f, k: POW if _has_ones(f.args[k]) else JUX, free=True),
    "div": Writing(lambda f, sub: f"{sub[0]} {'⊘' if f.data else '/'} {sub[1]}",
                   lambda f, sub: (rf"{sub[0]} \oslash {sub[1]}" if f.data
                                   else rf"\frac{{{sub[0]}}}{{{sub[1]}}}"),
                   TERM, _of_quotient,
                   lambda f: TERM if f.data else JUX if f.rank else POW,
                   lambda f, k: (COND if not f.data else POW if k
                                 else JUX if _divides(f.args[0]) else TERM),
                   free=True),
    "kron": Writing(_joined(" ⊗ "), _joined(r" \otimes "), TERM, POW, free=True),
    "T": Writing(lambda f, sub: sub[0] + "ᵀ", lambda f, sub: sub[0] + r"^{\top}", POW, ATOM,
                 free=True),
    "inverse": Writing(lambda f, sub: sub[0] + ("⁻ᵀ" if f.data else "⁻¹"),
                       lambda f, sub: sub[0] + (r"^{-\top}" if f.data else "^{-1}"), POW, ATOM),
    "diag": Writing(lambda f, sub: f"diag({sub[0]})",
                    lambda f, sub: rf"\operatorname{{diag}}\left({sub[0]}\right)",
                    encloses=True),
    "pow": Writing(_power_text, _power_latex, POW, (ATOM, COND)),
    "sqrt": Writing(lambda f, sub: "√" + sub[0], lambda f, sub: rf"\sqrt{{{sub[0]}}}", POW, ATOM,
                    latex_needs=lambda f, k: COND),
    "call": Writing(lambda f, sub: f"{f.data[0]}({', '.join(sub)})",
                    lambda f, sub: rf"{f.data[1]}\left({', '.join(sub)}\right)", encloses=True),
    "wrap": Writing(lambda f, sub: f.data[0] + sub[0] + f.data[1],
                    lambda f, sub: f.data[2] + sub[0] + f.data[3], encloses=True),
    "infix": Writing(lambda f, sub: f" {f.data[0]} ".join(sub),
                     lambda f, sub: f" {f.data[1]} ".join(sub), COND, SUM, free=True),
    "index": Writing(lambda f, sub: f"{sub[0]}[{f.data}]", _index_latex, ATOM, ATOM, free=True),
    "gather": Writing(lambda f, sub: f"{sub[0]}[{':, ' * f.data}{sub[1]}]",
                      lambda f, sub: f"{{{sub[0]}}}_{{{':, ' * f.data}{sub[1]}}}",
                      ATOM, (ATOM, COND)),
    "stack": Writing(lambda f, sub: f"[{'; '.join(_ends(sub, '…'))}]", _stack_latex),
    "list": Writing(lambda f, sub: f"[{', '.join(sub)}]",
                    lambda f, sub: r"\left[" + ", ".join(sub) + r"\right]"),
    "matrix": Writing(_matrix_text, _matrix_latex),
    "cases": Writing(_cases_text, _cases_latex, encloses=True),
    "sigma": Writing(_sigma_text, _sigma_latex, lambda f: SUM if f.data[0] else TERM, POW),
}  # fmt: skip


# ---- writing ---------------------------------------------------------------------------------


def tightness(f: Formula) -> int:
    """The level at which `f` holds together without parentheses, in text."""
    holds = KINDS[f.kind].holds
    return holds if isinstance(holds, int) else holds(f)


def needed(f: Formula, position: int) -> int:
    """The level that the argument of `f` at `position` must have to stand bare."""
    needs = KINDS[f.kind].needs
    if isinstance(needs, int):
        return needs
    return needs[position] if isinstance(needs, tuple) else needs(f, position)


def _latex_tightness(f: Formula) -> int:
    holds = KINDS[f.kind].latex_holds
    return tightness(f) if holds is None else holds(f)


def _latex_needed(f: Formula, position: int) -> int:
    needs = KINDS[f.kind].latex_needs
    return needed(f, position) if needs is None else needs(f, position)


def to_text(f: Formula) -> str:
    """The formula in Unicode, on one line."""
    sub = [_bracketed(to_text(a), tightness(a) < needed(f, k)) for k, a in enumerate(f.args)]
    return KINDS[f.kind].text(f, sub)


def to_latex(f: Formula) -> str:
    """The formula in LaTeX, for math mode."""
    sub = [
        _parenthesised(to_latex(a), _latex_tightness(a) < _latex_needed(f, k))
        for k, a in enumerate(f.args)
    ]
    return KINDS[f.kind].latex(f, sub)


# ---- size ------------------------------------------------------------------------------------


def weight(f: Formula) -> int:
    """How much there is to read: leaves and function signs."""
    if f.kind == "pow" and f.args[1].kind == "number":
        return weight(f.args[0])
    silent = f.kind == "number" or (KINDS[f.kind].free and f.args)
    return (0 if silent else 1) + sum(weight(a) for a in f.args)


def extent(f: Formula) -> int:
    """Nodes of the tree."""
    return 1 + sum(extent(a) for a in f.args)


def nesting(f: Formula) -> int:
    """How many parentheses stand inside each other."""
    deepest = 0
    for k, a in enumerate(f.args):
        inside = nesting(a)
        if KINDS[f.kind].encloses or tightness(a) < needed(f, k):
            inside += 1
        deepest = max(deepest, inside)
    return deepest


def turned(f: Formula) -> int:
    """How many transposes show."""
    return (f.kind == "T") + sum(turned(a) for a in f.args)
