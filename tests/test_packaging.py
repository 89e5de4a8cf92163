"""What is shipped, and the rules that the whole package keeps (read from its syntax trees)."""

from __future__ import annotations

import ast
import fnmatch
import functools
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import symgrad
from symgrad.runtime import dispatch
from symgrad.version import __version__

PACKAGE = Path(symgrad.__path__[0])
ROOT = Path(__file__).parent.parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A row may import the rows above it. Parts of one row do not know each other; the modules inside
# one folder may.
LAYERS = [
    ["errors", "forks", "log", "version"],
    ["collector", "lazy"],
    ["names", "origin", "tree", "specs", "fixed", "machines", "pickling", "resources"],
    ["interchange"],
    ["boundary", "options", "captures"],
    ["expr"],
    ["ops"],
    ["diff", "inspect", "tapes"],
    ["reader", "display"],
    ["simplify"],
    ["trace"],
    ["random", "graph", "signature", "lower"],
    ["scalar"],
    ["runtime"],
    ["emit"],
    ["generate"],
    ["interop"],
    ["compiled"],
    ["dispatcher", "sized"],
    ["transform"],
    ["carry"],
    ["derivatives", "batching", "control"],
    ["check", "sparse"],
    ["__init__"],
]
LEVEL = {part: level for level, row in enumerate(LAYERS) for part in row}

# Packages that are imported where they are used, so that `import symgrad` stays light or works
# without them. So are LATE ones: compiled functions need cffi, their C Jinja, and a process that
# finds its functions in the cache generates no C. Formulas and pictures are made when asked for.
LATE = (
    "symgrad.compiled.", "symgrad.dispatcher.", "symgrad.generate.", "symgrad.interop.",
    "symgrad.reader.", "symgrad.display.",
)  # fmt: skip
LAZY = {
    "log": "logging",
    "inspect": "sympy",
    "reader": "sympy",
    "sparse": "scipy",
    "interop": "scipy",
    "runtime": "scipy",
}
OPTIONAL = {"scipy"}

PUBLIC = """
    grad value_and_grad jacobian jacfwd jacrev hessian jvp vjp hvp vmap jit compile trace where
    stop_gradient check_grads sparse_jacobian sparse_hessian f64 f32 i64 i32 bool_
    cond switch while_loop fori_loop scan map checkpoint
""".split()


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def part_of(path: Path) -> str:
    """The row entry that a file belongs to: its folder below symgrad/, or its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


@functools.cache
def imports(path: Path) -> list[tuple[str, bool, int]]:
    """(module, inside a function, line) of each import that runs; ``from p import m`` is p.m."""
    found: list[tuple[str, bool, int]] = []
    stack: list[tuple[ast.AST, bool]] = [(parsed(path), False)]
    while stack:
        node, inside = stack.pop()
        if isinstance(node, ast.Import):
            found += [(alias.name, inside, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative: drop one name of the module for each dot
                package = ("symgrad", *path.relative_to(PACKAGE).with_suffix("").parts)
                base = ".".join([*package[: -node.level], *filter(None, [base])])
            found += [(f"{base}.{alias.name}", inside, node.lineno) for alias in node.names]
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        children = node.orelse if is_type_checking(node) else ast.iter_child_nodes(node)
        stack += [(child, inside or function) for child in children]
    return found


@pytest.mark.quick(102)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    here = part_of(path)
    assert here in LEVEL, f"add {here!r} to LAYERS"
    for module, inside, line in imports(path):
        where = f"{path}:{line}: import of {module}"
        if inside:
            late = module.split(".")[0] == LAZY.get(here) or module.startswith(LATE)
            assert late, f"{where} in a function"
        if module.split(".")[0] == "symgrad":
            part = module.split(".")[1]
            assert part in LEVEL, f"{where}: import from the module that defines it"
            assert part == here or LEVEL[part] < LEVEL[here], f"{where} points upwards or sideways"


MOST_LINES = {"ops": 600}  # tables, with what only their rows use


@pytest.mark.quick(102)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_has_one_subject_and_a_function_one_thing_to_do(path):
    text = path.read_text()
    assert text.count("\n") <= MOST_LINES.get(part_of(path), 550), "cut it along its section heads"
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 50, f"{path}:{node.lineno}: {node.name} has {lines} lines"


def dotted(node: ast.AST) -> str:
    """``a.b.c`` where that is all that the node is."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


@pytest.mark.quick(102)
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_forbidden_calls(path):
    modules = {module.split(".")[0] for module, _, _ in imports(path)}
    assert "marshal" not in modules
    for node in ast.walk(parsed(path)):
        name = dotted(node)
        assert name not in ("sys.setrecursionlimit", "setrecursionlimit"), f"{path}: {name}"
        assert not re.fullmatch(r"c?pickle\.(loads?|Unpickler)|os\.(system|popen)", name), name
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            assert node.module != "pickle" or not names & {"load", "loads", "Unpickler"}
            assert "setrecursionlimit" not in names
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            assert called not in ("eval", "exec"), f"{path}:{node.lineno}: {called}"
            for keyword in node.keywords:
                off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                assert keyword.arg != "shell" or off, f"{path}:{node.lineno}: shell="


