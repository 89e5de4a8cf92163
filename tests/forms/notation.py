"""The value of a formula as it is printed: reads the text, knows nothing of symgrad's trees.

Vectors are columns, so that juxtaposition is the product of matrices; the vector of ones has no
size of its own and broadcasts. Lines with index letters are evaluated element by element.
"""

from __future__ import annotations

import itertools
import re

import numpy as np
from scipy import special

_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<number>\d+\.\d*(?:e[-−]?\d+)?|\d+(?:e[-−]?\d+)?|[½⅓⅔¼¾⅕⅙⅛])"
    r"|(?P<word>if|else|for)\b|(?P<sum>Σ)(?P<letters>[ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ]+)"
    r"|(?P<name>[A-Za-z\u0370-\u03ff][A-Za-z0-9_\u0370-\u03ff₀-₉]*(?:⁽[⁰¹²³⁴⁵⁶⁷⁸⁹]+⁾)?)|(?P<power>⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+|⁻ᵀ|ᵀ)|(?P<sign>.)"
)
_SMALL = dict(zip("ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "aehijklmnoprstuvx", strict=True))
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_LOW = "₀₁₂₃₄₅₆₇₈₉"
_FRACTIONS = {"½": 1 / 2, "⅓": 1 / 3, "⅔": 2 / 3, "¼": 1 / 4, "¾": 3 / 4, "⅕": 0.2, "⅙": 1 / 6,
              "⅛": 1 / 8}  # fmt: skip
_COMPARE = {"<": np.less, ">": np.greater, "≤": np.less_equal, "≥": np.greater_equal,
            "=": np.equal, "≠": np.not_equal}  # fmt: skip


class Unreadable(Exception):
    """Text that this grammar does not have."""


def _softmax(z, axis=None):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _diag(v):
    return np.diag(v.ravel()) if v.shape[1] == 1 else np.diag(v).reshape(-1, 1)


def _extreme(f):
    return lambda *v: f.reduce(np.broadcast_arrays(*v)) if len(v) > 1 else f.reduce(v[0], axis=None)


FUNCTIONS = {
    **{n: getattr(np, n) for n in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "log",
                                   "sign", "clip", "tril", "triu", "cbrt", "arctan", "arcsin",
                                   "arctan2", "arcsinh", "any")},
    "σ": special.expit, "Φ": special.ndtr, "φ": lambda x: np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
    "ψ": special.digamma, "Γ": special.gamma, "erf": special.erf, "erfc": special.erfc,
    "tr": np.trace, "det": np.linalg.det, "diag": _diag, "softmax": _softmax,
    "log_ndtr": special.log_ndtr, "sech": lambda x: 1 / np.cosh(x), "erfcx": special.erfcx,
    "logsumexp": lambda z, axis=None: special.logsumexp(z, axis=axis, keepdims=axis is not None),
    "vec": lambda a: a.T.reshape(-1, 1), "max": _extreme(np.maximum), "min": _extreme(np.minimum),
    "cof": lambda a: np.linalg.det(a) * np.linalg.inv(a).T, "log₂": np.log2, "log₁₀": np.log10,
    "softplus": lambda x: np.logaddexp(0, x), "logit": special.logit,
    "sum": lambda a, axis=None: np.sum(a, axis=axis, keepdims=axis is not None),
    "prod": lambda a, axis=None: np.prod(a, axis=axis, keepdims=axis is not None),
    "kron": np.kron, "chol": np.linalg.cholesky, "lower": np.tril, "upper": np.triu,
    "cumsum": lambda a, axis=0, reverse=False: (
        np.flip(np.cumsum(np.flip(a, axis), axis), axis) if reverse else np.cumsum(a, axis)),
}  # fmt: skip


class _Tokens:
    """(kind, text, whether a space stands before it)."""

    def __init__(self, text):
        self.items, self.at, space = [], 0, True
        for found in _TOKEN.finditer(text):
            kind = "sum" if found["sum"] else found.lastgroup
            if kind == "space":
                space = True
                continue
            value = found["letters"] if kind == "sum" else found.group()
            self.items.append((kind, value, space))
            space = False
        self.items.append(("end", "", True))

    def peek(self):
        return self.items[min(self.at, len(self.items) - 1)]

    def take(self, text=None):
        item = self.peek()
        if text is not None and item[1] != text:
            raise Unreadable(f"{item[1]!r} where {text!r} should stand")
        self.at += 1
        return item

    def have(self, *texts):
        if self.peek()[1] in texts and self.peek()[0] in ("sign", "word", "name"):
            return self.take()[1]
        return None


# ---- parsing: tuples (kind, …) -----------------------------------------------------------------


def parse(text):
    """The tree of one right-hand side."""
    t = _Tokens(text)
    tree = _comparison(t)
    if t.peek()[0] != "end":
        raise Unreadable(f"{t.peek()[1]!r} in {text}")
    return tree


def _comparison(t):
    tree = _sum(t)
    while True:
        if sign := t.have(*_COMPARE):
            tree = ("compare", sign, tree, _sum(t))
        elif sign := t.have("∧", "∨"):
            tree = ("logic", sign, tree, _comparison(t))
        else:
            return tree


def _sum(t):
    terms = [("neg", _term(t)) if t.have("−", "-") else _term(t)]
    while sign := t.have("+", "−", "-"):
        term = _term(t)
        terms.append(term if sign == "+" else ("neg", term))
    return terms[0] if len(terms) == 1 else ("sum", terms)


def _term(t):
    tree = _chain(t)
    while sign := t.have("⊙", "⊘", "/", "⊗"):
        tree = (sign, tree, _chain(t))
    return tree


def _starts_factor(t):
    kind, text, space = t.peek()
    if kind in ("number", "name", "sum"):
        return True
    return kind == "sign" and (text in "(√{⌊⌈‖|" or (text == "[" and space)) and space


def _chain(t):
    if t.peek()[0] == "sum":
        letters = [_SMALL[ch] for ch in t.take()[1]]
        return ("sigma", letters, _term(t))
    factors = [_factor(t)]
    while t.have("·") or _starts_factor(t):
        if t.peek()[0] == "sum":
            factors.append(_chain(t))
            break
        factors.append(_factor(t))
    return factors[0] if len(factors) == 1 else ("chain", factors)


def _factor(t):
    if t.have("√"):
        return ("√", _factor_without_power(t))
    return _postfix(t, _atom(t))


def _factor_without_power(t):
    return _postfix(t, _atom(t)) if t.peek()[1] != "√" else _factor(t)


def _postfix(t, tree):
    while True:
        kind, text, space = t.peek()
        if kind == "power":
            t.take()
            if text == "ᵀ":
                tree = ("T", tree)
            elif text == "⁻ᵀ":
                tree = ("T", ("inverse", tree))
            elif text == "⁻¹":
                tree = ("inverse", tree)
            else:
                tree = ("pow", tree, ("number", float(text.translate(_RAISED)), text))
        elif text == "^":
            t.take()
            t.have("⊙")
            tree = ("pow", tree, ("neg", _atom(t)) if t.have("−") else _atom(t))
        elif text == "[" and not space:
            tree = ("index", tree, _index(t))
        else:
            return tree


def _index(t):
    t.take("[")
    text, depth = "", 1
    while depth:
        kind, piece, _ = t.take()
        if kind == "end":
            raise Unreadable("an open bracket")
        depth += (piece == "[") - (piece == "]")
        text += piece if depth else ""
    return text.replace("−", "-").split(",")


def _atom(t):
    kind, text, _ = t.take()
    if kind == "end":
        raise Unreadable("the end")
    if text == "0" and t.peek()[0] == "sign" and t.peek()[1] in _LOW and not t.peek()[2]:
        digits = ""
        while t.peek()[1] in _LOW and t.peek()[1]:
            digits += str(_LOW.index(t.take()[1]))
        return ("zeros", int(digits))
    if kind == "number":
        return ("number", _FRACTIONS.get(text) or float(text.replace("−", "-")), text)
    if kind == "name":
        if t.peek()[1] == "(" and not t.peek()[2]:
            return ("call", text, _arguments(t))
        return ("name", text)
    if text == "(":
        tree = _comparison(t)
        t.take(")")
        return tree
    if text == "|":
        tree = _sum(t)
        t.take("|")
        return ("abs", tree)
    if text == "‖":
        tree = _sum(t)
        t.take("‖")
        if t.peek()[1] == "_" and not t.peek()[2]:
            t.take()
            t.take("F")
        return ("norm", tree)
    if text in "⌊⌈":
        tree = _sum(t)
        t.take()
        return ("floor" if text == "⌊" else "ceil", tree)
    if text == "{":
        cases = []
        while not t.have("else"):
            value = _sum(t)
            t.take("if")
            cases.append((value, _comparison(t)))
            t.take(",")
        cases.append((_sum(t), None))
        t.take("}")
        return ("cases", cases)
    if text == "[":
        items = [_comparison(t)]
        while t.have(";", ","):
            items.append(_comparison(t))
        t.take("]")
        return ("iverson", items[0]) if items[0][0] == "compare" else ("stack", items)
    raise Unreadable(f"{text!r}")


def _arguments(t):
    t.take("(")
    found, named = [], {}
    while True:
        if t.peek()[0] == "name" and t.items[t.at + 1][1] == "=":
            key = t.take()[1]
            t.take("=")
            word = t.take()[1]
            named[key] = word == "True" if word in ("True", "False") else int(word)
        else:
            found.append(_comparison(t))
        if not t.have(","):
            break
    t.take(")")
    return found, named


# ---- evaluation --------------------------------------------------------------------------------


def column(v):
    v = np.asarray(v)
    return v.reshape(-1, 1) if v.ndim == 1 else v


def _is_one(tree):
    return tree[0] == "number" and tree[2] == "1"


def _is_eye(tree):
    while tree[0] in ("neg", "chain", "/"):
        tree = tree[1][-1] if tree[0] == "chain" else tree[1]
    return tree == ("name", "I")


def _is_of_matrices(tree):
    """Whether a term can only be a matrix as a whole, not an array of numbers."""
    while tree[0] in ("neg", "/"):
        tree = tree[1]
    if tree[0] == "call":
        return tree[1] == "diag" and tree[2][0][0][:2] != ("call", "diag")
    if tree[0] == "chain":
        return any(map(_is_of_matrices, tree[1]))
    return tree[0] == "name" and tree[1].startswith("I")


class Reader:
    """Values of names, and of formulas made of them."""

    def __init__(self, values):
        self.values = {k: column(v) for k, v in values.items()}
        self.memo = {}
        self.parts = {}

    def value(self, tree, shape=None):
        """In matrix notation; `shape` is what an I without a size has to fit."""
        kind = tree[0]
        if kind == "number":
            return np.float64(tree[1])
        if kind == "name":
            return self._name(tree[1], shape)
        if kind == "neg":
            return -self.value(tree[1], shape)
        if kind == "sum":
            known = [None if _is_eye(x) else self.value(x, shape) for x in tree[1]]
            fits = next((v.shape for v in known if v is not None and v.ndim == 2
                         and v.shape[0] == v.shape[1] > 1), shape)  # fmt: skip
            known = [self.value(x, fits) if v is None else v
                     for x, v in zip(tree[1], known, strict=True)]  # fmt: skip
            if any(np.ndim(v) == 0 for v in known) and any(map(_is_of_matrices, tree[1])):
                raise Unreadable("a number beside a matrix")
            return sum(known[1:], known[0])
        if kind == "chain":
            return self._chain(tree[1], shape)
        if kind == "⊙":
            return self.value(tree[1], shape) * self.value(tree[2], shape)
        if kind == "⊗":
            return np.kron(self.value(tree[1]), self.value(tree[2]))
        if kind in ("⊘", "/"):
            bottom = self.value(tree[2], shape)
            if kind == "/" and bottom.size != 1:
                raise Unreadable("/ by an array")
            return self.value(tree[1], shape) / (bottom if kind == "⊘" else bottom.item())
        if kind == "T":
            return (
                ("row of ones",) if _is_one(tree[1]) else np.asarray(self.value(tree[1], shape)).T
            )
        if kind == "inverse":
            v = self.value(tree[1], shape)
            return np.linalg.inv(v) if v.ndim == 2 and v.size > 1 else 1 / v
        if kind == "pow":
            base, exponent = self.value(tree[1], shape), self.value(tree[2], shape)
            return base**exponent
        if kind == "√":
            return np.sqrt(self.value(tree[1], shape))
        if kind == "abs":
            return np.abs(self.value(tree[1], shape))
        if kind == "norm":
            return np.float64(np.sqrt((self.value(tree[1], shape) ** 2).sum()))
        if kind in ("floor", "ceil"):
            return getattr(np, kind)(self.value(tree[1], shape))
        if kind == "compare":
            return _COMPARE[tree[1]](self.value(tree[2], shape), self.value(tree[3], shape))
        if kind == "logic":
            f = np.logical_and if tree[1] == "∧" else np.logical_or
            return f(self.value(tree[2], shape), self.value(tree[3], shape))
        if kind == "iverson":
            return np.float64(self.value(tree[1], shape))
        if kind == "cases":
            result = self.value(tree[1][-1][0], shape)
            for value, condition in reversed(tree[1][:-1]):
                result = np.where(self.value(condition, shape), self.value(value, shape), result)
            return result
        if kind == "zeros":
            return np.zeros((tree[1], 1))
        if kind == "stack":
            return np.concatenate([np.atleast_2d(self.value(x, shape)) for x in tree[1]])
        if kind == "call":
            given, named = tree[2]
            if tree[1].startswith("ψ⁽"):
                order = int(tree[1][2:-1].translate(_RAISED))
                return special.polygamma(order, self.value(given[0], shape))
            if tree[1] not in FUNCTIONS:
                raise Unreadable(f"the function {tree[1]}")
            return np.asarray(FUNCTIONS[tree[1]](*[self.value(x, shape) for x in given], **named))
        if kind == "index":
            base = self.value(tree[1])
            if base.ndim == 2 and base.shape[1] == 1 and len(tree[2]) == 1:
                base = base[:, 0]
            parts = []
            for piece in tree[2]:
                ends = [int(n) if n.strip() else None for n in piece.split(":")]
                parts.append(ends[0] if len(ends) == 1 else slice(*ends))
            return column(base[tuple(parts)])
        if kind == "sigma":
            return np.float64(self.element(tree, {}))
        raise Unreadable(kind)

    def _name(self, name, shape):
        if name in self.values:
            return self.values[name]
        if name in self.parts:
            letters, tree, fits = self.parts.pop(name)
            if letters:
                sizes = [self._size(tree, letter) for letter in letters]
                v = _elements(self, [([(name, letters)], tree, "")], sizes)
            else:
                v = self.value(tree, fits)
            self.values[name] = column(v)
            return self.values[name]
        if name == "I":
            if not shape:
                raise Unreadable("I of no size")
            return np.eye(shape[0])
        if re.fullmatch(r"I[₀-₉]+", name):
            return np.eye(int("".join(str("₀₁₂₃₄₅₆₇₈₉".index(ch)) for ch in name[1:])))
        if name == "π":
            return np.float64(np.pi)
        raise Unreadable(f"the name {name}")

    def _chain(self, factors, shape):
        result, ones = np.float64(1), False
        for f in factors:
            if _is_one(f):  # a column of ones, whose size is that of what stands before it
                if ones:
                    raise Unreadable("1ᵀ 1")
                if np.ndim(result) == 2 and result.shape[1] > 1:
                    result = result.sum(axis=1, keepdims=True)
                continue
            v = self.value(f, shape)
            if isinstance(v, tuple):
                ones = True
                continue
            v = np.asarray(v)
            if ones:
                if v.ndim == 0:
                    raise Unreadable("1ᵀ before a number")
                v, ones = v.sum(axis=0, keepdims=True), False
            if np.ndim(result) == 0 or v.ndim == 0:
                result = result * v
            elif result.shape == (1, 1):
                result = result.item() * v
            else:
                result = result @ v
        if np.ndim(result) == 2 and result.shape == (1, 1):
            return np.float64(result.item())
        if ones and np.ndim(result) == 0 and any(map(_is_one, factors)):
            return result * np.ones((1, 1))  # c 1 1ᵀ
        return result

    # ---- elements ------------------------------------------------------------------------------

    def element(self, tree, at):
        """One element; `at` has the value of each letter."""
        kind = tree[0]
        if kind == "index" and any(re.search("[a-z]", piece) for piece in tree[2]):
            where = [eval(piece, {"__builtins__": {}}, dict(at)) for piece in tree[2]]
            if tree[1] == ("name", "δ"):
                return float(where[0] == where[1])
            base = self._base(tree[1], len(where))
            if any(not 0 <= k < n for k, n in zip(where, base.shape, strict=True)):
                raise Unreadable("an index outside")
            return base[tuple(where)]
        if kind == "sigma":
            sizes = [self._size(tree[2], letter) for letter in tree[1]]
            return sum(
                self.element(tree[2], at | dict(zip(tree[1], where, strict=True)))
                for where in itertools.product(*map(range, sizes))
            )
        if kind == "neg":
            return -self.element(tree[1], at)
        if kind in ("sum", "chain"):
            values = [self.element(x, at) for x in tree[1]]
            return sum(values) if kind == "sum" else np.prod(values)
        if kind in ("⊙", "⊘", "/"):
            a, b = self.element(tree[1], at), self.element(tree[2], at)
            return a * b if kind == "⊙" else a / b
        if kind == "pow":
            return self.element(tree[1], at) ** self.element(tree[2], at)
        if kind == "√":
            return np.sqrt(self.element(tree[1], at))
        if kind == "abs":
            return abs(self.element(tree[1], at))
        if kind == "call" and not tree[2][1] and tree[1] not in ("tr", "det", "diag"):
            if tree[1] in FUNCTIONS:
                return FUNCTIONS[tree[1]](*[self.element(x, at) for x in tree[2][0]])
        value = self._base(tree, 0)
        if np.size(value) != 1:
            raise Unreadable("an array without letters")
        return np.asarray(value).item()

    def _base(self, tree, ndim):
        if id(tree) not in self.memo:
            value = np.asarray(self.value(tree))
            self.memo[id(tree)] = tree, value
        value = self.memo[id(tree)][1]
        return value[:, 0] if ndim == 1 and value.ndim == 2 and value.shape[1] == 1 else value

    def _size(self, tree, letter):
        stack = [tree]
        while stack:
            x = stack.pop()
            if isinstance(x, tuple) and x and x[0] == "index" and letter in x[2]:
                if x[1] != ("name", "δ"):
                    return self._base(x[1], len(x[2])).shape[x[2].index(letter)]
            if isinstance(x, (tuple, list)):
                stack.extend(x)
        raise Unreadable(f"the size of {letter}")


def split(text):
    """(patterns on the left, right-hand side, range) of each line of a printed formula.

    A pattern is a name with what stands in brackets, which is empty without brackets.
    """
    lines = []
    for line in text.replace("\n", " ; ").replace("where ", "").split(" ; "):
        if line.strip():
            line, _, limits = line.strip().partition(" for ")
            *left, right = line.split(" = ") if " = " in line else [line]
            while left and not _PATTERN.fullmatch(left[-1].strip()):
                right = left.pop() + " = " + right
            found = [_PATTERN.fullmatch(piece.strip()) for piece in left]
            if not found or None in found:
                raise Unreadable(line)
            patterns = [(m[1], [k.strip() for k in (m[2] or "").split(",") if k.strip()])
                        for m in found]  # fmt: skip
            lines.append((patterns, right, limits))
    return lines


_PATTERN = re.compile(r"([^\W\d_][^\[\]=<>{} ]*)(?:\[([^\]:=]*)\])?")


def evaluated(text, values, shape):
    """The array of that shape that a printed formula with its `where` lines stands for.

    Several lines that start with the name of the first define its elements together; those that
    none defines are 0.
    """
    lines = split(text)
    name = lines[0][0][0][0]
    own = [line for line in lines if line[0][0][0] == name]
    reader = Reader(values)
    for patterns, right, _ in lines:
        if patterns[0][0] != name:
            if patterns[0][0] in reader.parts or patterns[0][0] in values:
                raise Unreadable("a name with several lines")
            reader.parts[patterns[0][0]] = patterns[0][1], parse(right), shape
    if own[0][0][0][1]:
        return _elements(reader, own, shape)
    if len(own) > 1:
        raise Unreadable("a name with several lines")
    v = reader.value(parse(own[0][1]), shape)
    v = np.asarray(1.0 if isinstance(v, tuple) else v)
    if v.size == 1:
        v = v.reshape(())
    elif len(shape) == 1:
        v = v[:, 0]
    return np.broadcast_to(v, shape)


def _elements(reader, lines, shape):
    """Single elements win over diagonals, and these over everything."""
    result = np.zeros(shape)
    order = sorted(lines, key=lambda line: -len(_letters(line[0][0][1])))
    for patterns, right, limits in order:
        tree = parse(right) if isinstance(right, str) else right
        limit = limits.replace("≤", "<=").replace("≥", ">=").replace("≠", "!=")
        for _, pieces in patterns:
            letters = _letters(pieces)
            for values in itertools.product(*[range(max(shape)) for _ in letters]):
                at = dict(zip(letters, values, strict=True))
                where = [eval(p.replace("−", "-"), {"__builtins__": {}}, dict(at)) for p in pieces]
                inside = all(0 <= k < n for k, n in zip(where, shape, strict=True))
                if inside and (not limit or all(
                    eval(c, {"__builtins__": {}}, dict(at)) for c in limit.split(" and ")
                )):  # fmt: skip
                    result[tuple(where)] = reader.element(tree, at)
    return result


def _letters(pieces):
    return sorted(set(re.findall("[a-z]", " ".join(pieces))))
