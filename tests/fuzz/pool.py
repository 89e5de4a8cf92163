"""Programs in child processes: each child takes many, and is replaced when it dies.

A child reads jobs, lines of JSON, from its standard input. It writes the stages it comes to, and
for each job one line with the outcome. A child that dies in the middle of a job is a finding, with
the stage it had come to; so is one that does not answer in time. Its cache of compiled C is private
and deleted with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_MOST_JOBS = 60  # of one child: libraries that are loaded stay loaded
_TESTS = Path(__file__).resolve().parents[1]


class Child:
    """One worker process."""

    def __init__(self, niceness: int = 0) -> None:
        self.folder = tempfile.mkdtemp(prefix="symgrad_fuzz_")
        environment = {
            **os.environ,
            "SYMGRAD_CACHE_DIR": f"{self.folder}/cache",
            "PYTHONPATH": os.pathsep.join([str(_TESTS), str(_TESTS.parent)]),
            "OMP_NUM_THREADS": "2",
            "OPENBLAS_NUM_THREADS": "1",
        }
        self.log = open(f"{self.folder}/stderr", "w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.pool"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            bufsize=0,
            start_new_session=True,
            preexec_fn=(lambda: os.nice(niceness)) if niceness else None,
        )
        os.set_blocking(self.process.stdout.fileno(), False)  # type: ignore[union-attr]
        self.jobs = 0
        self.stage = ""
        self.job: Any = None
        self.started = 0.0
        self._rest = b""

    def give(self, job: Any) -> None:
        self.job, self.stage, self.started = job, "start", time.monotonic()
        self.jobs += 1
        with contextlib.suppress(BrokenPipeError):  # seen as the end of its output
            rest = memoryview(json.dumps(job).encode() + b"\n")
            while rest:
                rest = rest[self.process.stdin.write(rest) :]  # type: ignore[union-attr, index]

    def read(self) -> dict[str, Any] | None:
        """What the child has written: an outcome, if it has one; {} if it has died."""
        data = self.process.stdout.read()  # type: ignore[union-attr]
        if data == b"":
            return {}
        *lines, self._rest = (self._rest + (data or b"")).split(b"\n")
        for line in lines:
            if line.startswith(b"@"):
                self.stage = line[1:].decode()
                if self.stage == "ready":  # imports are no part of a program's time
                    self.started = time.monotonic()
            elif line.startswith(b"{"):
                return json.loads(line)
        return None

    def last_words(self) -> str:
        self.log.flush()
        text = Path(self.log.name).read_text(errors="replace")
        return text[-1500:]

    def end(self) -> int:
        """Its exit status; the process, its compilers and its files are gone."""
        self.process.stdin.close()  # type: ignore[union-attr]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(2 if self.job is None else 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # a compiler may have outlived it
        status = self.process.wait()
        self.process.stdout.close()  # type: ignore[union-attr]
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return status


class Pool:
    """Runs jobs (text, options) and yields (job, outcome) as they come.

    seconds : for one program, after which its child is stopped
    """

    def __init__(self, size: int = 1, seconds: float = 120, niceness: int = 0) -> None:
        self.size, self.seconds, self.niceness = size, seconds, niceness
        self.children: list[Child] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: Any) -> None:
        for child in self.children:
            child.end()
        self.children.clear()

    def run(
        self, jobs: Iterable[Any], until: float = float("inf")
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Jobs that are not done `until` a time of time.monotonic() are given up, unanswered."""
        waiting = iter(jobs)
        busy: list[Child] = []
        idle = [c for c in self.children]
        done = False
        while busy or not done:
            while not done and len(busy) < self.size:
                job = next(waiting, None)
                if job is None:
                    done = True
                    break
                child = idle.pop() if idle else self._new()
                child.give(job)
                busy.append(child)
            if time.monotonic() > until:
                for child in busy:
                    self.children.remove(child)
                    child.end()
                return
            for child in self._ready(busy):
                outcome = self._outcome(child)
                if outcome is None:
                    continue
                job, child.job = child.job, None
                busy.remove(child)
                if "died" in outcome or child.jobs >= _MOST_JOBS:
                    self.children.remove(child)
                    child.end()
                else:
                    idle.append(child)
                yield job, outcome

    def one(self, text: str, **options: Any) -> dict[str, Any]:
        """The outcome of one program."""
        return next(outcome for _, outcome in self.run([(text, options)]))

    def _new(self) -> Child:
        child = Child(self.niceness)
        self.children.append(child)
        return child

    def _ready(self, busy: list[Child]) -> list[Child]:
        with selectors.DefaultSelector() as selector:
            for child in busy:
                selector.register(child.process.stdout, selectors.EVENT_READ, child)  # type: ignore[arg-type]
            ready = [key.data for key, _ in selector.select(timeout=0.5)]
        late = [c for c in busy if time.monotonic() - c.started > self.seconds]
        return ready + [c for c in late if c not in ready]

    def _outcome(self, child: Child) -> dict[str, Any] | None:
        answer = child.read()
        stage = child.stage
        if answer:
            return answer
        if answer is None and time.monotonic() - child.started <= self.seconds:
            return None
        if answer is None:
            kind = f"no answer within {self.seconds:.0f} s"
            message = ""
        else:
            status = child.process.wait()
            kind = f"died, {signal.Signals(-status).name if status < 0 else f'status {status}'}"
            message = child.last_words()
        return dict(findings=[[stage, kind, message]], refusals=[], paths={}, stages=[stage],
                    skipped="", died=True)  # fmt: skip


def serve() -> None:
    """The child's side."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a program prints is no answer

    def say(stage: str) -> None:
        answers.write(f"@{stage}\n")
        answers.flush()

    from fuzz import oracles

    oracles.forget_records()
    say("ready")

    for line in sys.stdin:
        text, options = json.loads(line)
        try:
            outcome = vars(oracles.check(text, options, say))
        except Exception as error:
            told = "".join(traceback.format_exception(error)[-4:])
            kind = f"the fuzzer itself: {type(error).__name__} {str(error)[:60]}"
            outcome = dict(findings=[["oracles", kind, told]], refusals=[], paths={}, stages=[],
                           skipped="")  # fmt: skip
        answers.write(json.dumps(outcome, default=int) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
