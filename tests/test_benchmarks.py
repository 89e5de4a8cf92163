"""The benchmarks compute the same as their references, at tiny sizes; reports have their form."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import harness  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402

WORKS = {name: importlib.import_module(name).WORK for name in run.WORKS}
TESTED = ("symgrad", "C by hand", "JAX")
CASES = [
    pytest.param(work, size, peer, id=f"{name}-{number}-{peer.replace(' ', '-')}")
    for name, work in WORKS.items()
    for number, size in enumerate(work.tiny)
    for peer in work.peers
    if peer.startswith(TESTED)
]


@pytest.fixture(autouse=True)
def double_precision():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.sample(16)
@pytest.mark.quick(1)
@pytest.mark.parametrize("work, size, peer", CASES)
def test_peers_agree(work, size, peer):
    data = work.data(**size)
    reference = next(iter(work.peers))
    expected = harness.prepare(work.peers[reference], data)[1]
    try:
        got = harness.prepare(work.peers[peer], data)[1]
    except harness.Skip as reason:
        pytest.skip(str(reason))
    assert harness.disagreement(got, expected) <= work.tolerance


@pytest.mark.slow
def test_all_scripts_can_be_imported():
    """Each in the one process, as far as its ``if __name__ == "__main__":``."""
    scripts = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
    code = f"import importlib\nfor name in {scripts}: importlib.import_module(name)"
    subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, check=True)


def test_disagreement_is_relative_to_the_largest_entry():
    assert harness.disagreement(([1.0, 4.0], 2.0), ([1.0, 5.0], 2.0)) == pytest.approx(0.2)
    assert harness.disagreement([[1.0], [2.0]], ([1.0, 3.0], 2.0)) == float("inf")
    assert harness.disagreement(float("nan"), 1.0) == float("inf")


def broken(stage):
    raise ValueError("no")


def absent(stage):
    harness.need("a_module_that_nobody_has")


PEERS = {
    "NumPy by hand": lambda stage: lambda: 1.0,
    "symgrad": lambda stage: lambda: 1.0,
    "C by hand": lambda stage: lambda: 1.1,
    "JAX": broken,
    "numba": absent,
}


@pytest.fixture
def results(monkeypatch, tmp_path):
    """Results of a made-up work, through JSON."""
    monkeypatch.setattr(harness, "BLOCK", 1e-4)
    work = harness.Work("Nothing", tuple, [{}], [{}], PEERS, absent={"heyoka": "cannot"})
    rows = harness.run_size(work, {}, lambda peer: True, 1, "cpu")
    entry = {"work": "nothing", "title": work.title, "size": {"n": 1000}, "rows": rows}
    made = {"schema": harness.SCHEMA, "clock": "cpu", "works": [entry],
            "surroundings": harness.surroundings(1)}  # fmt: skip
    harness.write_json(tmp_path / "results.json", made)
    return json.loads((tmp_path / "results.json").read_text())


def test_rows(results):
    rows = {row["peer"]: row for row in results["works"][0]["rows"]}
    assert list(rows) == [*PEERS, "heyoka"]
    assert all({"derive", "compile", "evaluate"} <= set(row) for row in rows.values())
    assert rows["symgrad"]["evaluate"] > 0 and rows["symgrad"]["error"] == 0
    assert "disagrees" in rows["C by hand"]["note"] and rows["C by hand"]["evaluate"] is None
    assert rows["JAX"]["note"] == "fails: ValueError: no"
    assert rows["numba"]["note"] == "a_module_that_nobody_has is not installed"
    assert rows["heyoka"]["note"] == "cannot"
    assert results["surroundings"]["versions"]["numpy"]


def test_reports(results, tmp_path):
    assert "disagrees by 1.0e-01" in report.text_table(results["works"][0])
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.START}\nold\n{report.END}\nafter {report.END}\n")
    report.write_readme(results, readme)
    text = readme.read_text()
    assert "symgrad  " in (tmp_path / "benchmarks" / "results.md").read_text()
    assert text.startswith("before\n") and text.endswith(f"after {report.END}\n")
    assert "| Nothing, n=1 000 |" in text and "old" not in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_readme_has_the_marks():
    text = (BENCHMARKS.parent / "README.md").read_text()
    assert report.END in text[text.index(report.START) :]
