"""What takes time, and how much: to `logging` for who asks, in a line that goes away for who waits.

In: stages, as they begin and end. Out: a record of the logger "symgrad" for each, at level INFO,
if anybody listens (SYMGRAD_LOG=1 makes the standard error listen); and, after two seconds of work
in a terminal or a notebook, one line that says which stage it is in. Nothing else depends on this
module, and where neither is wanted a stage costs a microsecond.
"""

from __future__ import annotations

import contextvars
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

NAME = "symgrad"
_ASKED = os.environ.get("SYMGRAD_LOG", "")  # 1: the log; 0: not even the line
_PATIENCE = 2.0  # seconds of work from which on a line says what it is
_BETWEEN = 0.5  # seconds between two states of the line

Text = Callable[[], str]


def listening() -> bool:
    """Whether somebody wants records: only who has imported `logging` can."""
    logging = sys.modules.get("logging")
    return logging is not None and logging.getLogger(NAME).isEnabledFor(logging.INFO)


def note(text: Text) -> None:
    """One record, whose text is made only if somebody listens."""
    if listening():
        sys.modules["logging"].getLogger(NAME).info("%s", text())


def _to_standard_error() -> None:
    import logging  # not at import of symgrad: it takes 5 ms, and few ask for it

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("symgrad: %(message)s"))
    logger = logging.getLogger(NAME)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


class _Stack(threading.local):
    """The stages that a thread is in, the innermost last."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.unseen = False


_STACK = _Stack()


class Stage:
    """A piece of work, as a context.

    doing, done : what it is called meanwhile ("tracing") and afterwards ("traced")
    name : of the function
    facts : what is known at its end, such as sizes; set by who does the work

    Times are a stage's own: those of the stages inside of it are theirs. A stage that ends by an
    exception leaves no record.
    """

    __slots__ = ("doing", "done", "name", "facts", "_start", "_inside", "_line", "_depth")

    facts: Text | None
    _line: _Line | None

    def __init__(self, doing: str, done: str, name: str) -> None:
        self.doing, self.done, self.name = doing, done, name
        self.facts = self._line = None

    def begin(self) -> Stage:
        stages = _STACK.stages
        self._depth, self._inside = len(stages), 0.0
        stages.append(self)
        if not self._depth and not _STACK.unseen and _is_watched():
            self._line = _Line(stages)
        self._start = time.perf_counter()
        return self

    def end(self, whole: bool = True) -> None:
        """The work is done; or, not `whole`, given up, as are all stages inside."""
        seconds = time.perf_counter() - self._start
        stages = _STACK.stages
        del stages[self._depth :]
        if stages:
            stages[-1]._inside += seconds
        if self._line is not None:
            self._line.close()
        if whole and self.done and listening():
            facts = "" if self.facts is None else f": {self.facts()}"
            note(lambda: f"{self.name} {self.done}{facts} ({spoken(seconds - self._inside)})")

    def __enter__(self) -> Stage:
        return self.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.end(kind is None)


def work(name: str) -> Stage:
    """A piece of work that only holds others together, so that the line tells of all of it."""
    return Stage("preparing", "", name)


def in_background() -> None:
    """Nobody waits for what this thread does: it shows no line."""
    _STACK.unseen = True


def spoken(seconds: float) -> str:
    """A time as people say it: 3.1 ms, 2.4 s."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1e3 * seconds:.1f} ms"


# ---- the line ----------------------------------------------------------------------------------


def _is_watched() -> bool:
    """Whether a person may be waiting, who does not read the log."""
    if _ASKED == "0" or listening():
        return False
    return _notebook() is not None or _is_terminal()


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # no standard error, or a closed one
        return False


def _notebook() -> Any:
    """IPython.display if this is a notebook's process."""
    shell = sys.modules.get("IPython")
    if shell is None or getattr(shell.get_ipython(), "kernel", None) is None:
        return None
    return sys.modules.get("IPython.display")


class _Line:
    """A thread that shows, after a while, what the innermost stage is, until it is told to stop."""

    def __init__(self, stages: list[Stage]) -> None:
        self.stages = stages
        self.since = time.monotonic()
        self.process = os.getpid()
        self.over = threading.Event()
        self.shown: Any = None  # what erases it
        # A notebook knows by the context for which cell it is.
        run = contextvars.copy_context().run
        self.thread = threading.Thread(target=run, args=(self._watch,), daemon=True)
        self.thread.name = "symgrad-progress"
        self.thread.start()

    def close(self) -> None:
        """Take the line away."""
        if self.process == os.getpid():  # a child of fork lacks the thread
            self.over.set()
            self.thread.join()

    def _watch(self) -> None:
        if self.over.wait(_PATIENCE):
            return
        try:
            while True:
                self._show()
                if self.over.wait(_BETWEEN):
                    break
            self._erase()
        except (OSError, ValueError):  # the terminal has gone
            pass

    def _text(self) -> str:
        stages = self.stages[:]
        seconds = time.monotonic() - self.since
        if not stages:
            return ""
        return f"symgrad: {stages[-1].doing} {stages[-1].name} ({seconds:.0f} s so far)"

    def _show(self) -> None:
        text = self._text()
        notebook = _notebook()
        if notebook is None:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{text[:width]}")
            sys.stderr.flush()
            self.shown = self.shown or "terminal"
        elif self.shown is None:
            self.shown = notebook.display({"text/plain": text}, raw=True, display_id=True)
        else:
            self.shown.update({"text/plain": text}, raw=True)

    def _erase(self) -> None:
        if self.shown == "terminal":
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        elif self.shown is not None:
            self.shown.update({"text/plain": ""}, raw=True)


if _ASKED not in ("", "0"):
    _to_standard_error()
