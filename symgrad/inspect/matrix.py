"""Matrix notation, in Unicode and in LaTeX: what a mathematician would write for a graph.

In: argument nodes and output nodes. Out: one line per output and `where` lines for what is used
twice, is large, or nests deeply. Vectors are columns, ⊙ is the elementwise product, 1 the vector of
ones; what has no matrix notation is written with indices, so every graph prints. Nothing else in
the package depends on the text.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from symgrad.expr.node import ARG, ARRAY, CONST, EYE, Expr, const_value
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort, users
from symgrad.inspect import algebra as F
from symgrad.inspect.elementwise import calls
from symgrad.inspect.formula import (
    ATOM,
    Formula,
    extent,
    nesting,
    tightness,
    to_latex,
    to_text,
    weight,
)
from symgrad.inspect.naming import control_names, latex_name, plain_name
from symgrad.inspect.spelling import MAKERS

NAME_FROM = 3  # a subexpression used twice gets a name if it has at least this many leaves
LINES = 60  # definitions that are shown, if no other limit is given
LARGEST = 40  # and any subexpression of more
DEEPEST = 2  # and function calls inside more parentheses than this

_HINTS = {"sigmoid": "p", "softmax": "p", "exp": "e", "subtract": "r", "norm": "q"}
_POOLS = {0: "stcqh", 1: "zuvrqhg", 2: "MNPQS", 3: "TUVW"}


class Part:
    """A named subexpression: a `where` line."""

    __slots__ = ("node", "formula", "labels", "hint", "text", "latex")

    def __init__(self, node: Expr, body: Formula, hint: str, labels: tuple[str, ...] = ()) -> None:
        self.node, self.formula, self.hint, self.labels = node, body, hint, labels
        self.text = self.latex = "?"


class Notation:
    """Formulas of all `outs`, bottom-up, cut into parts."""

    def __init__(
        self, args: Sequence[Expr], outs: Sequence[Expr], arg_names: Sequence[str] | None
    ) -> None:
        self.nodes = toposort(outs)
        self.position = {n: k for k, n in enumerate(self.nodes)}
        self.users = {n: len(u) for n, u in users(self.nodes).items()}
        for o in outs:
            self.users[o] += 1
        self.names = argument_names(args, self.nodes, arg_names)
        self.largest = LARGEST if len(self.nodes) < 5000 else 8
        self.known: dict[Expr, Formula] = {}
        self.parts: list[Part] = []
        for node in self.nodes:
            self.known[node] = self._finish(node, self._make(node))
        self.outs = [self.full(o) for o in outs]

    # ---- cutting -----------------------------------------------------------------------------

    def _finish(self, node: Expr, f: Formula) -> Formula:
        if f.kind in ("symbol", "number", "part", "ones", "eye"):
            return f
        size = weight(f)
        large = size > self.largest or extent(f) > 4 * self.largest
        if large or (self.users[node] > 1 and size >= NAME_FROM):
            return self.cut(f, node)
        if f.owner is None:
            f.owner = node
        if nesting(f) > DEEPEST:
            inner = self._deep_call(f)
            if inner is not None:
                self.cut(inner, inner.owner)
        return f

    def _deep_call(self, f: Formula) -> Formula | None:
        for a in f.args:
            if a.kind == "call" and a.owner is not None and nesting(a) >= DEEPEST:
                return a
            found = self._deep_call(a)
            if found is not None:
                return found
        return None

    def cut(self, f: Formula, node: Expr, hint: str = "", labels: tuple[str, ...] = ()) -> Formula:
        """Turn `f`, in place, into the name of a new part that holds what it was."""
        body = Formula(f.kind, f.args, f.data, f.rank)
        part = Part(node, body, hint or _HINTS.get(node.name, ""), labels)
        f.kind, f.args, f.data = "part", (), part
        self.parts.append(part)
        return f

    def nameable(self, f: Formula, node: Expr) -> Formula:
        """`f` if it is a name, else a new name for it."""
        return f if f.kind in ("symbol", "part") else self.cut(f, node)

    # ---- formulas of nodes -------------------------------------------------------------------

    def full(self, node: Expr) -> Formula:
        """The formula of a node that stands alone: a repeated scalar shows its shape."""
        f = self.known[node]
        if f.rank or not 1 <= node.ndim <= 2 or F.is_number(f, "0"):
            return f
        body = [F.ones(node.shape[0])]
        if node.ndim == 2:
            body.append(F.transpose(F.ones(node.shape[1])))
        return F.matmul([f, *body], node.ndim)

    def _make(self, node: Expr) -> Formula:
        row = node.op
        if row is ARG:
            name = self.names[node]
            return F.symbol(plain_name(name), latex_name(name), node.ndim)
        if row is CONST:
            return F.number(const_value(node))
        if row is EYE:
            return Formula("eye", (), node.attrs[0], 2)
        if row is ARRAY:
            return self._array(node)
        if row.kind is Kind.CONTROL:
            return F.symbol(node.name, rf"\operatorname{{{node.name}}}")
        if row.kind is Kind.ITEM:
            return self._result(node)
        maker = MAKERS.get(node.name)
        if maker is not None:
            f = maker(self, node)
            if f is not None:
                return f
        return self._plain(node)

    def _plain(self, node: Expr) -> Formula:
        """name(arguments, attribute=value)."""
        elementwise = node.op.kind is Kind.ELEMENTWISE
        get = self.known.__getitem__ if elementwise else self.full
        args = [get(a) for a in node.args]
        for key, value in zip(node.op.attr_names, node.attrs, strict=False):
            text = str(value).replace(" ", "")
            if value is not False and not (node.op.kind is Kind.SCAN and value == 0):
                word = f"{key}={text}"
                args.append(F.symbol(word, latex_name(word)))
        rank = max([f.rank for f in args], default=0) if elementwise else node.ndim
        return F.call(*calls(node.name), args, rank)

    def _result(self, item: Expr) -> Formula:
        """scan(operands, rounds=4, result=s1): a loop has no formula, a name has to do."""
        node = item.args[0]
        args = [self.full(a) for a in node.args]
        words = []
        if node.op.rounds is not None and node.op.rounds(node.attrs) is not None:
            words.append(f"rounds={node.op.rounds(node.attrs)}")
        words.append(f"result={control_names(node)[1][item.attrs[0]]}")
        args += [F.symbol(word, latex_name(word)) for word in words]
        return F.call(node.name, rf"\operatorname{{{node.name}}}", args, item.ndim)

    def _array(self, node: Expr) -> Formula:
        values = node.attrs[0].array
        if node.ndim == 1 and values.size <= 4:
            return Formula("list", tuple(F.number(v) for v in values), None, 1)
        shape = " × ".join(map(str, node.shape))
        text = f"captured {node.dtype} array of shape {shape}"
        body = F.symbol(text, rf"\text{{{text.replace('×', 'x')}}}", node.ndim)
        return self.cut(body, node, "C")

    def letters(self, count: int, pool: str) -> list[str]:
        """Index names that are no argument's name."""
        taken = set(self.names.values())
        free = [ch for ch in pool if ch not in taken]
        free += [f"{ch}{n}" for n in range(1, 10) for ch in pool]
        return free[:count]

    def indexed(
        self, node: Expr, factors: Sequence[tuple[Expr, Sequence[int]]], output: Sequence[int],
    ) -> Formula:  # fmt: skip
        """Index notation: Σ over labels that `output` lacks of the product of `factors`."""
        labels = list(dict.fromkeys(k for _, ls in factors for k in ls))
        summed = [k for k in labels if k not in output]
        letter = dict(zip(output, self.letters(len(output), "ijklabcdefgh"), strict=True))
        letter |= dict(zip(summed, self.letters(len(summed), "nmprstuvqwxyz"), strict=True))
        formulas: list[Formula] = []
        terms: list[tuple[str, ...]] = []
        for f_node, ls in factors:
            f = self.known[f_node]
            if f_node.op is EYE:
                f = F.symbol("δ", r"\delta", 2)
            elif f.rank or tightness(f) < ATOM:
                f = self.nameable(f, f_node)
            formulas.append(f)
            terms.append(tuple(letter[k] for k in ls) if f.rank else ())
        sigma = Formula("sigma", tuple(formulas), (tuple(letter[k] for k in summed), tuple(terms)))
        if not output:
            return sigma
        sigma.rank = node.ndim
        return self.cut(sigma, node, "", tuple(letter[k] for k in output))


