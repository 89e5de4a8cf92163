"""Two checkouts side by side: python benchmarks/compare.py OLD NEW [--rounds 3] [--only gmm,ba]

Runs the works of both in turn and prints, for each, the time of NEW in that of OLD: of the best
and of the median round, CPU time; then the same of deriving and of compiling (medians).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

Times = dict[tuple[str, str, str], dict[str, list[float]]]


def run(checkout: Path, folder: Path, only: str | None) -> list[dict]:
    """The works of a checkout, once, without other tools."""
    out = folder / "results.json"
    command = [sys.executable, "benchmarks/run.py", "--peers", "no such peer", "--out", str(out)]
    command += ["--only", only] if only else []
    cache = str(folder / f"cache of {checkout.resolve().name}")
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "SYMGRAD_CACHE_DIR": cache}
    subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True)
    return json.loads(out.read_text())["works"]


def note(times: Times, works: list[dict]) -> None:
    for work in works:
        size = ", ".join(map(str, work["size"].values()))
        for row in work["rows"]:
            if row["peer"].startswith("symgrad"):
                mine = times.setdefault((work["work"], size, row["peer"]), {})
                for what in ("evaluate", "derive", "compile"):
                    if row.get(what):
                        mine.setdefault(what, []).append(row[what])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only")
    options = parser.parse_args()
    old: Times = {}
    new: Times = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            note(old, run(options.old, Path(folder), options.only))
            note(new, run(options.new, Path(folder), options.only))
    print("best   median derive compile")
    for key in sorted(old.keys() & new.keys()):
        before, after = old[key], new[key]
        ratios = [min(after["evaluate"]) / min(before["evaluate"])]
        for what in ("evaluate", "derive", "compile"):
            both = before.get(what), after.get(what)
            found = all(both)
            ratios.append(statistics.median(both[1]) / statistics.median(both[0]) if found else 0)
        print(*(f"{r:.3f} " if r else "  -   " for r in ratios), *key)


if __name__ == "__main__":
    main()
