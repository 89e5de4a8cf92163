"""Everything side by side: symgrad, code by hand, and the other tools.

    python benchmarks/run.py                          all works, all sizes, all peers
    python benchmarks/run.py --only gmm,ba --peers JAX,C --quick
    python benchmarks/run.py --readme                 the README's table from the last results

Writes results as JSON and a plot beside it. What is measured, and how, stands in harness.py.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import warnings
from pathlib import Path

import environment

WORKS = "gmm ba expression mlp logistic rosenbrock_hessian dense_hessian call first_call".split()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--only", default=",".join(WORKS), help="works, separated by commas")
    add("--peers", default="", help="parts of names of peers; symgrad and the reference stay")
    add("--quick", action="store_true", help="small sizes, few rounds, no slow compilers")
    add("--threads", type=int, default=1)
    add("--out", type=Path, default=Path(__file__).parent / "results.json")
    add("--readme", action="store_true", help="only rewrite the README's table")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    environment.limit_threads(options.threads)
    import harness  # and with it NumPy
    import report

    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")

    if options.readme:
        report.write_readme(json.loads(options.out.read_text()))
        return

    asked = [part.strip() for part in options.peers.split(",") if part.strip()]

    def wanted(peer: str) -> bool:
        if options.quick and peer.startswith(work.slow):
            return False
        return not asked or peer.startswith("symgrad") or any(part in peer for part in asked)

    rounds = harness.FEW_ROUNDS if options.quick else harness.ROUNDS
    clock = "cpu" if options.threads == 1 else "wall"
    results = {"schema": harness.SCHEMA, "clock": clock, "works": [],
               "surroundings": harness.surroundings(options.threads)}  # fmt: skip
    for name in options.only.split(","):
        work = importlib.import_module(name).WORK
        for size in work.sizes[: work.quick] if options.quick else work.sizes:
            rows = harness.run_size(work, size, wanted, rounds, clock)
            results["works"].append({"work": name, "title": work.title, "size": size, "rows": rows})
            print(report.text_table(results["works"][-1]), flush=True)
            harness.write_json(options.out, results)
    report.plot(results, options.out.with_suffix(""))


if __name__ == "__main__":
    sys.exit(main())
