"""Graphs as Graphviz text."""

from __future__ import annotations

from collections.abc import Sequence

from symgrad.errors import StructureError
from symgrad.expr.node import ARG, CONST, Expr, const_value
from symgrad.expr.op import Kind
from symgrad.expr.walk import toposort
from symgrad.inspect.listing import type_text
from symgrad.inspect.matrix import argument_names
from symgrad.inspect.naming import control_names, plain_name, short_number
from symgrad.ops.body import bodies

_COLOURS = {
    Kind.SOURCE: "#dbe9f6", Kind.ELEMENTWISE: "#ffffff", Kind.LINEAR: "#eeeeee",
    Kind.EINSUM: "#fde5c8", Kind.REDUCE: "#e2f0d9", Kind.SCAN: "#e2f0d9",
    Kind.COMPOSITE: "#f3e1f3", Kind.CALL: "#f3e1f3", Kind.LOWERED: "#ffffff",
    Kind.CONTROL: "#f9d9d9", Kind.ITEM: "#f9d9d9",
}  # fmt: skip


def _quoted(text: str) -> str:
    """A string of the dot language; backslashes would start Graphviz's own escapes."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def to_dot(
    args: Sequence[Expr],
    outs: Sequence[Expr],
    arg_names: Sequence[str] | None = None,
    out_names: Sequence[str] | None = None,
    show: str = "op",
    direction: str = "TB",
    limit: int = 500,
) -> str:
    """The graph in the dot language. `show="shape"` adds types; above `limit` nodes the inputs'
    side is folded into one node.

    Raises
    ------
    StructureError
        `show` or `direction` is none of the known words.
    """
    if show not in ("op", "shape") or direction not in ("TB", "LR", "BT", "RL"):
        raise StructureError(
            f"to_dot: show={show!r}, direction={direction!r}; "
            "show is 'op' or 'shape', direction 'TB', 'LR', 'BT' or 'RL'"
        )
    nodes = toposort(outs)
    names = argument_names(args, nodes, arg_names)
    shown = nodes[max(len(nodes) - limit, 0) :]
    folded = len(nodes) - len(shown)
    number = {n: k for k, n in enumerate(shown)}
    lines = ["digraph {", f"  rankdir={direction};", "  node [shape=box, style=filled];"]
    if folded:
        lines.append(f'  folded [label="… {folded} nodes …", shape=folder, fillcolor="#ffffff"];')
    for node, k in number.items():
        label = _label(node, names)
        if show == "shape":
            label += "\n" + type_text(node)
        outline = ", shape=ellipse" if node.op is ARG else ""
        lines.append(
            f'  n{k} [label={_quoted(label)}, fillcolor="{_COLOURS[node.op.kind]}"{outline}];'
        )
    for node, k in number.items():
        into = dict.fromkeys(f"n{number[a]}" if a in number else "folded" for a in node.args)
        lines += [f"  {source} -> n{k};" for source in into]
    for k, o in enumerate(outs):
        name = out_names[k] if out_names else f"out{k}" if len(outs) > 1 else "out"
        lines.append(f"  out{k} [label={_quoted(plain_name(name))}, shape=plaintext, style=solid];")
        source = f"n{number[o]}" if o in number else "folded"
        lines.append(f"  {source} -> out{k};")
    return "\n".join([*lines, "}"]) + "\n"


def _label(node: Expr, names: dict[Expr, str]) -> str:
    if node.op is ARG:
        return plain_name(names[node])
    if node.op is CONST:
        return short_number(const_value(node))
    if node.name == "einsum":
        inputs, output = node.attrs
        terms = ["".join(f"{k}" if k < 10 else f"({k})" for k in t) for t in (*inputs, output)]
        return f"einsum {','.join(terms[:-1])}->{terms[-1]}"
    if node.op.kind is Kind.CONTROL:
        inside = sum(len(b.nodes) for b in bodies(node))
        rounds = node.op.rounds(node.attrs) if node.op.rounds is not None else None
        often = "" if rounds is None else f" of {rounds} rounds"
        return f"{node.name}{often}\n{inside} nodes inside"
    if node.op.kind is Kind.ITEM:
        return str(control_names(node.args[0])[1][node.attrs[0]])
    return node.name
