"""Table of what symgrad takes unchanged: `python tests/corpus/run.py [--order 2] [names]`.

Each entry runs in a child process of its own with a limit of processor time, one at a time. The
counts at the end are the measure.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [p for p in (str(ROOT), str(ROOT / "tests")) if p not in sys.path]

from corpus.measure import COLLECTIONS, Verdict, collection, measure, on_duals  # noqa: E402

SECONDS = 60
REFUSED = Path(__file__).parent / "refused.txt"


def listed() -> dict[str, str]:
    """What is not taken, and what happens instead."""
    lines = [line.split() for line in REFUSED.read_text().splitlines() if line[:1] != "#"]
    return {name: status for name, status in lines}


def text_of(verdicts: dict[str, str]) -> str:
    """The text of refused.txt, in the order of the collections."""
    lines = ["# What symgrad does not take yet, and what happens instead."]
    for group in COLLECTIONS:
        lines.append(f"# {group}")
        lines += [f"{n} {verdicts[n]}" for n in collection(group) if n in verdicts]
    return "\n".join(lines) + "\n"


def _child(sender: Any, job: Callable[[], Verdict], seconds: int) -> None:
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))
    sender.send(job())


def in_child(job: Callable[[], Verdict], seconds: int = SECONDS) -> Verdict:
    """A verdict found by a child process, which may die or take too long."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, job, seconds))
    started = time.monotonic()
    child.start()
    sender.close()
    try:
        arrived = receiver.poll(4 * seconds)
        verdict = receiver.recv() if arrived else Verdict("slow", f"over {4 * seconds} s")
    except EOFError:
        child.join(10)
        if child.exitcode in (-signal.SIGXCPU, -signal.SIGKILL):
            verdict = Verdict("slow", f"over {seconds} s of processor time")
        else:
            verdict = Verdict("crash", f"the process died: {child.exitcode}")
    if child.is_alive() and verdict.status == "slow":
        os.killpg(child.pid, signal.SIGKILL)
    child.join()
    receiver.close()
    return Verdict(verdict.status, verdict.told, time.monotonic() - started)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="entries or collections; all if none is given")
    parser.add_argument("--list", action="store_true", help="names only")
    parser.add_argument("--order", type=int, default=1, choices=(1, 2))
    parser.add_argument("--graphs", action="store_true", help="evaluate graphs, compile no C")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--update", action="store_true", help=f"write {REFUSED.name}")
    parser.add_argument("--only", nargs="*", help="print entries with these verdicts only")
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = {}
    verdicts = listed()
    with tempfile.TemporaryDirectory(prefix="symgrad_corpus_") as folder:
        os.environ["SYMGRAD_CACHE_DIR"] = folder
        for group in COLLECTIONS:
            chosen = [
                n for n in collection(group)
                if not options.names or n in options.names or group in options.names
            ]  # fmt: skip
            if options.list:
                print(*chosen, sep="\n")
                continue
            if chosen:
                on_duals(group)
            for name in chosen:
                job = functools.partial(measure, name, options.order, not options.graphs)
                verdict = in_child(job, options.seconds)
                verdicts[name] = verdict.status
                counts.setdefault(group, Counter())[verdict.status] += 1
                if not options.only or verdict.status in options.only:
                    line = f"{group:10} {name:28} {verdict.status:9} {verdict.seconds:5.1f} s  "
                    print(line + verdict.told[:160], flush=True)
    for group, found in counts.items():
        told = ", ".join(f"{n} {status}" for status, n in sorted(found.items()))
        print(f"{group}: {sum(found.values())} entries: {told}")
    if options.update:
        REFUSED.write_text(text_of({n: s for n, s in verdicts.items() if s != "right"}))
    bad = sum(found[s] for found in counts.values() for s in ("WRONG", "crash", "no oracle"))
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
