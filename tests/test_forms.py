"""The table of wanted forms: they are right; forms/missed.txt lists exactly what is not reached.

`python tests/forms/run.py` prints the table; `--update` writes the list. Here are the rows in the
list and every third of the others, for time.
"""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest

from forms import notation, run, table

EVERY = 3  # of the rows that are reached; `run.py` measures all


@functools.cache
def verdicts(group):
    known = run.listed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            run.measure(row)
            for k, row in enumerate(table.rows(group))
            if k % EVERY == 0 or f"{group}.{row.name}" in known
        ]


@pytest.mark.quick(1)
@pytest.mark.parametrize("group", table.GROUPS)
def test_the_list_is_exact(group):
    """A row that is not reached any more is a loss, one that is reached now leaves the list."""
    known = run.listed()
    told = [
        f"{group}.{v.row.name}: {now}, not {before}   {v.today}  {v.told}"
        for v in verdicts(group)
        if (now := "reached" if v.reached else v.status)
        != (before := known.get(f"{group}.{v.row.name}", "reached"))
    ]
    told += told and [f"if this is right: {run.MISSED.name} wants an update"]
    assert not told, "\n".join(told)


@pytest.mark.slow
def test_most_are_as_short_as_wanted():
    """95 of 100 are, by `run.py`; of the rows that are looked at here the list is a part."""
    found = [v.status for g in table.GROUPS for v in verdicts(g)]
    assert found.count("short") >= 0.94 * len(found)


@pytest.mark.quick(1)
@pytest.mark.parametrize("group", table.GROUPS)
def test_wanted_forms_are_right(group):
    """A wanted form that is wrong would ask for the wrong thing."""
    for v in verdicts(group):
        if v.graph is not None:
            assert run.agrees(v.row, v.graph, v.row.wanted), f"{v.row.name}: {v.row.wanted}"


def test_names_are_different():
    names = [f"{g}.{row.name}" for g in table.GROUPS for row in table.rows(g)]
    assert len(set(names)) == len(names)
    assert set(run.listed()) <= set(names)


# ---- the reader of printed text ----------------------------------------------------------------

A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])
S = np.array([[2.0, 1.0, 0.5], [0.0, 3.0, 1.0], [1.0, 0.0, 4.0]])
x, y = np.array([1.0, -2.0, 3.0]), np.array([2.0, 0.5, -1.0])
u = np.array([1.0, 3.0])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("f = A x", A @ x),
        ("f = 2 Aᵀ A x / ‖x‖²", 2 * A.T @ A @ x / 14),
        ("f = uᵀ A x", u @ A @ x),
        ("f = −x ⊙ y + 1", -x * y + 1),
        ("f = 1 ⊘ x²", x**-2),
        ("f = S⁻ᵀ x", np.linalg.solve(S.T, x)),
        ("f = S + 2 I", S + 2 * np.eye(3)),
        ("f = x yᵀ", np.outer(x, y)),
        ("f = u 1ᵀ + A", u[:, None] + A),
        ("f = 1 xᵀ + A", x + A),
        ("f = 1ᵀ A 1", A.sum()),
        ("f = A 1", A.sum(axis=1)),
        ("f = x − 1 1ᵀ x / 3", x - x.mean()),
        ("f = Aᵀ 1", A.sum(axis=0)),
        ("f = diag(x) S − diag(diag(S))", np.diag(x) @ S - np.diag(np.diag(S))),
        ("f = {x if x > y, else 0}", np.where(x > y, x, 0)),
        ("f = y ⊙ [x > 0]", y * (x > 0)),
        ("f = |x|^1.5", np.abs(x) ** 1.5),
        ("f = ½ x^(1 − 3)", 0.5 * x**-2),
        ("f = 2 √x[2] x / (3 √π)", 2 * np.sqrt(3) * x / (3 * np.sqrt(np.pi))),
        ("f = [x[0]; 0; A[1, 2]]", np.array([1.0, 0, 7])),
        ("f = [0₂; u[0]]", np.array([0, 0, 1.0])),
        ("f = ½ (I − 3 1 1ᵀ)", 0.5 * np.eye(3) - 1.5),
        ("f = r ⊙ r\n  where r = s x\n        s = uᵀ u", (10 * x) ** 2),
        ("f[i,j] = A[i,j] x[j]", A * x),
        ("f[i] = Σⱼ A[i,j] x[j] y[j]", A @ (x * y)),
        ("f[i,j] = δ[i,j] x[i]", np.diag(x)),
        ("f[i,i] = x[i] for 0 < i ; f[i,i+1] = f[i+1,i] = −1 ; f[0,0] = 5",
         np.array([[5.0, -1, 0], [-1, -2, -1], [0, -1, 3]])),
    ],
)  # fmt: skip
def test_text_has_a_value(text, value):
    got = notation.evaluated(text, {"A": A, "S": S, "x": x, "y": y, "u": u}, np.shape(value))
    assert np.allclose(got, value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "f = A / x",
        "f = x y",
        "f = q",
        "f = frob(x)",
        "f = (x",
        "f = x ⊙",
        "f = r ; r = x ; r = y",
        "f = I − 3",
        "f = 2 − diag(x)",
    ],
)
def test_text_without_a_value(text):
    with pytest.raises((notation.Unreadable, ValueError)):
        notation.evaluated(text, {"A": A, "x": x, "y": y}, (3,))


@pytest.mark.parametrize(
    ("text", "cost"),
    [("out = A x", 2), ("f[i,j] = 2", 1), ("f = ½ x", 4),
     ("out = r ⊙ y\n  where r = A x", 7), ("f = x for x ≠ 0", 1)],
)  # fmt: skip
def test_reading_cost(text, cost):
    assert run.reading_cost(run.without_conditions(text)) == cost
