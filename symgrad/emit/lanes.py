"""Blocks of lanes: which statements share a loop over the lanes, and what lives between such loops.

In: the records of a body that stands for one point. Out: the same records, each run of simple
statements inside a loop over the lanes of the block. A variable that only one such loop uses stays
a local variable of it; one that several use becomes an array of lanes.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from symgrad.expr.node import Expr
from symgrad.lower.lanes import LANES
from symgrad.lower.scalar import LOAD
from symgrad.lower.statements import Buffer, Loop, Store

_LEAVES = ("declare", "define", "assign")
_TEXT = ("target", "value", "best", "position")


class Lanes:
    """The block that is being spelled: its loop, the name of the lane, and how many there are."""

    def __init__(self, loop: Loop, buffers: dict[int, Buffer], name: str, extent: int) -> None:
        self.loop, self.buffers, self.name, self.extent = loop, buffers, name, extent
        self._moves: dict[Expr, bool] = {}

    def moves(self, expr: Expr) -> bool:
        """Whether a value differs between the lanes."""
        stack = [expr]
        while stack:
            node = stack[-1]
            if node in self._moves:
                stack.pop()
                continue
            missing = [a for a in node.args if a not in self._moves]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            private = node.op is LOAD and self.buffers[node.attrs[0]].lanes > 0
            self._moves[node] = (
                node is self.loop.index or private or any(self._moves[a] for a in node.args)
            )
        return self._moves[expr]

    def apart(self, s: Store) -> bool:
        """Whether no two lanes store to the same element, as far as one can see."""
        # Only additions meet: an element is set once.
        moves = s.op == "=" and any(self.moves(i) for i in s.index)
        return moves or s.buffer.lanes > 0 or any(i is self.loop.index for i in s.index)

    def sums(self, s: Store) -> bool:
        """Whether a store adds all lanes to one element."""
        return (
            s.op == "+"
            and s.buffer.dtype in ("float64", "float32")
            and not s.buffer.lanes
            and not any(self.moves(i) for i in s.index)
        )


def lanes_apart(records: list[dict[str, Any]], lanes: Lanes) -> list[dict[str, Any]]:
    """The records of one block with loops over its lanes; variables between them as arrays."""
    names = _lane_variables(records)
    grouped = _grouped(records, lanes)
    users: dict[str, set[int]] = {}
    for group in _groups(grouped):
        for text in _texts(group):
            for word in re.findall(r"\bt\d+\b|\bs\d+\b", text):
                if word in names:
                    users.setdefault(word, set()).add(id(group))
    arrays = {name for name, groups in users.items() if len(groups) > 1}
    result = _with_arrays(grouped, arrays, lanes)
    for group in _groups(result):
        if group["kind"] == "lane sum":
            _spell_terms(group)
    return result


def _spell_terms(group: dict[str, Any]) -> None:
    """Pairwise sums of the lanes `width` apart, as text that every compiler vectorises."""
    width = group["width"]

    def at(k: int) -> str:
        shifted = f"{group['index']} + {k * width}" if k else group["index"]
        return re.sub(rf"\b{group['index']}\b", shifted, group["value"])

    def tree(low: int, high: int) -> list[str]:
        if high - low == 1:
            plain = all(
                _outside(group["value"], sign) < 0 for sign in (" + ", " - ", " ? ", " < ", " > ")
            )
            return [at(low) if plain else f"({at(low)})"]
        middle = (low + high + 1) // 2
        left, right = tree(low, middle), tree(middle, high)
        left[0], right[-1] = "(" + left[0], right[-1] + ")"
        return [*left[:-1], left[-1] + " +", *right]

    count = group["extent"] // width
    group["terms"] = tree(0, count) if count else []
    group["rest"] = at(count) if group["extent"] % width else ""


def _lane_variables(records: list[dict[str, Any]]) -> set[str]:
    """Local variables that differ between the lanes."""
    found: set[str] = set()
    stack = list(records)
    while stack:
        record = stack.pop()
        if record["kind"] == "declare" and not record["shared"]:
            found.add(record["name"])
        elif record["kind"] == "define":
            found.add(record["target"])
        stack.extend(record.get("body", ()))
    return found


def _grouped(records: list[dict[str, Any]], lanes: Lanes) -> list[dict[str, Any]]:
    """Runs of simple statements put into loops over the lanes."""
    out: list[dict[str, Any]] = []
    run: list[dict[str, Any]] = []

    def flush(simd: bool = True) -> None:
        if run:
            calls = any(r.get("calls") for r in run)
            simd = simd and not any(r.get("scattered") for r in run)
            # compilers would choose between functions of numbers and of vectors
            simd = simd and not (calls and (lanes.extent < LANES or run[0].get("branches")))
            scalar = calls and not simd
            out.append(
                dict(kind="lanes", index=lanes.name, extent=lanes.extent, simd=simd, scalar=scalar,
                     body=[{**r, "scalar": scalar} for r in run])
            )  # fmt: skip
            run.clear()

    def meets(record: dict[str, Any]) -> bool:
        """Whether calls would meet what makes compilers choose between functions."""
        both = [*run, record]
        return any(r.get("calls") for r in both) and any(r.get("uneven") for r in both)

    for record in records:
        if record["kind"] == "declare" and record["shared"]:
            out.append(record)  # the same for all lanes, and needs nothing that a lane computes
        elif record["kind"] in _LEAVES and not record.get("alone"):
            if run and (run[-1]["apart"] != record["apart"] or meets(record)):
                flush()
            run.append(record)
        elif record["kind"] == "loop":
            flush()
            out.append({**record, "body": _grouped(record["body"], lanes)})
        elif record["kind"] in ("lane sum", "turns", "rows"):
            flush()
            out.append(record)
        elif record["kind"] == "inner sum":
            flush()
            run.append(record)
            flush()
        else:  # one that branches would keep its neighbours from being vectorised
            flush()
            run.append(record)
            flush(simd=False)
    flush()
    return out


def _groups(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All loops over lanes, in order, however deep."""
    found: list[dict[str, Any]] = []
    stack = list(reversed(records))
    while stack:
        record = stack.pop()
        if record["kind"] in ("lanes", "lane sum"):
            found.append(record)
        elif record["kind"] == "loop":
            stack.extend(reversed(record["body"]))
    return found


