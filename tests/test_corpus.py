"""Functions as people write them, unchanged: which are taken, and that those are right.

corpus/refused.txt lists what is not taken yet, with what happens instead; it is exact in both
directions, so that nothing is lost and nothing is gained unseen. `python tests/corpus/run.py
--graphs --order 2 --update` writes it, by second derivatives too, which take too long for a test.
`python tests/corpus/run.py` prints the whole table, from compiled C.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

import symgrad as sg
from corpus import measure
from corpus.entry import Collection
from corpus.measure import COLLECTIONS, FIRST, VALUE, collection, compared
from corpus.modes import verdict
from corpus.run import REFUSED, listed, text_of

BUNDLE = 6  # functions in one compilation
BUNDLES = 8  # of them; `corpus/run.py` compiles each function


def chosen_of(group, thorough):
    """All names, or what is refused and one of three others."""
    known = listed()
    right = [name for name in collection(group) if name not in known]
    return [n for n in collection(group) if thorough or n in known or n in right[::3]]


def news(group, thorough):
    """What has become another than the list says, at first order."""
    known, found = listed(), []
    for name in chosen_of(group, thorough):
        verdict = measure.measure(name, compiled=False)
        assert verdict.status != "no oracle", f"{name}: {verdict.told}"
        expected = known.get(name, "right")
        if verdict.status != expected:
            found.append(f"{name}: {verdict.status}, not {expected}: {verdict.told}")
    return "\n".join(found and [*found, f"if this is right: {REFUSED.name} wants an update"])


LONG = ("losses", "branchy", "collected", "constructs", "textbook", "cutest")


@pytest.mark.parametrize(
    "group", [pytest.param(g, marks=pytest.mark.slow if g in LONG else ()) for g in COLLECTIONS]
)
def test_the_list_is_exact(group, request):
    """Values and gradients of recorded graphs."""
    told = news(group, request.config.getoption("thorough"))
    assert not told, told


def test_the_list_has_known_names_in_order():
    names = {name for group in COLLECTIONS for name in collection(group)}
    assert len(names) == sum(len(collection(group)) for group in COLLECTIONS)
    assert set(listed()) <= names
    assert REFUSED.read_text() == text_of(listed())


def bundles():
    taken = [
        (group, name) for group in COLLECTIONS for name in collection(group)
        if name not in listed()
    ]  # fmt: skip
    step = max(1, len(taken) // BUNDLE)
    return [taken[k::step] for k in range(min(step, BUNDLES))]


@pytest.mark.sample(1)
@pytest.mark.slow
@pytest.mark.parametrize("chosen", bundles(), ids=lambda names: names[0][1])
def test_compiled(chosen):
    """Values and gradients of several functions by one C file."""
    entries = [collection(group)[name] for group, name in chosen]
    wants, functions = [], []
    for (group, name), entry in zip(chosen, entries, strict=True):
        duals = measure.on_duals(group)[name]
        value = measure.plain_value(entry)
        scalar = measure.is_scalar(value)
        wants.append((name, value, measure.expected(duals, entry, 1, scalar).gradient, scalar))
        f = measure.objective(entry, scalar)
        functions.append(sg.value_and_grad(f, entry.argnums, has_aux=not scalar))

    def together(*all_args):
        return [f(*args) for f, args in zip(functions, all_args, strict=True)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = sg.jit(together)(*[copy.deepcopy(entry.args) for entry in entries])
    for (name, value, gradient, scalar), found in zip(wants, got, strict=True):
        got_value, got_gradient = found if scalar else (found[0][1], found[1])
        told = compared("value", got_value, value, VALUE)
        told = told or compared("gradient", got_gradient, gradient, FIRST)
        assert not told, f"{name}: {told}"


# ---- the measure itself --------------------------------------------------------------------------


def test_what_is_wrong_is_called_wrong(monkeypatch):
    """A function that is another one for symgrad than for NumPy and the dual numbers."""

    class Differs:
        def __init__(self, other):
            self.other = other

        def __call__(self, x):
            return self.other(x) if "Tracer" in repr(x) else np.sum(x**2)

    def wrong_value(x):
        return np.sum(x**2) + 1e-6

    def wrong_gradient(x):
        return np.sum(sg.stop_gradient(x) * x)

    def wrong_second(x):
        return np.sum(x**2) + 1e-3 * np.sum((x - sg.stop_gradient(x)) ** 2)

    def raises(x):
        raise KeyError("not mine")

    def refused(x):
        return np.array(np.linalg.eig(np.outer(x, x)))

    cases = Collection()
    x = np.array([0.3, -0.7])
    for other in (wrong_value, wrong_gradient, wrong_second, raises, refused, np.linalg.norm):
        cases(Differs(other), x, name=other.__name__)
    cases(Differs(lambda x: x @ x), x, name="right")
    monkeypatch.setattr(measure, "collection", lambda group: cases)
    monkeypatch.setattr(measure, "on_duals", lambda group: cases)
    statuses = {name: measure.measure(name, 2, False) for name in cases}
    assert {name: v.status for name, v in statuses.items()} == {
        "wrong_value": "WRONG", "wrong_gradient": "WRONG", "wrong_second": "WRONG",
        "raises": "crash", "refused": "refused", "norm": "WRONG", "right": "right",
    }  # fmt: skip
    told = [statuses[f"wrong_{what}"].told.split()[0] for what in ("value", "gradient", "second")]
    assert told == ["value", "gradient", "Hessian"]


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", ["local_level", "garch11", "nested_ifs", "zeros_then_items"])
@pytest.mark.slow
def test_transformations_agree(name):
    """A few of what `python tests/corpus/modes.py` does with all."""
    found = verdict(name)
    assert found.status == "right", found.told
