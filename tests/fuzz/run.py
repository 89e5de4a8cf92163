"""Run random NumPy programs against the oracles.

    python tests/fuzz/run.py --minutes 60 [--seed N] [--jobs 2] [--out DIRECTORY]
    python tests/fuzz/run.py --replay FILE…

Prints findings as they come, then minimised and grouped by kind; how often each path of lowering
was taken; refusals by message; hours of CPU. The exit status is 1 if there are findings, or if some
path was never taken in a run of half an hour or more, 0 otherwise.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    here = Path(__file__).resolve().parent
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != here]
    sys.path[:0] = [str(here.parent), str(here.parents[1])]

from fuzz.grammar import KINDS, program
from fuzz.oracles import STAGES
from fuzz.pool import Pool
from fuzz.report import Report, diagnosed, options_of, smaller

_GRACE = 8  # seconds for programs that are under way when the time is over
_LONG = 30 * 60  # seconds, of a run that has to take every path


def programs(
    first: int,
    seconds: float,
    without: frozenset[str] = frozenset(),
    graphs: bool = False,
    stages: Sequence[str] = (),
) -> Iterator[Any]:
    """Jobs with consecutive seeds until the time is over."""
    end = time.monotonic() + seconds
    for seed in itertools.count(first):
        if time.monotonic() > end:
            return
        text, options = program(seed, without)
        yield text, {**options, "graphs": graphs, "stages": list(stages) or options["stages"]}


def explore(
    first: int,
    seconds: float,
    jobs: int = 1,
    *,
    shrink: float = 90,
    without: frozenset[str] = frozenset(),
    tell: Any = None,
    niceness: int = 0,
    examples: int = 2,
    graphs: bool = False,
    patience: float = 120,
    stages: Sequence[str] = (),
) -> Report:
    """Programs from seed `first` on, for so many seconds; then findings made small.

    shrink : seconds for one; of a group, `examples` are minimised, the rest counted
    patience : seconds for the answer of one program
    stages : what is done with each program; some at random if empty
    graphs : whether graphs are evaluated and C is emitted, but not compiled
    """
    report = Report()
    with Pool(jobs, patience, niceness) as pool:
        until = time.monotonic() + seconds + _GRACE
        for job, outcome in pool.run(programs(first, seconds, without, graphs, stages), until):
            for f in report.add(job, outcome):
                if tell:
                    tell(f"seed {f.options['seed']}: {f.stage}: {f.kind}: {f.message[:160]}")
    with Pool(1, patience, niceness) as pool:
        _minimise(report, pool, shrink, examples)
    return report


def _minimise(report: Report, pool: Pool, seconds: float, examples: int) -> None:
    met: dict[str, int] = {}
    unknown: dict[str, int] = {}
    for k, f in enumerate(report.findings):
        unknown[f.kind] = unknown.get(f.kind, 0) + 1
        if unknown[f.kind] > 6 * examples:
            continue  # counted, not looked at
        if " in " not in f.kind:  # an exception says itself where it comes from
            f.cures = diagnosed(f, pool)
        met[f.group] = met.get(f.group, 0) + 1
        if met[f.group] <= examples:
            report.findings[k] = smaller(f, pool, seconds)


def _name(group: str) -> str:
    return re.sub(r"\W+", "_", group).strip("_")[:60]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10**9 * 1000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where minimised findings are written as files")
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument(
        "--patience", type=float, default=120, help="seconds for an answer; more on a busy machine"
    )
    parser.add_argument("--without", nargs="*", default=[], choices=list(KINDS))
    parser.add_argument("--stages", nargs="*", default=[], choices=STAGES)
    parser.add_argument("--graphs", action="store_true", help="no C is compiled: ten times faster")
    parser.add_argument("--replay", nargs="*", type=Path, default=[])
    options = parser.parse_args()
    if options.replay:
        report = Report()
        with Pool(1) as pool:
            for path in options.replay:
                text = path.read_text()
                job = (text, options_of(text))
                for f in report.add(job, pool.one(text, **job[1])):
                    print(f"{path}: {f.stage}: {f.kind}\n{f.message}")
        return int(bool(report.findings))
    seconds = 60 * options.minutes
    print(f"seed {options.seed}", flush=True)
    report = explore(
        options.seed,
        seconds,
        options.jobs,
        without=frozenset(options.without),
        tell=lambda line: print(line, flush=True),
        niceness=options.nice,
        graphs=options.graphs,
        stages=options.stages,
        patience=options.patience,
    )
    for group, found in report.groups().items():
        print(f"\n{'=' * 100}\n{len(found)} times: {group}\n")
        for n, f in enumerate(sorted(found, key=lambda f: len(f.text))[:2]):
            print(f.file())
            if options.out:
                options.out.mkdir(parents=True, exist_ok=True)
                (options.out / f"{_name(group)}_{n}.py").write_text(f.file())
    print(report.text())
    incomplete = seconds >= _LONG and bool(report.never_taken())
    return int(bool(report.findings) or incomplete)


if __name__ == "__main__":
    sys.exit(main())
