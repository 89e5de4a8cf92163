"""Functions found in the cache by their graph: the same library, or an honest miss.

A record is only seen by a process that has not compiled the function itself, so each look is one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import symgrad as sg
from symgrad.runtime import cache as cache_module
from symgrad.runtime import dispatch
from symgrad.runtime.build import find_cached
from symgrad.runtime.compiler import find_compiler

ROOT = Path(sg.__path__[0]).parent

CHILD = """
import json, sys
{before}
import numpy as np
import symgrad as sg
TABLE = np.linspace(0.0, 1.0, 5000)
def f(x, k=2.0):
    return np.sum(x ** 2) * k + TABLE[3] * np.sum(TABLE * x[0])
def g(x):
    return np.sum(x ** 3)
{change}
c = sg.compile(sg.grad({function}), {spec}{name})
(x,) = c.graph.args
x = np.linspace(1.0, 2.0, x.shape[0], dtype=x.dtype)
print(json.dumps([
    "jinja2" in sys.modules,
    c(x).tolist(),
    c._library().key,
]))
"""


def look(
    root: Path, *, before="", change="", function="f", spec="sg.f64[4]", name="", **environment
):
    """(whether C was generated, the result, the library's key) in a fresh process."""
    text = CHILD.format(before=before, change=change, function=function, spec=spec, name=name)
    surroundings = {**os.environ, "SYMGRAD_CACHE_DIR": str(root), **environment}
    surroundings["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    if "PYTHONPATH" in environment:
        surroundings["PYTHONPATH"] = environment["PYTHONPATH"]
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=root.parent,  # -c puts the working directory first on the path
        env=surroundings,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", autouse=True)
def compiler():
    find_compiler()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache in which f's gradient is recorded, and what it gave."""
    root = tmp_path_factory.mktemp("records") / "cache"
    call_path = find_cached(dispatch._source(), (dispatch.SYMBOL,), **dispatch._OPTIONS)
    if call_path is not None:  # else the first process would compile it, for longer than the rest
        root.mkdir(mode=0o700)
        shutil.copytree(call_path.path.parent, root / call_path.key)
    generated, value, key = look(root)
    assert generated
    return root, value, key


@pytest.fixture
def root(filled, tmp_path):
    """A copy of it, to be harmed."""
    shutil.copytree(filled[0], tmp_path / "cache")
    os.chmod(tmp_path / "cache", 0o700)
    return tmp_path / "cache"


def records(root: Path) -> list[Path]:
    return [p for p in root.iterdir() if p.name.startswith("note-") and len(p.name) == 5 + 64]


@pytest.mark.slow
def test_a_second_process_generates_nothing(filled):
    root, value, key = filled
    assert look(root) == [False, value, key]
    x = np.linspace(1.0, 2.0, 4)
    table = np.linspace(0.0, 1.0, 5000)
    expected = 4.0 * x + np.array([table[3] * table.sum(), 0, 0, 0])
    np.testing.assert_allclose(value, expected, rtol=1e-13)


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        dict(function="g"),
        dict(spec="sg.f64[5]"),
        dict(spec="sg.f32[4]"),
        dict(name=", name='other'"),
        dict(change="TABLE[7] = 3.0"),  # captured data: same shape, other bytes
        dict(change="f.__defaults__ = (3.0,)"),  # a constant
        dict(change="def f(y): return np.sum(y ** 2) * 2.0 + TABLE[3] * np.sum(TABLE * y[0])"),
        dict(SYMGRAD_CFLAGS="-g"),
    ],
    ids=str,
)
def test_another_function_type_name_constant_or_flag_is_a_miss(root, changed):
    assert look(root, **changed)[0]
    assert not look(root, **changed)[0]  # and then has a record of its own
    assert not look(root)[0]


