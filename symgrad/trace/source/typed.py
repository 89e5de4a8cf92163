"""Texts that no file has: what was typed, piped in, or given to ``python -c``.

In: a code object whose file is a name such as ``<stdin>``. Out: lines that may be its source. They
are guesses, which `reading` proves: it compiles them and compares the code.

* ``python -c TEXT``: the arguments of the process
* ``python < FILE``: the file that is its standard input
* Python's prompt, up to 3.12: the history of readline. Later ones leave their lines in `linecache`
* IPython and notebooks, for cells under a magic such as ``%%time``: their inputs
"""

from __future__ import annotations

import os
import stat
import sys
import types
from collections.abc import Iterator

_MOST_BYTES = 1 << 24  # of a file that is standard input
_MOST_MORE = 4  # lines behind the last one that has code, such as closing brackets


def candidates(code: types.CodeType) -> Iterator[list[str]]:
    """Lines in which those of `code` have its numbers, the likeliest first."""
    last = _last_line(code)
    for lines in _texts():
        for at in range(len(lines) - 1, -1, -1):
            start = at - (code.co_firstlineno - 1)
            if start >= 0 and _may_begin(lines[at], code.co_name):
                if start == 0:  # a whole text: imports in it change how calls are compiled
                    yield lines
                for end in range(start + last, start + last + _MOST_MORE):
                    if end <= len(lines):
                        yield lines[start:end]


def _may_begin(line: str, name: str) -> bool:
    if name == "<lambda>":
        return "lambda" in line
    return line.lstrip().startswith("@") or (f"def {name}" in line)


def _last_line(code: types.CodeType) -> int:
    """The last line of a function that has code."""
    last, stack = code.co_firstlineno, [code]
    while stack:
        inner = stack.pop()
        last = max([last, *(line for _, _, line in inner.co_lines() if line is not None)])
        stack += [c for c in inner.co_consts if isinstance(c, types.CodeType)]
    return last


def _texts() -> Iterator[list[str]]:
    for text in (_argument(), _standard_input()):
        if text:
            yield text.splitlines(keepends=True)
    history = _history()
    if history:
        yield history
    yield from _cells()


def _argument() -> str | None:
    """What follows -c on the command line of this process."""
    arguments = list(getattr(sys, "orig_argv", ()))[1:]
    for k, word in enumerate(arguments):
        if not word.startswith("-") or word.startswith("--"):
            continue
        _, found, text = word.partition("c")
        if found:
            return text or (arguments[k + 1] if k + 1 < len(arguments) else None)
    return None


def _standard_input() -> str | None:
    """The file that is standard input, without moving on in it."""
    try:
        status = os.fstat(0)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            return None
        return os.pread(0, status.st_size, 0).decode()
    except (OSError, AttributeError, ValueError):
        return None


def _history() -> list[str]:
    """What was typed at the prompt, as far as readline keeps it."""
    readline = sys.modules.get("readline")
    if readline is None:
        return []
    count = readline.get_current_history_length()
    lines = [readline.get_history_item(k) for k in range(1, count + 1)]
    return [f"{line or ''}\n" for line in lines]


def _cells() -> Iterator[list[str]]:
    """The inputs of IPython, the last one first."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    inputs = getattr(getattr(shell, "history_manager", None), "input_hist_raw", ())
    for text in list(inputs)[::-1]:
        lines = str(text).splitlines(keepends=True)
        while lines and lines[0].lstrip().startswith("%"):  # of a magic, which runs the rest
            del lines[0]
        yield lines
