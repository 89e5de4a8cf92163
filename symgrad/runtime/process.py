"""Run commands under control: a limit of time, Ctrl-C, groups of processes, a small environment.

In: a command. Out: its status and output, or an exception. Nothing here knows what a compiler is.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from symgrad.errors import BuildError, CompileTimeoutError

# What a compiler needs of the user's environment. CPATH, LIBRARY_PATH, GCC_EXEC_PREFIX,
# COMPILER_PATH, CCC_OVERRIDE_OPTIONS and the like would change its output behind the key.
_ENVIRONMENT = (
    "PATH", "HOME", "LD_LIBRARY_PATH", "SDKROOT", "DEVELOPER_DIR", "MACOSX_DEPLOYMENT_TARGET",
    "CCACHE_DIR", "ZIG_GLOBAL_CACHE_DIR",
)  # fmt: skip
_OUTPUT_KEPT = 1 << 18  # bytes of compiler output kept at either end


def side_by_side(works: Sequence[Callable[..., None]]) -> None:
    """Do all, as many at once as there are processors; the first failure ends the others."""
    stop = threading.Event()
    waiting = list(reversed(works))
    failures: list[BaseException] = []

    def work() -> None:
        while not stop.is_set():
            try:
                next_ = waiting.pop()
            except IndexError:
                return
            try:
                next_(stop=stop)
            except BaseException as error:
                failures.append(error)
                stop.set()

    threads = [threading.Thread(target=work) for _ in works[: _processors()]]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:  # also when Ctrl-C ends the waiting
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def timeout() -> float:
    """Seconds that one run of the compiler may take: ``SYMGRAD_CC_TIMEOUT``, else 120."""
    text = os.environ.get("SYMGRAD_CC_TIMEOUT") or "120"
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or float(text) == 0.0:
        raise BuildError(f"SYMGRAD_CC_TIMEOUT={text!r} is not a positive number of seconds.")
    return float(text)


# --- running it -----------------------------------------------------------------------------


def run(
    argv: tuple[str, ...],
    cwd: Path,
    scratch: Path | None,
    seconds: float,
    stop: threading.Event | None = None,
) -> tuple[int, str]:
    """Exit status and output of a command that leads a process group of its own.

    Whatever ends this function early (timeout, Ctrl-C, `stop`) also ends the whole group. Of a
    long output the beginning and the end are kept.
    """
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    environment["LC_ALL"] = "C"
    if scratch:
        environment["TMPDIR"] = environment["ZIG_LOCAL_CACHE_DIR"] = str(scratch)
    process = None
    try:
        with _interrupt_later():
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert process.stdout is not None
        deadline = time.monotonic() + seconds
        output = _read_until(process.stdout.fileno(), deadline, stop)
        status = process.wait(max(0.0, deadline - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        raise CompileTimeoutError(
            f"{argv[0]} did not finish within {seconds:g} s and was stopped. SYMGRAD_CC_TIMEOUT "
            "sets the limit; a smaller function compiles faster, and so does SYMGRAD_CFLAGS=-O0."
        ) from error
    except OSError as error:
        raise BuildError(f"{argv[0]} could not be started: {error.strerror or error}.") from error
    finally:
        if process is not None:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # not reaped yet: the number is still ours
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
    return status, output.decode("utf-8", "replace")


@contextlib.contextmanager
def _interrupt_later() -> Iterator[None]:
    """Keep Ctrl-C until the end of the block: a process half started could not be ended."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield  # Python interrupts no other thread
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda *call: came.append(call))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if came:
        handler(*came[-1])


def _read_until(fd: int, deadline: float, stop: threading.Event | None) -> bytes:
    head = tail = b""
    poll = select.poll()  # select() fails on descriptors above 1023
    poll.register(fd, select.POLLIN | select.POLLHUP)
    while (left := deadline - time.monotonic()) > 0:
        if stop is not None and stop.is_set():
            raise BuildError("stopped, since another part of the function failed to compile")
        if not poll.poll(1000 * (left if stop is None else min(left, 0.1))):
            continue
        chunk = os.read(fd, 1 << 16)
        if not chunk:
            return head + tail
        if len(head) < _OUTPUT_KEPT:
            head += chunk
        else:
            tail = (tail + chunk)[-_OUTPUT_KEPT:]
    raise TimeoutError


def ending(status: int) -> str:
    """How a command ended, in words."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by signal {-status} ({signal.strsignal(-status)})"
