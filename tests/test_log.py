"""What SYMGRAD_LOG says, and the line for who waits."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest

import symgrad as sg
from symgrad import log
from symgrad.runtime import dispatch


def bowl(x):
    return np.sum(x**2) + np.log(1.25 + x[0] ** 2)


def records(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "symgrad"]


def test_each_stage_says_what_it_did_how_much_and_in_what_time(caplog, tmp_path, monkeypatch):
    monkeypatch.setenv("SYMGRAD_CACHE_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    with caplog.at_level(logging.INFO, "symgrad"):
        sg.grad(bowl)(np.arange(3.0))
        said = records(caplog)
    steps = (
        r"bowl traced: \d+ nodes", r"bowl simplified: \d+ nodes", r"bowl derived: \d+ nodes",
        r"grad_bowl traced: \d+ nodes", r"grad_bowl simplified: \d+ nodes",
        r"grad_bowl lowered: scalar form, \d+ operations",
        r"grad_bowl written as C: \d+ bytes",
        r"grad_bowl compiled: \d+ bytes of C at -O3 by .+",
    )  # fmt: skip
    assert len(said) == len(steps)
    for step, message in zip(steps, said, strict=True):
        assert re.fullmatch(rf"{step} \(\d+\.\d m?s\)", message), message
    caplog.clear()
    with caplog.at_level(logging.INFO, "symgrad"):
        sg.compile(sg.grad(bowl), sg.f64[3])
        assert not any("compiled" in m for m in records(caplog))  # it is in this process


def test_times_are_those_of_the_stage_itself(caplog):
    with caplog.at_level(logging.INFO, "symgrad"):
        with log.Stage("doing", "done", "outer"):
            with log.Stage("doing", "done", "inner"):
                time.sleep(0.05)
    inner, outer = (float(re.search(r"([\d.]+) ms", m)[1]) for m in records(caplog))
    assert inner >= 50 > 10 > outer


def test_a_stage_that_fails_says_nothing_and_takes_those_inside_with_it(caplog):
    with caplog.at_level(logging.INFO, "symgrad"):
        with log.work("all"):
            with pytest.raises(ZeroDivisionError), log.Stage("doing", "done", "outer"):
                log.Stage("doing", "done", "inner").begin()
                1 / 0  # noqa: B018
            with log.Stage("doing", "done", "next"):
                pass
    assert [m.partition(" (")[0] for m in records(caplog)] == ["next done"]
    assert log._STACK.stages == []


class Terminal(io.StringIO):
    def isatty(self):
        return True


def work(seconds):
    with log.work("f"), log.Stage("simplifying", "simplified", "f"):
        time.sleep(seconds)


def test_long_work_in_a_terminal_has_a_line_that_goes_away(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(log, "_PATIENCE", 0.02)
    monkeypatch.setattr(log, "_BETWEEN", 0.01)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    work(0.2)
    shown = terminal.getvalue()
    assert "\r\x1b[Ksymgrad: simplifying f (0 s so far)" in shown
    assert shown.endswith("\r\x1b[K") and "\n" not in shown
    count = shown.count("\r")
    assert count > 2
    time.sleep(0.05)
    assert terminal.getvalue() == shown  # nothing goes on
    work(0.0)
    assert terminal.getvalue() == shown  # nothing for short work


@pytest.mark.parametrize("why", ["pipe", "dumb", "log", "off", "background"])
def test_no_line_where_nobody_looks(why, monkeypatch, caplog):
    stream = io.StringIO() if why == "pipe" else Terminal()
    monkeypatch.setattr(log, "_PATIENCE", 0.0)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "dumb" if why == "dumb" else "xterm")
    monkeypatch.setattr(log, "_ASKED", "0" if why == "off" else "")
    if why == "background":
        monkeypatch.setattr(log._STACK, "unseen", True)
    before = threading.active_count()
    with caplog.at_level(logging.INFO if why == "log" else logging.WARNING, "symgrad"):
        with log.work("f"):
            assert threading.active_count() == before
            time.sleep(0.02)
    assert stream.getvalue() == ""


def test_the_line_in_a_notebook(monkeypatch):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data["text/plain"])

    def display(data, raw, display_id):
        shown.append(data["text/plain"])
        return Handle()

    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    monkeypatch.setattr(log, "_PATIENCE", 0.02)
    work(0.1)
    assert shown[0] == "symgrad: simplifying f (0 s so far)" and shown[-1] == ""


@pytest.mark.slow
def test_nothing_is_imported_or_started_where_nobody_asks():
    program = (
        "import sys, numpy as np, symgrad as sg\n"
        "sg.trace(sg.grad(lambda x: np.sum(np.sin(x))), sg.f64[3]).simplify()\n"
        "print('logging' in sys.modules)\n"
    )
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (seen.stdout, seen.stderr) == ("False\n", "")


def test_fast_calls_says_whether_and_waits(monkeypatch, caplog):
    assert sg.fast_calls() and sg.fast_calls(wait=True)  # the suite has loaded the path
    native, begun = dispatch._native, threading.Event()

    def load():
        begun.set()
        time.sleep(0.1)
        dispatch._native = native

    monkeypatch.setattr(dispatch, "_native", None)
    monkeypatch.setattr(dispatch, "_background", None)
    monkeypatch.setattr(dispatch, "load", load)
    with caplog.at_level(logging.INFO, "symgrad"):
        assert not sg.fast_calls() and not begun.is_set()  # to ask starts nothing
        assert not sg.fast_calls(wait=0.01) and begun.is_set()
        assert sg.fast_calls(wait=True)
    first, last = records(caplog)
    assert "through Python, until the call path is built" in first
    assert "calls are fast from now on" in last