def test_tests_do_not_import_each_other():
    """Also not in programs that they run: what two of them need is in tests/support."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        found = re.findall(r"^\s*(?:from|import) +(?:tests\.)?(test_\w+)", path.read_text(), re.M)
        assert not found, f"{path}: {found}"


def test_public_names():
    assert set(PUBLIC) <= set(symgrad.__all__)
    assert len(set(symgrad.__all__)) == len(symgrad.__all__)
    for name in symgrad.__all__:
        assert hasattr(symgrad, name), name


def test_version_is_stated_once():
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    try:
        installed = importlib.metadata.version("symgrad")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("symgrad is not installed")
    assert installed == __version__


def test_is_typed():
    assert (PACKAGE / "py.typed").exists()


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def required(lines: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", line).group().lower().replace("_", "-") for line in lines}


@pytest.mark.slow
def test_dependencies_are_those_imported(project):
    found = {module.split(".")[0] for path in SOURCES for module, _, _ in imports(path)}
    found = {"cffi" if name == "_cffi_backend" else name for name in found}
    found -= {"symgrad", "__future__", *sys.stdlib_module_names, *OPTIONAL}
    declared = required(project["project"]["dependencies"])
    assert {name.lower().replace("_", "-") for name in found} <= declared
    assert declared == {"numpy", "sympy", "jinja2", "cffi", "platformdirs", "opt-einsum"}


def test_extras(project):
    extras = project["project"]["optional-dependencies"]
    assert set(extras) == {"cc", "sparse", "examples", "test", "bench"}
    assert required(extras["sparse"]) == OPTIONAL <= required(extras["test"])
    assert required(extras["cc"]) == {"ziglang"} <= required(extras["test"])
    for tool in ("pytest", "pytest-xdist", "hypothesis", "ruff"):
        assert tool in required(extras["test"])


def test_templates_are_shipped(project):
    targets = project["tool"]["hatch"]["build"]["targets"]
    assert targets["wheel"]["force-include"] == {"templates": "symgrad/templates"}
    for path in ("/templates", "/tests", "/examples"):
        assert path in targets["sdist"]["include"]


def test_the_call_path_is_made_of_all_files_of_its_folder():
    """A file that is not listed would be shipped for nothing; one that is not there fails late."""
    assert sorted(dispatch._PARTS) == sorted(p.name for p in dispatch._FASTCALL.iterdir())
    assert PACKAGE in dispatch._FASTCALL.parents  # so it is in the wheel, as all of the package
    assert all(p.suffix in (".c", ".h") for p in dispatch._FASTCALL.iterdir())  # resources._below


def test_ci_runs_the_command_of_the_readme(project):
    """The script finds the README's command; here it prints what it would run."""
    script = (ROOT / ".ci" / "run").read_text()
    assert script.count('bash -euo pipefail -c "$1"') == 1
    script = script.replace('bash -euo pipefail -c "$1"', 'echo "$1"')
    script = script.replace('"$(dirname "${BASH_SOURCE[0]}")/.."', f'"{ROOT}"')
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    announced, command, *checks = result.stdout.splitlines()
    assert announced == f"+ {command}"
    assert "-m pytest" in command and command in (ROOT / "README.md").read_text()
    assert checks[1::2] and checks[::2] == [f"+ {check}" for check in checks[1::2]]
    tools = {check.split()[0].removeprefix(".venv/bin/") for check in checks[1::2]}
    assert tools <= required(project["project"]["optional-dependencies"]["test"])


def test_every_dependency_has_a_lower_bound():
    """An older version that pip may choose would break at the first call."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in project["dependencies"]:
        name, least = re.fullmatch(r"([\w]+)>=([\d.]+)", text).groups()
        installed = re.match(r"[\d.]+", importlib.metadata.version(name))[0].rstrip(".")
        numbers = [[int(n) for n in v.split(".")] for v in (installed, least)]
        assert numbers[0] >= numbers[1], text


def test_the_source_archive_has_what_tests_read():
    """Every file and folder at the top of the repository that a test names."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = table["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    top = {p.name for p in ROOT.iterdir()} - {".git", "pyproject.toml"}
    for path in (ROOT / "tests").rglob("*.py"):
        for name in re.findall(r"/ \"([\w.]+)\"", path.read_text(encoding="utf-8")):
            if name in top:
                assert any(fnmatch.fnmatch("/" + name, p) for p in patterns), (path.name, name)
