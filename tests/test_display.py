"""What prompts and notebooks show: the right parts, and nothing of a user's that is not escaped."""

from __future__ import annotations

import dataclasses
import html.parser

import numpy as np
import pytest

import symgrad as sg
from symgrad import display

S = sg.f64


def ridge(w, X, y):
    r = X @ w - y
    return r @ r + w @ w


def chain(x):
    return np.sum((x[1:] - x[:-1] ** 2) ** 2)


RIDGE = sg.trace(sg.grad(ridge), S[3], S[7, 3], S[7]).simplify()
CHAIN = sg.trace(sg.hessian(chain), S[6]).simplify()


class Elements(html.parser.HTMLParser):
    """All tags in order, checked for being closed; the text; and every attribute."""

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.text, self.attributes = [], [], [], []
        self.free_dollars = []  # texts that are looked through for formulas

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data):
        self.text.append(data)
        if "$" in data and not {"code", "pre"} & set(self.open):
            self.free_dollars.append(data)


def parsed(page):
    found = Elements()
    found.feed(page)
    found.close()
    assert not found.open
    return found


class Printer:
    """As IPython's, as far as it is used."""

    def __init__(self):
        self.lines = [""]

    def text(self, piece):
        assert "\n" not in piece
        self.lines[-1] += piece

    def break_(self):
        self.lines.append("")


def test_a_graph_at_a_prompt():
    printer = Printer()
    RIDGE._repr_pretty_(printer, False)
    assert printer.lines[0] == (
        "Graph grad_ridge(w: float64[3], X: float64[7, 3], y: float64[7]) → float64[3]"
    )
    assert "\n".join(line[2:] for line in printer.lines[1:]) == RIDGE.formula()


def test_a_graph_in_a_notebook():
    assert RIDGE._repr_latex_() == "$$" + RIDGE.latex() + "$$"
    found = parsed(RIDGE._repr_html_())
    assert "$$" + RIDGE.latex() + "$$" in found.text
    assert found.text.count("cost") == found.text.count("operations") == 1
    assert "svg" not in found.tags and "C" not in found.text
    assert str(RIDGE) in found.text and str(RIDGE.cost()) in found.text


def test_a_bundle_has_what_is_asked_for():
    everything = RIDGE._repr_mimebundle_()
    assert list(everything) == ["text/plain", "text/html", "text/latex"]
    assert list(RIDGE._repr_mimebundle_(include={"text/latex"})) == ["text/latex"]
    assert list(RIDGE._repr_mimebundle_(exclude={"text/html"})) == ["text/plain", "text/latex"]
    assert everything["text/html"] == RIDGE._repr_html_()


def test_zeros_are_those_of_the_values():
    rng = np.random.default_rng(0)
    value = CHAIN.evaluate(rng.uniform(0.5, 1, 6))
    assert np.array_equal(display.zeros(CHAIN.outs[0]), value != 0)
    assert display.zeros(RIDGE.outs[0]) is None
    assert display.zeros(sg.trace(sg.hessian(ridge), S[3], S[7, 3], S[7]).outs[0]) is None


@pytest.mark.parametrize(("n", "cells"), [(6, 6), (64, 64), (65, 33), (200, 50)])
def test_the_picture_of_zeros(n, cells):
    graph = sg.trace(sg.hessian(chain), S[n]).simplify()
    page = graph._repr_html_()
    found = parsed(page)
    assert found.tags.count("svg") == found.tags.count("path") == 1
    assert f"viewBox='0 0 {cells} {cells}'" in page
    assert page.count("h1v1h-1z") == 3 * cells - 2
    assert f"{3 * n - 2:,} of {n * n:,} entries are not 0 by structure" in page


def test_a_compiled_function_has_its_c():
    compiled = sg.compile(sg.grad(ridge), S[3], S[7, 3], S[7])
    found = parsed(compiled._repr_html_())
    assert compiled.c_source.rstrip("\n") in found.text
    assert str(compiled.cost()) in found.text
    assert compiled._repr_mimebundle_()["text/plain"].startswith("Compiled grad_ridge(w: ")
    assert compiled.formula() == compiled.graph.formula()
    printer = Printer()
    compiled._repr_pretty_(printer, False)
    assert printer.lines[0].startswith("Compiled grad_ridge(")


def test_what_transformations_return_says_what_it_is():
    slope = sg.grad(ridge)
    assert str(slope).splitlines() == [
        "<function grad_ridge, by symgrad>: grad of ridge, by symgrad.",
        "no formula yet: it has not been called",
    ]
    assert slope._repr_html_() is None
    rng = np.random.default_rng(0)
    slope(rng.normal(size=3), rng.normal(size=(7, 3)), rng.normal(size=7))
    first, second, *rest = str(slope).splitlines()
    assert first == repr(slope) == "<function grad_ridge, by symgrad>"
    assert second == "grad_ridge(w: float64[3], X: float64[7, 3], y: float64[7]) → float64[3]"
    assert "\n".join(line[2:] for line in rest) == RIDGE.formula()
    assert parsed(slope._repr_html_()).tags.count("details") == 3
    for n in (4, 5, 6):
        slope(rng.normal(size=n), rng.normal(size=(7, n)), rng.normal(size=7))
    assert str(slope).splitlines()[-1] == "and 1 earlier versions"
    printer = Printer()
    slope._repr_pretty_(printer, False)
    assert "\n".join(printer.lines) == str(slope)


HOSTILE = [
    "<script>alert(1)</script>", "a\"onload='x", "&amp;", "$$", "</pre><b>", "\\href{javascript:1}",
    "]]>", "<!--", "x\ny", "‮abc", "</svg>", "$$\\unicode{x3c}", "\\(x\\)",
]  # fmt: skip


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name):
    """As names of the function, of arguments, results and variables."""
    graph = dataclasses.replace(
        CHAIN, name=name, arg_names=(name,), out_names=(name + "1",),
        names={name: CHAIN.outs[0]},
    )  # fmt: skip
    usual = parsed(CHAIN._repr_html_())
    found = parsed(graph._repr_html_())
    assert found.tags == usual.tags
    assert found.attributes == usual.attributes
    [formula] = found.free_dollars
    assert "$" not in formula[2:-2].replace("\\$", "")
    assert "\\href" not in formula and "\\unicode" not in formula and "\\(" not in formula
    text = display.text(graph)
    assert all(ch.isprintable() or ch == "\n" for ch in text)
    assert len(text.splitlines()) == len(display.text(CHAIN).splitlines())


def test_long_formulas_are_text(monkeypatch):
    monkeypatch.setattr(display, "LONGEST_LATEX", 20)
    assert RIDGE._repr_latex_() == ""
    assert list(RIDGE._repr_mimebundle_()) == ["text/plain", "text/html"]
    assert RIDGE.formula() in parsed(RIDGE._repr_html_()).text


def test_long_code_is_cut(monkeypatch):
    monkeypatch.setattr(display, "MOST_LINES", 3)
    page = CHAIN._repr_html_()
    assert "more lines of operations" in page and "more lines of cost" in page


def test_sparse_derivatives_show_their_entries():
    f = sg.compile(sg.sparse_hessian(lambda x: np.sum((x[1:] - x[:-1]) ** 2)), sg.f64[6])
    page = f._repr_html_()
    assert "16 of 36 entries" in page and "<path" in page and "SparseCompiled" in page
    made = f._repr_mimebundle_()
    assert made["text/plain"] == repr(f) and made["text/html"] == page
