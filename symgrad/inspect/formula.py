"""Formulas: small trees of mathematical notation, and how they are written in text and LaTeX.

In: trees that `matrix.py` makes. Out: strings. Nothing here knows what an expression node is. The
constructors keep signs in front, flatten products and drop factors that say nothing, so that what
is printed has the form a person would write. Trees are small (their maker cuts them into named
parts), so the functions here recurse.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np

# How tightly a formula holds together: comparison < sum < ⊙ and / < juxtaposition < x² < atom.
COND, SUM, TERM, JUX, POW, ATOM = range(6)

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


# ---- names -----------------------------------------------------------------------------------


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


# ---- numbers ---------------------------------------------------------------------------------


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


# ---- the tree --------------------------------------------------------------------------------


class Formula:
    """One piece of notation: `kind`, sub-formulas `args`, and `data` that depends on the kind.

    rank   0 for what multiplies anything by juxtaposition, else the number of axes
    owner  what the formula stands for, if its maker wants to cut it out by name
    """

    __slots__ = ("kind", "args", "data", "rank", "owner")

    def __init__(
        self, kind: str, args: tuple[Formula, ...] = (), data: Any = None, rank: int = 0
    ) -> None:
        self.kind, self.args, self.data, self.rank = kind, args, data, rank
        self.owner: Any = None

    def same(self, other: Formula) -> bool:
        """Equal structure."""
        return (
            self.kind == other.kind
            and self.data == other.data
            and len(self.args) == len(other.args)
            and all(a.same(b) for a, b in zip(self.args, other.args, strict=True))
        )


def symbol(text: str, latex: str, rank: int = 0) -> Formula:
    """A name."""
    return Formula("symbol", (), (text, latex), rank)


def number(value: Any) -> Formula:
    """A NumPy scalar; a negative one is the negative of a number."""
    text = short_number(value)
    if value.dtype.kind == "f":
        for times, spelling in ((1.0, "π"), (2.0, "2π")):
            if abs(value) == value.dtype.type(times * 3.141592653589793):
                text = ("-" if value < 0 else "") + spelling
    if text[0] == "-":
        return neg(Formula("number", (), text[1:]))
    return Formula("number", (), text)


def is_number(f: Formula, text: str) -> bool:
    """Whether `f` is the number written like that."""
    return f.kind == "number" and f.data == text


def ones(size: int) -> Formula:
    """The vector of ones."""
    return Formula("ones", (), size, 1)


def neg(f: Formula) -> Formula:
    """−f."""
    if f.kind == "neg":
        return f.args[0]
    if f.kind == "sum" and all(a.kind == "neg" for a in f.args):
        return Formula("sum", tuple(a.args[0] for a in f.args), None, f.rank)
    return Formula("neg", (f,), None, f.rank)


def _unsigned(f: Formula) -> tuple[bool, Formula]:
    return (True, f.args[0]) if f.kind == "neg" else (False, f)


def _signed(negative: bool, f: Formula) -> Formula:
    return neg(f) if negative else f


def add(terms: list[Formula], reorder: bool) -> Formula:
    """The sum; a positive term comes first, and with `reorder` the larger terms too."""
    flat: list[Formula] = []
    for t in terms:
        flat.extend(t.args if t.kind == "sum" else (t,))
    flat, times = _collect(flat)
    if len(flat) == 1:
        return hadamard([*times, flat[0]])
    if times:
        return hadamard([*times, add(flat, reorder)])
    if reorder:
        flat.sort(key=lambda t: (_unsigned(t)[1].kind == "number", -weight(t), turned(t)))
        if len(flat) == 2 and flat[1].kind == "number" and flat[0].kind in ("call", "pow"):
            flat.reverse()  # 1 + exp(x), but x + 1
    first = next((k for k, t in enumerate(flat) if t.kind != "neg"), 0)
    flat.insert(0, flat.pop(first))
    if any(_body(t).kind != "eye" for t in flat):  # the size of I is clear from the other terms
        flat = [_bare_eye(t) for t in flat]
    return Formula("sum", tuple(flat), None, max(t.rank for t in flat))


def _collect(terms: list[Formula]) -> tuple[list[Formula], list[Formula]]:
    """Equal terms as one with a coefficient; a coefficient that all share is the second result."""
    groups: list[list[Any]] = []
    for t in terms:
        known = next((g for g in groups if t.kind != "number" and t.same(g[0])), None)
        if known is not None and len(groups) < 20:
            known[1] += 1
        else:
            groups.append([t, 1])
    counts = {count for _, count in groups}
    if counts == {1}:
        return terms, []
    if len(counts) == 1:
        return [t for t, _ in groups], [Formula("number", (), str(counts.pop()))]
    merged = [t if n == 1 else hadamard([Formula("number", (), str(n)), t]) for t, n in groups]
    return merged, []


def _body(f: Formula) -> Formula:
    while f.kind in ("neg", "mul"):
        f = f.args[-1]
    return f


def _bare_eye(f: Formula) -> Formula:
    if f.kind == "eye":
        return Formula("eye", (), None, 2)
    if f.kind in ("neg", "mul"):
        last = _bare_eye(f.args[-1])
        return f if last is f.args[-1] else Formula(f.kind, (*f.args[:-1], last), f.data, f.rank)
    return f


def _split(factors: list[Formula], inner: str) -> tuple[bool, list[Formula], list[Formula]]:
    """Sign, scalar factors and other factors of a product; nested products of `inner` flatten."""
    negative = False
    scalars: list[Formula] = []
    others: list[Formula] = []
    stack = factors[::-1]
    while stack:
        minus, f = _unsigned(stack.pop())
        negative ^= minus
        if f.kind == "mul" or (f.kind == inner and f.rank):
            stack.extend(reversed(f.args))
        elif f.rank == 0:
            scalars.append(f)
        else:
            others.append(f)
    return negative, scalars, others


def _join(negative: bool, scalars: list[Formula], body: Formula | None) -> Formula:
    scalars = [s for s in scalars if not is_number(s, "1")]
    scalars.sort(key=lambda s: (s.kind != "number", s.kind not in ("symbol", "part"), weight(s)))
    scalars = _powers(_fold_numbers(scalars), 0)
    if body is not None and body.kind == "div" and scalars and not body.data:
        return _signed(negative, divide(_join(False, scalars, body.args[0]), body.args[1]))
    divided = next((s for s in scalars if s.kind == "div" and not s.data), None)
    if divided is not None and (body is not None or len(scalars) > 1):  # (a / b) c is a c / b
        rest = [s for s in scalars if s is not divided]
        if not is_number(divided.args[0], "1"):
            rest.append(divided.args[0])
        return _signed(negative, divide(_join(False, rest, body), divided.args[1]))
    parts = [*scalars, *([body] if body is not None else [])]
    if not parts:
        return _signed(negative, Formula("number", (), "1"))
    if len(parts) == 1:
        return _signed(negative, parts[0])
    return _signed(negative, Formula("mul", tuple(parts), None, body.rank if body else 0))


def _fold_numbers(scalars: list[Formula]) -> list[Formula]:
    """Numbers in a row as one, where the exact decimal product is short."""
    plain = [s for s in scalars if s.kind == "number" and re.fullmatch(r"[\d.]+(e-?\d+)?", s.data)]
    if len(plain) < 2:
        return scalars
    product = Decimal(1)
    for s in plain:
        product *= Decimal(s.data)
    text = short_number(np.float64(product))
    if Decimal(text) != product or len(text) > 8:
        return scalars
    rest = [s for s in scalars if not any(s is q for q in plain)]
    return rest if text == "1" else [Formula("number", (), text), *rest]


def _powers(factors: list[Formula], rank: int) -> list[Formula]:
    """Equal factors as one power."""
    groups: list[tuple[Formula, int]] = []
    for f in factors:
        for k, (g, count) in enumerate(groups):
            if f.kind != "number" and f.same(g):
                groups[k] = (g, count + 1)
                break
        else:
            groups.append((f, 1))
    return [g if n == 1 else power(g, Formula("number", (), str(n)), rank) for g, n in groups]


def hadamard(factors: list[Formula]) -> Formula:
    """The elementwise product; scalar factors go in front."""
    negative, scalars, others = _split(factors, "had")
    body = None
    if others:
        rank = max(f.rank for f in others)
        merged = _powers(others, rank)
        body = merged[0] if len(merged) == 1 else Formula("had", tuple(merged), None, rank)
    return _join(negative, scalars, body)


def matmul(factors: list[Formula], rank: int) -> Formula:
    """The matrix product, columns and transposed columns included; identities drop out."""
    negative, scalars, others = _split(factors, "mat")
    kept = [f for f in others if f.kind != "eye"]
    if not kept and others:
        kept = others[:1]
    if not kept:
        return _join(negative, scalars, None)
    body = kept[0] if len(kept) == 1 else Formula("mat", tuple(kept), None, rank)
    if rank == 0 and len(kept) == 2 and kept[0].kind == "T" and kept[0].args[0].same(kept[1]):
        body = squared_norm(kept[1])
    if rank == 0 and body.kind == "mat":  # a product of sums' name: a scalar holds together
        body.rank = 0
    return _join(negative, scalars, body)


def squared_norm(f: Formula) -> Formula:
    """‖f‖²."""
    return power(norm(f), Formula("number", (), "2"), 0)


def norm(f: Formula) -> Formula:
    """‖f‖, with the F of Frobenius for matrices."""
    f = _unsigned(f)[1]
    text, latex = ("‖_F", r"\right\rVert_{F}") if f.rank == 2 else ("‖", r"\right\rVert")
    return Formula("wrap", (f,), ("‖", text, r"\left\lVert ", latex))


def transpose(f: Formula) -> Formula:
    """fᵀ, pushed into products."""
    if f.rank == 0:
        return f
    match f.kind:
        case "T":
            return f.args[0]
        case "eye" | "diag":
            return f
        case "neg":
            return neg(transpose(f.args[0]))
        case "mul":
            return Formula("mul", (*f.args[:-1], transpose(f.args[-1])), None, f.rank)
        case "mat":
            return Formula("mat", tuple(transpose(a) for a in reversed(f.args)), None, f.rank)
        case "inverse" if not f.data:
            return Formula("inverse", f.args, "T", 2)
        case "sum" if all(_body(t).kind in ("eye", "diag", "mat", "T") for t in f.args):
            return Formula("sum", tuple(transpose(t) for t in f.args), None, f.rank)
    return Formula("T", (f,), None, f.rank)


def diagonal(f: Formula, shorten: Callable[[Formula], Formula]) -> Formula:
    """The diagonal matrix of a vector; signs and scalars come out, `shorten` names a large one."""
    minus, f = _unsigned(f)
    if f.kind == "mul":
        return _signed(minus, _join(False, list(f.args[:-1]), diagonal(f.args[-1], shorten)))
    if f.rank == 0:
        return _signed(minus, _join(False, [f], Formula("eye", (), None, 2)))
    if weight(f) >= 3:
        f = shorten(f)
    return _signed(minus, Formula("diag", (f,), None, 2))


def inverse(f: Formula) -> Formula:
    """f⁻¹."""
    return Formula("inverse", (f,), None, 2)


def gathered(f: Formula, index: Formula, axis: int, rank: int) -> Formula:
    """f[index], or f[:, index] and so on for a later axis."""
    return Formula("gather", (f, index), axis, rank)


def divide(a: Formula, b: Formula) -> Formula:
    """a / b; ⊘ where b is no scalar (`data` is true then)."""
    minus_a, a = _unsigned(a)
    minus_b, b = _unsigned(b)
    if is_number(b, "1"):
        return _signed(minus_a ^ minus_b, a)
    elementwise = b.rank > 0
    if a.kind == "div" and a.data == elementwise and not elementwise:
        a, b = a.args[0], _join(False, [a.args[1], b], None)
    rank = max(a.rank, b.rank)
    return _signed(minus_a ^ minus_b, Formula("div", (a, b), elementwise, rank))


def power(base: Formula, exponent: Formula, rank: int) -> Formula:
    """base to the exponent, elementwise if `rank` > 0 (shown for matrices, clear for vectors)."""
    if is_number(exponent, "1"):
        return base
    if is_number(exponent, "2") and base.kind == "neg":
        base = base.args[0]
    if base.kind == "pow" and _even(exponent) and _even(base.args[1]):
        product = int(base.args[1].data) * int(exponent.data)
        if product > 64:
            return Formula("pow", (base, exponent), None, rank)
        return Formula("pow", (base.args[0], Formula("number", (), str(product))), None, rank)
    return Formula("pow", (base, exponent), None, rank)


def _even(f: Formula) -> bool:
    return f.kind == "number" and f.data.isdigit() and int(f.data) % 2 == 0


def call(text: str, latex: str, args: list[Formula], rank: int) -> Formula:
    """text(args)."""
    return Formula("call", tuple(args), (text, latex), rank)


# ---- size ------------------------------------------------------------------------------------

_FREE = frozenset(("neg", "T", "mul", "mat", "had", "sum", "div", "index", "infix"))


def weight(f: Formula) -> int:
    """How much there is to read: leaves and function signs."""
    if f.kind == "pow" and f.args[1].kind == "number":
        return weight(f.args[0])
    return (0 if f.kind == "number" or (f.kind in _FREE and f.args) else 1) + sum(
        weight(a) for a in f.args
    )


def extent(f: Formula) -> int:
    """Nodes of the tree."""
    return 1 + sum(extent(a) for a in f.args)


def nesting(f: Formula) -> int:
    """How many parentheses stand inside each other."""
    deepest = 0
    for k, a in enumerate(f.args):
        inside = nesting(a)
        if f.kind in ("call", "wrap", "diag", "cases"):
            inside += 1
        elif f.kind != "symbol" and tightness(a) < needed(f, k):
            inside += 1
        deepest = max(deepest, inside)
    return deepest


def turned(f: Formula) -> int:
    """How many transposes show."""
    return (f.kind == "T") + sum(turned(a) for a in f.args)


_TIGHTNESS = {
    "infix": COND, "sum": SUM, "neg": SUM, "sigma": SUM, "had": TERM, "div": TERM, "mat": JUX,
    "pow": POW, "T": POW, "inverse": POW, "sqrt": POW,
}  # fmt: skip


def tightness(f: Formula) -> int:
    """The level at which `f` holds together without parentheses, in text."""
    if f.kind == "mul":
        last = tightness(f.args[-1])
        return TERM if last == TERM else JUX
    return _TIGHTNESS.get(f.kind, ATOM)


def needed(f: Formula, position: int) -> int:
    """The level that the argument of `f` at `position` must have to stand bare."""
    match f.kind:
        case "sum":
            return TERM if f.args[position].kind != "neg" else SUM
        case "neg":
            return TERM
        case "mul":
            return TERM if position == len(f.args) - 1 else POW
        case "mat" | "had":
            return POW
        case "div":
            return JUX if position == 0 else POW
        case "pow" | "gather":
            return ATOM if position == 0 else COND
        case "T" | "inverse" | "index" | "sqrt":
            return ATOM
        case "infix":
            return SUM
        case "sigma":
            return ATOM
    return COND


# ---- text ------------------------------------------------------------------------------------


def to_text(f: Formula) -> str:
    """The formula in Unicode, on one line."""
    sub = [_bracketed(to_text(a), tightness(a) < needed(f, k)) for k, a in enumerate(f.args)]
    data = f.data
    match f.kind:
        case "symbol" | "number":
            return data if isinstance(data, str) else data[0]
        case "part":
            return data.text
        case "ones":
            return "1"
        case "eye":
            return "I" if data is None else "I" + subscript(str(data))
        case "neg":
            return "−" + sub[0]
        case "sum":
            return _terms(sub)
        case "mul":
            return _juxtaposed(f, sub, "·")
        case "mat":
            return " ".join(sub)
        case "had":
            return " ⊙ ".join(sub)
        case "div":
            return f"{sub[0]} {'⊘' if data else '/'} {sub[1]}"
        case "T":
            return sub[0] + "ᵀ"
        case "inverse":
            return sub[0] + ("⁻ᵀ" if data else "⁻¹")
        case "diag":
            return f"diag({sub[0]})"
        case "pow":
            exponent = sub[1]
            if f.rank > 1:
                return f"{sub[0]}^⊙{_bracketed(exponent, not _simple(exponent))}"
            if exponent.isdigit() or exponent[0] == "−" and exponent[1:].isdigit():
                return sub[0] + exponent.translate(SUPERSCRIPT)
            return f"{sub[0]}^{_bracketed(exponent, not _simple(exponent))}"
        case "sqrt":
            return "√" + sub[0]
        case "call":
            return f"{data[0]}({', '.join(sub)})"
        case "wrap":
            return data[0] + sub[0] + data[1]
        case "infix":
            return f" {data[0]} ".join(sub)
        case "index":
            return f"{sub[0]}[{data}]"
        case "gather":
            return f"{sub[0]}[{':, ' * data}{sub[1]}]"
        case "stack":
            return f"[{'; '.join(_ends(sub, '…'))}]"
        case "list":
            return f"[{', '.join(sub)}]"
        case "cases":
            pairs = [f"{v} if {c}" for v, c in zip(sub[::2], sub[1::2], strict=False)]
            return f"{{{', '.join(pairs)}, else {sub[-1]}}}"
        case "sigma":
            summed, terms = data
            parts = [s + (f"[{','.join(t)}]" if t else "") for s, t in zip(sub, terms, strict=True)]
            sign = f"Σ{subscript(''.join(summed))} " if summed else ""
            return sign + " ".join(parts)
    raise AssertionError(f.kind)


def _ends(parts: list[str], dots: str) -> list[str]:
    """The first and last of very many."""
    return parts if len(parts) <= 12 else [*parts[:6], dots, *parts[-3:]]


def _simple(text: str) -> bool:
    return text.isalnum() or text.replace(".", "", 1).isalnum()


def _bracketed(text: str, wanted: bool) -> str:
    return f"({text})" if wanted else text


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
        text += (f" {dot} " if clash else " ") + part
    return text


def _head(f: Formula) -> Formula:
    while f.kind in ("mul", "mat", "had", "div", "pow", "T") and f.args:
        f = f.args[0]
    return f


# ---- LaTeX -----------------------------------------------------------------------------------


def _latex_tightness(f: Formula) -> int:
    if f.kind == "div" and not f.data:
        return JUX if f.rank else POW  # a fraction bar holds its parts together
    if f.kind == "sqrt":
        return POW
    if f.kind == "mul":
        last = _latex_tightness(f.args[-1])
        return TERM if last == TERM else JUX
    if f.kind == "number" and "e" in f.data:
        return JUX
    return tightness(f)


def _latex_needed(f: Formula, position: int) -> int:
    if f.kind == "sqrt" or (f.kind == "div" and not f.data):
        return COND
    if f.kind == "mul" and f.args[position].kind == "number":
        return COND
    return needed(f, position)


def _parenthesised(text: str, wanted: bool) -> str:
    return rf"\left({text}\right)" if wanted else text


def to_latex(f: Formula) -> str:
    """The formula in LaTeX, for math mode."""
    sub = [
        _parenthesised(to_latex(a), _latex_tightness(a) < _latex_needed(f, k))
        for k, a in enumerate(f.args)
    ]
    data = f.data
    match f.kind:
        case "symbol":
            return data[1]
        case "number":
            return latex_number(data)
        case "part":
            return data.latex
        case "ones":
            return r"\mathbf{1}"
        case "eye":
            return "I" if data is None else f"I_{{{data}}}"
        case "neg":
            return "-" + sub[0]
        case "sum":
            return _terms(sub).replace(" − ", " - ")
        case "mul":
            return _juxtaposed(f, sub, r"\cdot")
        case "mat":
            return r" ".join(sub)
        case "had":
            return r" \odot ".join(sub)
        case "div":
            return rf"{sub[0]} \oslash {sub[1]}" if data else rf"\frac{{{sub[0]}}}{{{sub[1]}}}"
        case "T":
            return sub[0] + r"^{\top}"
        case "inverse":
            return sub[0] + (r"^{-\top}" if data else "^{-1}")
        case "diag":
            return rf"\operatorname{{diag}}\left({sub[0]}\right)"
        case "pow":
            return f"{sub[0]}^{{{chr(92) + 'odot ' if f.rank > 1 else ''}{sub[1]}}}"
        case "sqrt":
            return rf"\sqrt{{{sub[0]}}}"
        case "call":
            return rf"{data[1]}\left({', '.join(sub)}\right)"
        case "wrap":
            return data[2] + sub[0] + data[3]
        case "infix":
            return f" {data[1]} ".join(sub)
        case "index":
            base = sub[0] if re.fullmatch(r"[A-Za-z]", sub[0]) else f"{{{sub[0]}}}"
            return f"{base}_{{{latex_index(data)}}}"
        case "gather":
            return f"{{{sub[0]}}}_{{{':, ' * data}{sub[1]}}}"
        case "stack":
            return r"\begin{bmatrix} " + r" \\ ".join(_ends(sub, r"\vdots")) + r" \end{bmatrix}"
        case "list":
            return r"\left[" + ", ".join(sub) + r"\right]"
        case "cases":
            pairs = [rf"{v} & \text{{if }} {c}" for v, c in zip(sub[::2], sub[1::2], strict=False)]
            pairs.append(sub[-1] + r" & \text{otherwise}")
            return r"\begin{cases} " + r" \\ ".join(pairs) + r" \end{cases}"
        case "sigma":
            summed, terms = data
            parts = [
                s if not t else (s if len(s) == 1 else f"{{{s}}}") + f"_{{{' '.join(t)}}}"
                for s, t in zip(sub, terms, strict=True)
            ]
            sign = rf"\sum_{{{' '.join(summed)}}} " if summed else ""
            return sign + r" \, ".join(parts)
    raise AssertionError(f.kind)


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
    return text if re.fullmatch(r"[0-9a-zA-Z:, +−-]*", text) else "".join(
        _latex_character(ch) for ch in text.replace("−", "-")
    )  # fmt: skip