def _texts(group: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for record in group.get("body", [group]):
        if record.get("kind") == "inner sum":
            found.extend(
                text for part in (*record["adds"], *record["before"]) for text in _texts(part)
            )
            continue
        found.extend(record[key] for key in (*_TEXT, "name") if isinstance(record.get(key), str))
    return found


def _with_arrays(
    records: list[dict[str, Any]], arrays: set[str], lanes: Lanes
) -> list[dict[str, Any]]:
    """`arrays` declared in the bodies that compute them, and spelled with a lane."""
    if not arrays:
        return records
    pattern = re.compile(r"\b(" + "|".join(sorted(arrays)) + r")\b")

    def spelled(record: dict[str, Any]) -> dict[str, Any]:
        changed = dict(record)
        for key in ("adds", "before"):
            if key in record:
                changed[key] = [spelled(part) for part in record[key]]
        for key in _TEXT:
            if isinstance(record.get(key), str):
                changed[key] = pattern.sub(rf"\1[{lanes.name}]", record[key])
        return changed

    def rebuilt(body: list[dict[str, Any]]) -> list[dict[str, Any]]:
        declared: list[dict[str, Any]] = []
        out: list[dict[str, Any]] = []
        for record in body:
            if record["kind"] == "loop":
                out.append({**record, "body": rebuilt(record["body"])})
            elif record["kind"] == "lane sum":
                out.append(spelled(record))
            elif record["kind"] == "lanes":
                statements = []
                for s in record["body"]:
                    name = s["name"] if s["kind"] == "declare" else s.get("target")
                    new = spelled(s)
                    if s["kind"] in ("declare", "define") and name in arrays:
                        declared.append(
                            dict(kind="array", type=s["type"], name=name, size=lanes.loop.lanes)
                        )
                        new = dict(
                            kind="assign",
                            target=f"{name}[{lanes.name}]",
                            op="=",
                            value=new["value"],
                        )
                    statements.append(new)
                out.append({**record, "body": statements})
            else:
                out.append(record)
        return declared + out

    return rebuilt(records)


@functools.cache
def without_branches(template: str, suffix: str = "") -> str:
    """A spelling with ``c ? a : b`` as a selection of bits, which every compiler vectorises."""
    text = template.strip()
    if text.startswith("(") and _closing(text, 0) == len(text) - 1:
        text = text[1:-1]
    question = _outside(text, " ? ")
    if question < 0:
        return text
    colon = _outside(text, " : ")
    condition = text[:question].replace("||", "|").replace("&&", "&")
    condition = re.sub(r"(\{\d\} (?:[<>]=?|[!=]=) [^|&]+?)(?= [|&] |$)", r"(\1)", condition)
    a = without_branches(text[question + 3 : colon], suffix)
    b = without_branches(text[colon + 3 :], suffix)
    return f"sg_select{suffix}({condition}, {a}, {b})"


def _outside(text: str, what: str) -> int:
    """Where `what` first occurs outside parentheses, -1 if nowhere."""
    depth = 0
    for k, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0 and text.startswith(what, k):
            return k
    return -1


def _closing(text: str, start: int) -> int:
    depth = 0
    for k in range(start, len(text)):
        depth += (text[k] == "(") - (text[k] == ")")
        if depth == 0:
            return k
    return -1
