"""Names and numbers as they stand in formulas, in text and in LaTeX."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from symgrad.expr.node import Expr
from symgrad.ops.body import results

# fmt: off
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta",
    "η": "eta", "θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu",
    "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "χ": "chi",
    "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi",
    "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}
_ESCAPES = {
    "\\": r"\backslash ", "{": r"\lbrace ", "}": r"\rbrace ", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "~": r"\sim ", "^": r"\wedge ", " ": r"\ ", "∇": r"\nabla ",
    "∂": r"\partial ", "²": "^2", "'": "'",
}
# fmt: on
_GREEK_NAMES = frozenset(_GREEK.values())
SUPERSCRIPT = str.maketrans("0123456789-−+()", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻⁺⁽⁾")
_SUBSCRIPT = dict(zip("0123456789aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))
_LONGEST_NAME = 80
LENGTH = "#"  # before a number: what a mean divides by, among the names of variables


def plain_name(name: str) -> str:
    """`name` on one line: what does not print is spelled out, what is too long is cut."""
    if len(name) > _LONGEST_NAME:
        name = name[: _LONGEST_NAME - 1] + "…"
    # Marks that reorder or hide text are not printable in Python's sense either.
    return "".join(ch if ch.isprintable() else f"\\u{ord(ch):04x}" for ch in name)


def _latex_word(word: str, upright: bool = True) -> str:
    if word in _GREEK:
        return "\\" + _GREEK[word]
    if word in _GREEK_NAMES:
        return "\\" + word
    if word == "lam":  # Python keeps the whole word for itself
        return r"\lambda"
    if len(word) == 1 and word.isascii() and word.isalnum() or word.isdigit() and word.isascii():
        return word
    text = "".join(_latex_character(ch) for ch in word)
    return rf"\mathrm{{{text}}}" if upright else text


def _latex_character(ch: str) -> str:
    if ch in _ESCAPES:
        return _ESCAPES[ch] if ch != "²" else "{}^{2}"
    if ch in _GREEK:
        return "\\" + _GREEK[ch] + " "
    if ch.isascii():
        return ch if ch.isprintable() and ch not in '"`' else "?"
    return ch if unicodedata.category(ch)[0] == "L" else "?"


def latex_name(name: str) -> str:
    """A name as LaTeX: the first word, and the rest of a path or the digits as its subscript.

    >>> latex_name("x0"), latex_name("w_out"), latex_name('params["w"]'), latex_name("lambda")
    ('x_{0}', 'w_{\\\\mathrm{out}}', '\\\\mathrm{params}_{w}', '\\\\lambda')
    """
    name = plain_name(name)
    lead = ""
    found = re.match(r"(∇²|∇|∂)(?=.)", name)
    if found:
        lead = {"∇²": r"\nabla^{2} ", "∇": r"\nabla ", "∂": r"\partial "}[found[1]]
        name = name[found.end() :]
    words = re.findall(r"[^\W\d_]+|\d+", name)
    if re.fullmatch(r"""[^\W\d_]+(\d+|_[^\W_]+|\.\w+|\[['"]?[\w.]+['"]?\])*""", name) and words:
        parts = [w for w in re.split(r"""[_.\[\]'"]+""", name) if w]
        head = re.match(r"[^\W\d_]+", parts[0])
        assert head is not None
        rest = [p for p in (parts[0][head.end() :], *parts[1:]) if p]
        base = _latex_word(head[0])
        return lead + base + (f"_{{{','.join(map(_latex_word, rest))}}}" if rest else "")
    return lead + _latex_word(name)


def subscript(text: str) -> str:
    """Small letters below the line where Unicode has them, else after an underscore."""
    if all(ch in _SUBSCRIPT for ch in text):
        return "".join(_SUBSCRIPT[ch] for ch in text)
    return "_" + text if len(text) == 1 else f"_{{{text}}}"


def short_number(value: Any) -> str:
    """The shortest decimal that reads back as `value` (a NumPy scalar): 2, 0.5, 1e-3, inf, nan."""
    if value.dtype.kind == "b":
        return "true" if value else "false"
    if value.dtype.kind == "i":
        return str(int(value))
    if value != value:
        return "nan"
    text = str(value)
    if text in ("inf", "-inf"):
        return text
    sign, text = ("-", text[1:]) if text[0] == "-" else ("", text)
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    power = int(exponent or 0) - len(fraction)
    stripped = digits.rstrip("0")
    power += len(digits) - len(stripped)
    if not stripped:
        return sign + "0"
    point = len(stripped) + power  # value = 0.stripped × 10^point
    if 0 < point <= 6 and power >= 0:
        decimal = stripped + "0" * power
    elif 0 < point < len(stripped) + 1 and power < 0:
        decimal = stripped[:point] + "." + stripped[point:]
    elif -4 < point <= 0:
        decimal = "0." + "0" * -point + stripped
    else:
        decimal = ""
    rest = f".{stripped[1:]}" if stripped[1:] else ""
    scientific = f"{stripped[0]}{rest}e{point - 1}"
    return sign + (decimal if decimal and len(decimal) <= len(scientific) else scientific)


def latex_number(text: str) -> str:
    """A number that `short_number` spelled, for math mode."""
    if text == "inf":
        return r"\infty"
    if text in ("nan", "true", "false"):
        return rf"\mathrm{{{text}}}"
    if text.endswith("π"):
        return text[:-1] + r"\pi"
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    return ("" if mantissa == "1" else mantissa + r" \cdot ") + f"10^{{{exponent}}}"


def latex_index(text: str) -> str:
    """What stands between the brackets of x[…], as a subscript."""
    return text.replace("−", "-") if re.fullmatch(r"[0-9a-zA-Z:, +−-]*", text) else "".join(
        _latex_character(ch) for ch in text.replace("−", "-")
    )  # fmt: skip


def is_counted(node: Expr) -> bool:
    """Whether the first operand of a control node is the number of rounds."""
    return "counted" in node.op.attr_names and bool(node.attr("counted"))


def control_names(node: Expr) -> tuple[list[str], list[str]]:
    """How the operands of the bodies of a control node are called, and its results.

    c, s, x, y: what all rounds share, carry, rows, what is stacked.
    """
    kinds = results(node)
    if "consts" not in node.op.attr_names:
        return [f"p{k + 1}" for k in range(len(node.args) - 1)], [
            f"r{k + 1}" for k in range(len(kinds))
        ]
    consts = node.attr("consts")
    operands = len(node.args) - is_counted(node)
    carry = node.attr("carry") if "carry" in node.op.attr_names else operands - consts
    state = [f"s{k + 1}" for k in range(carry)]
    names = [f"c{k + 1}" for k in range(consts)] + state
    names += [f"x{k + 1}" for k in range(operands - len(names))]
    made = [*state, "rounds"] if node.name == "while" else list(state)
    return names, made + [f"y{k + 1}" for k in range(len(kinds) - len(made))]