@pytest.mark.sample(1)
@pytest.mark.slow
@pytest.mark.parametrize("file", ["symgrad/lower/share.py", "templates/c99/function.c.jinja"])
def test_another_symgrad_is_a_miss(root, tmp_path, file):
    """A copy of the package finds the same record; one changed byte in it, and it does not."""
    for folder in ("symgrad", "templates"):
        shutil.copytree(ROOT / folder, tmp_path / "copy" / folder)
    place = {"PYTHONPATH": str(tmp_path / "copy")}
    assert not look(root, **place)[0]
    with open(tmp_path / "copy" / file, "a") as changed:
        changed.write("{# #}" if file.endswith("jinja") else "#\n")
    generated, value, key = look(root, **place)
    assert generated and key == look(root)[2]  # the C is the same: nothing is compiled again
    assert not look(root, **place)[0]
    # Of the same size and age: only the system's own time of the change tells.
    before = os.stat(tmp_path / "copy" / file)
    text = (tmp_path / "copy" / file).read_text()
    other = text.replace("{# #}", "{#.#}") if file.endswith("jinja") else text[:-2] + " \n"
    (tmp_path / "copy" / file).write_text(other)
    os.utime(tmp_path / "copy" / file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert look(root, **place)[0]


@pytest.mark.slow
def test_code_changed_under_a_running_process_is_not_recorded(tmp_path):
    for folder in ("symgrad", "templates"):
        shutil.copytree(ROOT / folder, tmp_path / "copy" / folder)
    place = {"PYTHONPATH": str(tmp_path / "copy")}
    touch = "import os, symgrad; os.utime(symgrad.__path__[0] + '/graph.py')"
    assert look(tmp_path / "cache", before=touch, **place)[0]
    assert not records(tmp_path / "cache")


def _edit(path: Path, change) -> None:
    """Rewrite a record with a checksum that is right, as only this user could."""
    digest, _, text = path.read_bytes().partition(b"\n")
    name = path.name.removeprefix("note-")
    assert digest == cache_module._note_digest(name, text)
    text = json.dumps(change(json.loads(text))).encode()
    path.write_bytes(cache_module._note_digest(name, text) + b"\n" + text)


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda r: {**r, "library": "0" * 64},
        lambda r: {**r, "library": "../" + r["library"]},
        lambda r: {**r, "optimize": 7},
        lambda r: {**r, "workspace": -8},
        lambda r: {**r, "workspace": str(r["workspace"])},
        lambda r: {**r, "workspace": True},
        lambda r: {**r, "data": [9]},
        lambda r: {**r, "data": [-1]},
        lambda r: {**r, "data": [0.0]},
        lambda r: {**r, "entry": "no_such_function"},
        lambda r: {**r, "name": "not a name"},
        lambda r: {k: v for k, v in r.items() if k != "data"},
        lambda r: [r],
    ],
)
def test_an_odd_record_is_a_miss(filled, root, change):
    (path,) = records(root)
    _edit(path, change)
    assert look(root) == [True, *filled[1:]]
    assert look(root) == [False, *filled[1:]]  # and was written anew


@pytest.mark.parametrize("at", [0, 70, -3])
@pytest.mark.slow
def test_a_damaged_record_is_a_miss(filled, root, at):
    (path,) = records(root)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert look(root) == [True, *filled[1:]]


@pytest.mark.slow
def test_a_record_under_the_name_of_another_is_a_miss(filled, root):
    (own,) = records(root)
    look(root, function="g")
    (other,) = set(records(root)) - {own}
    shutil.copyfile(other, own)
    assert look(root) == [True, *filled[1:]]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["missing", "damaged"])
def test_a_record_of_a_library_that_is_gone_or_damaged_is_a_miss(filled, root, what):
    library = root / filled[2] / "mod.so"
    if what == "missing":
        shutil.rmtree(library.parent)
    else:
        data = bytearray(library.read_bytes())
        data[len(data) // 2] ^= 1
        library.write_bytes(data)
    assert look(root) == [True, *filled[1:]]
    assert look(root) == [False, *filled[1:]]


@pytest.mark.slow
def test_many_processes_at_once(filled, tmp_path):
    """Some find the record, some write it; all get the one library and the same numbers."""
    script = CHILD.format(before="", change="", function="f", spec="sg.f64[4]", name="")
    environment = {**os.environ, "SYMGRAD_CACHE_DIR": str(tmp_path / "cache")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    racing = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    results = [json.loads(p.communicate()[0]) for p in racing]
    assert all(result[1:] == list(filled[1:]) for result in results)
    assert look(tmp_path / "cache") == [False, *filled[1:]]


def test_the_text_is_generated_when_it_is_asked_for(root):
    asked = "c._library().key, len(c.c_source), 'jinja2' in sys.modules"
    text = CHILD.replace("c._library().key,", asked)
    environment = {**os.environ, "SYMGRAD_CACHE_DIR": str(root)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    script = text.format(before="", change="", function="f", spec="sg.f64[4]", name="")
    out = subprocess.check_output([sys.executable, "-c", script], cwd=root.parent, env=environment)
    before, _, _, length, after = json.loads(out)
    assert (before, after) == (False, True) and length > 1000


OUTSIDE = """
import dataclasses, sys
import numpy as np
import symgrad as sg
from symgrad.compiled import Compiled
from symgrad.expr.node import arg, bind
from symgrad.expr.op import Kind, Op, register
factor = float(sys.argv[1])
row = register(Op("scaled", Kind.COMPOSITE, lambda x: (x.shape, x.dtype), lambda x: factor * x,
                  expand=lambda args, attrs: args[0] * factor))
a = arg(0, (3,), "float64", "a")
graph = dataclasses.replace(sg.trace(lambda a: a + 1, sg.f64[3]), args=(a,), outs=(bind(row, a),))
assert np.array_equal(Compiled(graph)(np.array([1.0, 2.0, 4.0])), [factor, 2 * factor, 4 * factor])
"""


@pytest.mark.slow
def test_rows_from_outside_make_no_records(tmp_path):
    """Two versions of a program may lower one row to two things, which no digest tells apart."""
    environment = {**os.environ, "SYMGRAD_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    for factor in ("2.0", "3.0"):
        subprocess.run([sys.executable, "-c", OUTSIDE, factor], env=environment, check=True)
