"""Formulas for places that hold ASCII only, such as comments in C."""

from __future__ import annotations

import itertools
import unicodedata

_WORDS = {
    "−": "-", "⊙": ".*", "⊘": "./", "·": "*", "×": "x", "‖": "||", "…": "...", "√": "sqrt",
    "Σ": "sum", "∇": "grad ", "∂": "d", "≠": "!=", "≤": "<=", "≥": ">=", "∧": "and",
    "∨": "or", "¬": "not ", "⊻": "xor", "⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")",
}  # fmt: skip


def ascii_text(text: str) -> str:
    """`text` with every sign spelled in ASCII: xᵀ as x^T, x² as x^2, ⊙ as .*, σ as sigma.

    >>> ascii_text("−Xᵀ (y ⊙ σ(z)²)")
    '-X^T (y .* sigma(z)^2)'
    """
    parts: list[str] = []
    for script, group in itertools.groupby(text, _script):
        run = "".join(group)
        if script:
            plain = unicodedata.normalize("NFKD", run).replace("−", "-")
            parts.append(script + (plain if len(plain) == 1 else "{" + plain.strip("()") + "}"))
        else:
            parts.append("".join(_spelled(ch) for ch in run))
    return "".join(parts)


def _script(ch: str) -> str:
    kind = unicodedata.decomposition(ch).partition(" ")[0]
    return {"<super>": "^", "<sub>": "_"}.get(kind, "")


def _spelled(ch: str) -> str:
    if ch in _WORDS or ch < "\x7f":
        return _WORDS.get(ch, ch)
    words = unicodedata.name(ch, "").split()
    if words[:1] == ["GREEK"]:
        small = "SMALL" in words
        return words[3].lower().replace("lamda", "lambda") if small else words[-1].title()
    return "?"
