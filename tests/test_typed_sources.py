"""Functions that no file has: typed, piped in, given to -c, in a notebook, or sent by cloudpickle.

Each is a program of its own, run as a user runs it. What can be followed prints its derivatives;
of what cannot, the error says what to do.
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import symgrad as sg

ROOT = Path(sg.__file__).resolve().parents[1]

FUNCTION = """
def f(x):
    if x > 0.5:
        return x * x
    s = x
    while s < 3:
        s = s + 1.5
    return s * x
"""
SHOWN = "print('shown', round(sg.grad(f)(0.7), 9), round(sg.grad(f)(0.2), 9))\n"
RIGHT = "shown 1.4 3.4"  # 2 x, and 2 x + 3
PROGRAM = "import symgrad as sg\n" + FUNCTION + SHOWN


def run(command, text=None, **options) -> str:
    """What a program prints, errors too."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON_BASIC_REPL": "1"}
    done = subprocess.run(
        [sys.executable, "-P", *command], input=text, text=True, env=environment, timeout=600,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("flags", [["-c"], ["-W", "error", "-Bc"], ["-O", "-c"]], ids=" ".join)
@pytest.mark.quick(1)
def test_text_given_to_c(flags):
    assert RIGHT in run([*flags, PROGRAM, "-c", "other arguments"])


@pytest.mark.slow
def test_text_and_flag_in_one_word():
    assert RIGHT in run([f"-c{PROGRAM}"])


@pytest.mark.slow
def test_a_method_a_lambda_and_a_decorated_function():
    text = """
    import functools
    import symgrad as sg

    def twice(g):
        @functools.wraps(g)
        def both(x):
            return 2 * g(x)
        return both

    class Model:
        __rate = 0.5

        def loss(self, x):
            while x < 3:
                x = x + x * self.__rate
            return x

    @twice
    def f(x):
        return x * x if x > 0 else -x

    h = lambda x: x ** 3 if x > 0 else x  # a lambda
    print(sg.grad(Model().loss)(1.0), sg.grad(f)(-1.0), sg.grad(h)(1.0))
    """
    assert "3.375 -2.0 3.0" in run(["-c", textwrap.dedent(text)])


@pytest.mark.slow
def test_a_file_as_standard_input(tmp_path):
    path = tmp_path / "program.txt"
    path.write_text(PROGRAM)
    with path.open() as file:
        assert RIGHT in run(["-"], stdin=file)
    with path.open() as file:  # the prompt compiles each statement by itself, from line 1 on
        path.write_text(PROGRAM.replace(SHOWN, "\n" + SHOWN))
        assert RIGHT in run(["-i"], stdin=file)


@pytest.mark.slow
def test_a_pipe_as_standard_input_is_gone():
    """Nobody has that text any more: the loop is refused, with what to do."""
    told = run(["-"], PROGRAM)
    assert "BranchError" in told and "put it into a file" in told and "while_loop" in told


@pytest.mark.slow
def test_typed_at_the_prompt():
    """By a terminal of its own, so that Python asks for lines with readline."""
    pytest.importorskip("readline")
    outside, inside = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON_BASIC_REPL": "1", "TERM": "dumb",
                   "PYTHONSTARTUP": "", "HOME": "/nonexistent"}  # fmt: skip
    child = subprocess.Popen(
        [sys.executable, "-P", "-q"], stdin=inside, stdout=inside, stderr=inside, env=environment,
        close_fds=True, start_new_session=True,
    )  # fmt: skip
    os.close(inside)
    other = "def f(x):\n    return x  # another one of that name\n\n"
    for line in f"import symgrad as sg\n{other}{FUNCTION.lstrip()}\n{SHOWN}exit()\n".splitlines():
        os.write(outside, f"{line}\n".encode())
    told = b""
    while True:
        try:
            part = os.read(outside, 1 << 16)
        except OSError:  # its end is closed
            break
        if not part:
            break
        told += part
    assert child.wait(timeout=60) == 0
    os.close(outside)
    assert RIGHT in told.decode(), told.decode()


@pytest.mark.slow
def test_text_given_to_exec_is_gone():
    text = f"import symgrad as sg\nspace = {{}}\nexec({FUNCTION!r}, space)\nf = space['f']\n{SHOWN}"
    told = run(["-c", text])
    assert "BranchError" in told and "put it into a file" in told
    straight = "space = {}\nexec('def f(x):\\n    return x * x if x > 0 else -x', space)\n"
    told = run(["-c", f"import symgrad as sg\n{straight}f = space['f']\n{SHOWN}"])
    assert "shown 1.4 0.4" in told  # it is called once for each way


@pytest.mark.slow
def test_another_text_is_not_taken_for_its_own(tmp_path):
    """A function of exec with the lines of one of the program, but another constant."""
    other = FUNCTION.replace("1.5", "2.5")
    text = (
        f"import symgrad as sg\n{FUNCTION}\nspace = {{}}\nexec({other!r}, space)\nf = space['f']\n"
    )
    told = run(["-c", text + SHOWN])
    assert "BranchError" in told and "shown" not in told.splitlines()[-1]


SEND = """
import sys
import cloudpickle
import symgrad as sg
FUNCTION
sys.stdout.buffer.write(cloudpickle.dumps(f))
"""
RECEIVE = "import pickle, sys\nimport symgrad as sg\nf = pickle.load(open(sys.argv[1], 'rb'))\n"


@pytest.mark.slow
def test_sent_by_cloudpickle(tmp_path):
    """By value, the text stays behind: what can be explored is right, a loop is refused."""
    pytest.importorskip("cloudpickle")
    for name, function, expected in (
        ("loop", FUNCTION, "put it into a file"),
        ("branch", "def f(x):\n    return x * x if x > 0.5 else 3 * x\n", "shown 1.4 3.0"),
    ):
        path = tmp_path / f"{name}.py"
        path.write_text(SEND.replace("FUNCTION", function))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        sent = subprocess.run([sys.executable, "-P", path], env=environment, capture_output=True)
        (tmp_path / "sent").write_bytes(sent.stdout)
        assert expected in run(["-c", RECEIVE + SHOWN, str(tmp_path / "sent")])


def test_in_a_notebook(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cell = nbformat.v4.new_code_cell
    book = nbformat.v4.new_notebook()
    book.cells = [
        cell("import symgrad as sg"), cell(FUNCTION + SHOWN),
        cell(f"%%time\n{FUNCTION.replace('1.5', '1.25')}{SHOWN}"),
        cell("f = lambda x: x * x if x > 0.5 else 3 * x\n" + SHOWN),
    ]  # fmt: skip
    os.environ["PYTHONPATH"] = str(ROOT)
    client.NotebookClient(book, timeout=600, kernel_name="python3").execute()
    told = ["".join(o.get("text", "") for o in c.outputs) for c in book.cells]
    assert RIGHT in told[1]
    assert "shown 1.4 4.15" in told[2]  # s = x + 3 * 1.25
    assert "shown 1.4 3.0" in told[3]
