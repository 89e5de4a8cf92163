"""Sums, products and powers of formulas in the form in which a person would write them.

The constructors keep signs in front, flatten products and drop factors that say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np

from symgrad.inspect.formula import Formula, turned, weight
from symgrad.inspect.naming import short_number


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
        flat.sort(
            key=lambda t: (_unsigned(t)[1].kind == "number", -weight(t), -_degree(t), turned(t))
        )
        if len(flat) == 2 and flat[1].kind == "number" and flat[0].kind in ("call", "pow"):
            flat.reverse()  # 1 + exp(x), but x + 1
    first = next((k for k, t in enumerate(flat) if t.kind != "neg"), 0)
    flat.insert(0, flat.pop(first))
    if any(_body(t).kind != "eye" for t in flat):  # the size of I is clear from the other terms
        flat = [_bare_eye(t) for t in flat]
    return Formula("sum", tuple(flat), None, max(t.rank for t in flat))


def _degree(f: Formula) -> int:
    """Of a term of a polynomial of numbers: 4 x⁴ stands before 5 x²."""
    if f.rank:
        return 0
    match f.kind:
        case "neg":
            return _degree(f.args[0])
        case "mul" | "had":
            return sum(map(_degree, f.args))
        case "pow":
            n = f.args[1]
            return int(n.data) if n.kind == "number" and n.data.isdigit() else 0
    return int(f.kind in ("symbol", "part", "call"))


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
    while f.kind in ("neg", "mul", "div"):
        f = f.args[0] if f.kind == "div" else f.args[-1]
    return f


def is_diagonal(f: Formula) -> bool:
    """Whether a term is a multiple of I or of a diag(x)."""
    return _body(f).kind in ("eye", "diag")


def _bare_eye(f: Formula) -> Formula:
    if f.kind == "eye":
        bare = Formula("eye", (), None, 2)
        bare.owner = f.data if f.data is not None else f.owner
        return bare
    if f.kind in ("neg", "mul"):
        last = _bare_eye(f.args[-1])
        return f if last is f.args[-1] else Formula(f.kind, (*f.args[:-1], last), f.data, f.rank)
    if f.kind == "div":
        return Formula(f.kind, (_bare_eye(f.args[0]), f.args[1]), f.data, f.rank)
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


def _is_root(f: Formula) -> bool:
    """Whether it is √3: that stands before letters."""
    return f.kind == "sqrt" and f.args[0].kind == "number"


def _join(negative: bool, scalars: list[Formula], body: Formula | None) -> Formula:
    scalars = [s for s in scalars if not is_number(s, "1")]
    scalars.sort(key=lambda s: (s.kind != "number", not _is_root(s),
                                s.kind not in ("symbol", "part"), weight(s)))  # fmt: skip
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
    half = len(kept) // 2
    if rank == 0 and half and len(kept) == 2 * half and _mirrored(kept[:half], kept[half:]):
        body = squared_norm(kept[1] if half == 1 else Formula("mat", tuple(kept[half:]), None, 1))
    if rank == 0 and body.kind == "mat":  # a product of sums' name: a scalar holds together
        body.rank = 0
    return _join(negative, scalars, body)


def _mirrored(left: list[Formula], right: list[Formula]) -> bool:
    """Whether a product is the transpose of another: xᵀ Aᵀ beside A x."""
    return right[-1].rank == 1 and all(
        transpose(a).same(b) for a, b in zip(reversed(left), right, strict=True)
    )


def squared_norm(f: Formula) -> Formula:
    """‖f‖²."""
    return power(norm(f), Formula("number", (), "2"), 0)


def norm(f: Formula) -> Formula:
    """‖f‖, with the F of Frobenius for matrices."""
    f = _unsigned(f)[1]
    text, latex = ("‖_F", r"\right\rVert_{F}") if f.rank == 2 else ("‖", r"\right\rVert")
    return Formula("wrap", (f,), ("‖", text, r"\left\lVert ", latex))


_TRIANGLES = {
    "tril": ("triu", r"\operatorname{triu}"), "triu": ("tril", r"\operatorname{tril}"),
}  # fmt: skip


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
        case "inverse" if transpose(f.args[0]).same(f.args[0]):
            return f
        case "inverse":
            return Formula("inverse", f.args, None if f.data else "T", 2)
        case "call" if f.data[0] in _TRIANGLES:
            return Formula("call", (transpose(f.args[0]),), _TRIANGLES[f.data[0]], 2)
        case "kron":
            return Formula("kron", tuple(transpose(a) for a in f.args), None, 2)
        case "sum" if f.rank == 2 and _is_symmetric(f):
            return f
        case "sum" if all(_body(t).kind in ("eye", "diag", "mat", "T") for t in f.args):
            return Formula("sum", tuple(transpose(t) for t in f.args), None, f.rank)
    return Formula("T", (f,), None, f.rank)


def _is_symmetric(f: Formula) -> bool:
    """Whether the terms of a sum are those of its transpose, in any order."""
    left = [transpose(t) for t in f.args]
    for t in f.args:
        found = next((k for k, other in enumerate(left) if other.same(t)), None)
        if found is None:
            return False
        del left[found]
    return True


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
