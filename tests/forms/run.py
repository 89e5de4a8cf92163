"""How derivatives read today, beside how they should: `python tests/forms/run.py`.

    --group G     rows of one file
    --worst N     of the rows that are not reached, the N that are farthest from it
    --only NAME   rows of functions with that in their names
    --update      write missed.txt, the list of rows not reached that the tests keep exact
    --code        the code's form instead of the reader's

A row is reached if what is printed is right, holds no forbidden piece, and costs no more than 1.3
times as much to read as the wanted form. "Short" says that it costs no more than that.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import numpy as np

from forms import notation, table

MISSED = table.FOLDER / "missed.txt"
FACTOR = 1.3
FORBIDDEN = {
    "cases": re.compile(r"\{"),
    "cancels": re.compile(r"(?<![\w)] )\b(\w+) − \1\b(?! [\w(⊙/⊘]|²|\^)"),
    "float": re.compile(r"\d\.\d{5,}"),
    "ones": re.compile(r"(?<![\w)] )\b1 \w+ᵀ\)? ⊙|⊙ \(?1 \w+ᵀ|⊙ \(?\w+ 1ᵀ|\w+ 1ᵀ\)? ⊙"),
    "transposed": re.compile(r"\(I [^()]*\)ᵀ"),
    "words": re.compile(r"pad\(|reshape|broadcast|lu_|slope\(|gap\(|jn_root|complement_square"),
}


def reading_cost(text):
    """What it takes to read a printed formula: its characters without spaces.

    The name of the result does not count, and of lines of elements neither; a fraction in one
    character counts as three.
    """
    lines = [line.strip() for line in text.replace("\n", " ; ").split(" ; ")]
    result = re.match(r"\w+", lines[0])
    lines[0] = re.sub(r"^\w+(\[[^\]]*\])? = ", "", lines[0])
    if result:
        lines = [re.sub(rf"\b{result[0]}(?=\[[^\]]*\] =)", "", line) for line in lines]
    joined = "".join(lines).replace("where ", "").replace(" ", "")
    return len(joined) + 2 * len(re.findall("[½⅓⅔¼¾⅕⅙⅛]", joined))


@dataclass
class Verdict:
    """What became of a row. status: short, reached, long, forbidden, wrong, unread, failed."""

    row: table.Row
    status: str
    today: str = ""
    cost: int = 0
    wanted: int = 0
    told: str = ""
    graph: Any = None

    @property
    def reached(self):
        return self.status in ("short", "reached")


def values_at(row, graph, text, seed=0):
    """(value of the text, value of the graph) at a point of the row."""
    point = row.function.point(np.random.default_rng(seed))
    want = np.asarray(graph.evaluate_flat(list(point.values()))[0], float)
    if row.by and " = " not in text.split(" ; ")[0].split("\n")[0]:
        text = "f = " + text
    with np.errstate(all="ignore"):
        return notation.evaluated(text, point, want.shape), want


def agrees(row, graph, text):
    return all(
        np.allclose(*values_at(row, graph, text, seed), rtol=1e-8, atol=1e-9) for seed in range(2)
    )


def measure(row, code=False):
    """Print the row's derivative, and judge what is printed."""
    graph = None
    try:
        graph = row.graph()
        today = graph.formula(**({"form": "code"} if code else {}))
    except Exception as error:  # a row that cannot be traced is a row not reached
        return Verdict(row, "failed", told=f"{type(error).__name__}: {error}", graph=graph)
    plain = without_conditions(today)
    cost, wanted = reading_cost(plain), reading_cost(row.wanted)
    verdict = Verdict(row, "short", today, cost, wanted, graph=graph)
    try:
        if not agrees(row, graph, plain):
            verdict.status = "wrong"
            return verdict
    except Exception as error:
        verdict.status, verdict.told = "unread", f"{type(error).__name__}: {error}"
        return verdict
    pieces = [n for n, p in FORBIDDEN.items() if n not in row.allowed and p.search(plain)]
    if pieces:
        verdict.status, verdict.told = "forbidden", " ".join(pieces)
    elif cost > FACTOR * wanted:
        verdict.status = "long"
    elif cost > wanted:
        verdict.status = "reached"
    return verdict


def without_conditions(text):
    """A printed formula without what it says about where it holds."""
    kept = [line for line in text.splitlines() if not re.match(r"\s*(for|if|\(code's form) ", line)]
    return "\n".join(
        line if re.match(r"\w+\[", line) else re.sub(r" +(for|\(for) .*$", "", line)
        for line in kept
    )


def listed():
    """The rows that are known not to be reached: name → status."""
    lines = MISSED.read_text().splitlines() if MISSED.exists() else []
    return dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))


def text_of(verdicts):
    lines, group = ["# Rows that do not read as they should yet, and why."], None
    for v in verdicts:
        if not v.reached:
            if v.row.function.group != group:
                group = v.row.function.group
                lines.append(f"# {group}")
            lines.append(f"{group}.{v.row.name} {v.status}")
    return "\n".join(lines) + "\n"


def report(verdicts, shown):
    for v in shown:
        print(f"{v.row.function.group}.{v.row.name}   [{v.status}] {v.told}")
        print("   " + v.row.function.body.strip().replace("\n    ", " ; ").removeprefix("return "))
        print(f"   today  {v.cost:4}  " + v.today.replace("\n", "\n                "))
        print(f"   wanted {v.wanted:4}  {v.row.wanted}")
    print()
    for group in [*table.GROUPS, "all"]:
        some = [v for v in verdicts if group in ("all", v.row.function.group)]
        if some:
            counts = Counter(v.status for v in some)
            reached = sum(v.reached for v in some)
            told = ", ".join(f"{counts[s]} {s}" for s in sorted(counts))
            print(f"{group:15} {len(some):4} rows, {reached:4} reached: {told}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--group", choices=table.GROUPS)
    parser.add_argument("--worst", type=int)
    parser.add_argument("--only", default="")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--code", action="store_true")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    verdicts = []
    for group in [given.group] if given.group else table.GROUPS:
        verdicts += [measure(r, given.code) for r in table.rows(group) if given.only in r.name]
    shown = verdicts
    if given.worst is not None:
        missed = [v for v in verdicts if not v.reached]
        shown = sorted(missed, key=lambda v: v.wanted / max(v.cost, 1))[: given.worst]
    report(verdicts, shown)
    print(f"{time.perf_counter() - start:.1f} s")
    if given.update:
        MISSED.write_text(text_of(verdicts))


if __name__ == "__main__":
    main()
