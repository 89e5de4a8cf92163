"""What a formula costs its reader, as an integer."""

from __future__ import annotations

import itertools

from symgrad.inspect.formula import KINDS, Formula, needed, tightness

# Tenths of a leaf. A sign between two factors, a call and a bracket all have to be read; a
# transpose is seen at once; a new name has to be kept in mind.
LEAF, SIGN, SIDE, BRACKET, NESTED, TURN, CALL, NAME, CASE = 10, 10, 4, 8, 7, 3, 8, 16, 15
OUTER = 6  # a column by a row inside of a product, which is a number beside it in another order
LENGTH = 4  # n for a number of elements
OWN_NAME = 6  # of the user's own: it is known, but has to be looked up
WORTH_A_NAME = 3 * LEAF  # what costs less is not named
_SIGNS = {
    "sum": SIGN, "had": SIGN, "div": SIGN, "infix": SIGN, "mul": SIDE, "mat": SIDE, "pow": 5,
    "T": TURN, "neg": 6, "sqrt": 5, "inverse": 4, "diag": CALL, "kron": SIGN, "call": CALL,
    "wrap": 6, "index": 2, "gather": 4, "stack": 4, "list": 4, "matrix": 4, "cases": CASE,
    "sigma": CALL, "ones": LEAF, "eye": LEAF, "part": LEAF, "symbol": LEAF, "number": LEAF,
}  # fmt: skip


def cost(f: Formula) -> int:
    """Leaves, signs, brackets and names; kept on the node, since the search asks often."""
    if f.cost is not None:
        return f.cost
    price = _SIGNS.get(f.kind, SIGN)
    if f.kind in ("sum", "had", "infix", "mul", "mat", "kron"):
        price *= len(f.args) - 1
    if f.kind == "mat" and len(f.args) > 2:
        price += OUTER * sum([a.rank == 1 and a.kind != "T" and b.kind == "T" and b.rank == 1
                              for a, b in itertools.pairwise(f.args)])  # fmt: skip
    elif f.kind == "part" and f.data.formula.kind == "number":
        price = LENGTH
    elif f.kind == "number":
        price = 3 + 3 * len(f.data) + 4 * ("." in f.data)
    elif f.kind == "wrap" and f.data[0] == "[":
        price = CALL + SIDE  # [a > b]: a number in the place of two cases
    elif f.kind == "symbol":
        price += 2 * min(len(f.data[0]) - 1, 10)
    elif f.kind == "sigma":
        price += 4 * sum(len(t) + 1 for t in f.data[1])
    elif f.kind == "index":
        price += 3 * len(f.data)
    elif f.kind == "call":
        price += 3 * len(f.data[0]) + 10 * f.data[0].count("_")
    for k, a in enumerate(f.args):
        price += cost(a)
        if f.kind == "sum" and k and a.kind == "neg":
            price -= _SIGNS["neg"]  # a − b has one sign, as a + b has
        if f.kind == "pow" and k == 1 and a.kind == "number":
            price -= 6
        if not KINDS[f.kind].encloses and tightness(a) < needed(f, k):
            price += BRACKET + NESTED * a.nests
            f.nests = max(f.nests, a.nests + 1)
        f.nests = max(f.nests, a.nests)
    f.cost = price
    return price


def saved_by_names(f: Formula) -> int:
    """What names would save for subtrees that occur several times, as one object each."""
    found: dict[int, tuple[Formula, int]] = {}
    stack = [f]
    while stack:
        g = stack.pop()
        if cost(g) < WORTH_A_NAME:
            continue
        count = found.get(id(g), (g, 0))[1]
        found[id(g)] = g, count + 1
        if not count:
            stack.extend(g.args)
    return sum([max(0, (n - 1) * (cost(g) - LEAF) - NAME) for g, n in found.values() if n > 1])