def argument_names(
    args: Sequence[Expr], nodes: Sequence[Expr], given: Sequence[str] | None
) -> dict[Expr, str]:
    """A name for every argument node: the given one, its own, else x0, x1, …; all different."""
    listed = set(args)
    known = list(args) + [n for n in nodes if n.op is ARG and n not in listed]
    result: dict[Expr, str] = {}
    taken: set[str] = set()
    for k, node in enumerate(known):
        name = given[k] if given is not None and k < len(given) else node.attr("name")
        name = name or f"x{k}"
        if name in taken:
            name = next(c for n in itertools.count(1) if (c := f"{name}_{n}") not in taken)
        taken.add(name)
        result[node] = name
    return result


# ---- the public functions ----------------------------------------------------------------------


def matrix_text(
    args: Sequence[Expr],
    outs: Sequence[Expr],
    arg_names: Sequence[str] | None = None,
    out_names: Sequence[str] | None = None,
    name: str = "f",
    limit: int = LINES,
) -> str:
    """`outs` in matrix notation, one line each, then `where` lines, at most `limit` of them."""
    lines, parts = layout(args, outs, arg_names, out_names, name)
    text = [f"{left(p, plain_name(n), ',')} = {to_text(f)}" for n, f, p in lines]
    definitions = [left(p, p.text, ",") + " = " + to_text(p.formula) for p in parts]
    for k, line in enumerate(_elide(definitions, limit)):
        text.append(("  where " if k == 0 else "        ") + line)
    return "\n".join(text)


