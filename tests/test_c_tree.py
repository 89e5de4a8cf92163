"""C as a tree: what is printed means the tree, and rows print back as they are written."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from symgrad.emit import rows
from symgrad.emit import tree as c
from symgrad.emit.printer import lines, text
from symgrad.expr.op import OPS

COLUMNS = sorted({column for row in OPS.values() for column in (row.c, row.c_int) if column})
BINARY = [op for op in c.LEVELS if op not in ("&", "|")]  # rows have no others


def marked(node: c.Expression, column: str) -> c.Expression:
    """With operands as names, and functions of several types with the sign that rows have."""

    def change(n: c.Node) -> c.Node | None:
        if isinstance(n, rows.Operand):
            return c.Name(f"{{{n.position}}}")
        if isinstance(n, c.Call):
            args = tuple(marked(a, column) for a in n.args)
            sign = "@" if f"{n.function}@(" in column else ""
            return replace(n, function=n.function + sign, args=args, dtype="")
        return None

    return c.replaced(node, change)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_prints_back_to_its_text(column):
    assert text(marked(rows.parsed(column).tree, column)) == column


@pytest.mark.parametrize("column", ["{0} +", "({0}", "sin({0}, )", "{0} {1}", "{0} ? 1", ""])
def test_what_is_no_expression_is_refused(column):
    with pytest.raises(ValueError, match="C of a row"):
        rows.parsed(column)


def expression(choose: random.Random, depth: int) -> c.Expression:
    def part() -> c.Expression:
        return expression(choose, depth - 1)

    kind = choose.randrange(8) if depth else 0
    if kind == 0:
        return choose.choice([c.Lit("2"), rows.Operand(0), rows.Operand(1)])
    if kind == 1:
        return c.Unary(choose.choice("-!"), part())
    if kind == 2:
        return c.Conditional(part(), part(), part())
    if kind == 3:
        return c.Call("sin", (part(),), "", "math")
    return c.Binary(choose.choice(BINARY), part(), part())


def bare(node: c.Expression) -> c.Expression:
    return c.replaced(node, lambda n: bare(n.inner) if isinstance(n, c.Group) else None)


@pytest.mark.slow
def test_brackets_are_where_c_needs_them():
    """Random trees, printed and read again, are the same: the reader has C's grammar."""
    choose = random.Random(4)
    for _ in range(3000):
        tree = expression(choose, 4)
        printed = c.replaced(
            tree, lambda n: c.Name(f"{{{n.position}}}") if isinstance(n, rows.Operand) else None
        )
        assert bare(rows.parsed.__wrapped__(text(printed)).tree) == tree, text(printed)


def test_lanes_that_stand_apart_join_the_sum_of_an_index():
    place = c.Index("a", c.Sum((c.Binary("*", c.Name("i1"), c.Lit("8")), c.Name("l2")), 40))
    shifted = c.renamed(place, {"l2": c.Sum((c.Name("l2"),), 8)})
    assert text(shifted) == "a[i1 * 8 + l2 + 8 + 40]"
    assert text(c.renamed(c.Name("t3"), {"t3": c.Index("t3", c.Name("l2"))})) == "t3[l2]"


def test_statements_say_what_they_use():
    call = c.Call("sg_sigmoid", (c.Index("x0", c.Name("i1")),), "float32", "helpers", costly=True)
    loop = c.For(
        "i1", c.Lit("0"), c.Lit("7"), (c.Declare("float", "t0", call),), marks=(c.Mark("SG_SIMD"),)
    )
    used = c.uses(c.Block((c.DeclareArray("int64_t", "k", 4, zero=True), loop)))
    assert used.names == {"x0", "i1", "t0", "k"}
    assert list(used.calls) == [("sg_sigmoid", "float32", "helpers")]
    assert used.needs == {"float", "int64_t", "ptrdiff_t", "SG_SIMD", "SG_ALIGNED"}
    assert lines([loop]) == [
        "    SG_SIMD",
        "    for (ptrdiff_t i1 = 0; i1 < 7; ++i1) {",
        "        const float t0 = sg_sigmoidf(x0[i1]);",
        "    }",
    ]