def matrix_latex(
    args: Sequence[Expr],
    outs: Sequence[Expr],
    arg_names: Sequence[str] | None = None,
    out_names: Sequence[str] | None = None,
    name: str = "f",
    limit: int = LINES,
) -> str:
    """The same for LaTeX's math mode: an `aligned` block, or one equation without parts."""
    lines, parts = layout(args, outs, arg_names, out_names, name)
    sides = [left(p, latex_name(n), " ", "_{", "}") for n, _, p in lines]
    right = [to_latex(f) for _, f, _ in lines]
    if len(lines) == 1 and not parts:
        return f"{sides[0]} = {right[0]}"
    rows = [f"{a} &= {b}" for a, b in zip(sides, right, strict=True)]
    definitions = [left(p, p.latex, " ", "_{", "}") + " &= " + to_latex(p.formula) for p in parts]
    for k, line in enumerate(_elide(definitions, limit, r"& \text{{{}}}")):
        rows.append((r"\text{where}\quad " if k == 0 else "") + line)
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def left(part: Any, name: str, comma: str, opening: str = "[", closing: str = "]") -> str:
    """A name with the index letters of what it is defined by, if there are any."""
    if part is None or not part.labels:
        return name
    return (
        (f"{{{name}}}" if opening == "_{" else name) + opening + comma.join(part.labels) + closing
    )


def _elide(lines: list[str], limit: int, spelling: str = "{}") -> list[str]:
    if len(lines) <= limit:
        return lines
    head = max(limit * 2 // 3, 1)
    tail = max(limit - head - 1, 0)
    gone = spelling.format(f"… {len(lines) - head - tail} definitions left out …")
    return [*lines[:head], gone, *lines[len(lines) - tail :]]


def layout(
    args: Sequence[Expr],
    outs: Sequence[Expr],
    arg_names: Sequence[str] | None,
    out_names: Sequence[str] | None,
    name: str,
) -> tuple[list[tuple[str, Formula, Part | None]], list[Part]]:
    """Lines of the outputs, and the parts for `where`; an output that is a part defines it."""
    notation = Notation(args, outs, arg_names)
    given = list(out_names or ([name] if len(outs) == 1 else []))
    given += [f"{name}[{k}]" for k in range(len(given), len(outs))]
    lines: list[tuple[str, Formula, Part | None]] = []
    shown: set[Part] = set()
    for out_name, f in zip(given, notation.outs, strict=True):
        part = f.data if f.kind == "part" and f.data not in shown else None
        if part is not None:
            shown.add(part)
            part.text, part.latex = plain_name(out_name), latex_name(out_name)
            f = part.formula
        lines.append((out_name, f, part))
    parts = [p for p in _reachable(notation) if p not in shown]
    name_parts(parts, set(notation.names.values()) | set(given))
    return lines, parts


def _reachable(notation: Notation) -> list[Part]:
    """The parts that the outputs need, users before what they use."""
    found: dict[Part, None] = {}
    stack = list(notation.outs)
    while stack:
        f = stack.pop()
        if f.kind == "part" and f.data not in found:
            found[f.data] = None
            stack.append(f.data.formula)
        stack.extend(f.args)
    order = {p: k for k, p in enumerate(notation.parts)}
    return sorted(found, key=lambda p: (-notation.position[p.node], -order[p]))


def name_parts(parts: Sequence[Any], taken: set[str]) -> None:
    """Give parts names that are free, by hint and by rank."""
    counters: dict[str, int] = {}
    taken |= {part.text for part in parts}
    for part in parts:
        if not part.text.startswith("?"):
            continue
        pool = _POOLS[min(part.formula.rank, 3)]
        hints = [part.hint] if part.hint else []
        for ch in [*hints, *pool]:
            if ch not in taken and part.hint != "C":  # captured arrays are C1, C2, …
                part.text = ch
                break
        else:
            base = hints[0] if hints else pool[0]
            while True:
                counters[base] = counters.get(base, 0) + 1
                part.text = f"{base}{counters[base]}"
                if part.text not in taken:
                    break
        taken.add(part.text)
        part.latex = latex_name(part.text)
