"""Tables and the plot from the JSON that run.py writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
START, END = "<!-- benchmark table -->", "<!-- end -->"
PACKAGES = ["C by hand", "NumPy", "JAX", "PyTorch", "CasADi", "PyTensor", "heyoka", "numba"]


def seconds(value: float | None) -> str:
    """Two to three digits and a unit."""
    if value is None:
        return "-"
    for unit, scale in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def label(size: dict[str, Any]) -> str:
    return ", ".join(f"{k}={v:,}".replace(",", " ") if isinstance(v, int) else str(v)
                     for k, v in size.items())  # fmt: skip


def heading(entry: dict[str, Any]) -> str:
    """What is computed, and how much of it."""
    return ", ".join(filter(None, [entry["title"], label(entry["size"])]))


def ratio(time: float | None, own: dict[str, Any] | None) -> str:
    """`time` over symgrad's, to two digits."""
    if not time or own is None:
        return ""
    value = time / own["evaluate"]
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


def times(entry: dict[str, Any], start: str) -> list[float]:
    """Evaluation times of the peers whose names start so."""
    return [row["evaluate"] for row in entry["rows"]
            if row["peer"].startswith(start) and row["evaluate"]]  # fmt: skip


def own_row(entry: dict[str, Any]) -> dict[str, Any] | None:
    """symgrad's first row that was timed."""
    rows = (r for r in entry["rows"] if r["peer"].startswith("symgrad") and r["evaluate"])
    return next(rows, None)


def text_table(entry: dict[str, Any]) -> str:
    """One work at one size; the ratio is to symgrad, so more than 1 is slower than symgrad."""
    own = own_row(entry)
    lines = [f"\n{entry['work']}: {heading(entry)}",
             f"{'':20}{'derive+emit':>12}{'compile':>10}{'evaluate':>10}{'ratio':>8}"]  # fmt: skip
    for row in entry["rows"]:
        columns = "".join(f"{seconds(row[key]):>{width}}" for key, width in
                          (("derive", 12), ("compile", 10), ("evaluate", 10)))  # fmt: skip
        columns += f"{ratio(row['evaluate'], own):>8}  {row.get('note', '')}"
        lines.append(f"{row['peer']:20}{columns}".rstrip())
    return "\n".join(lines)


# The works of which the README has one row each, the second of their sizes where there are more.
SHOWN = ("gmm", "ba", "mlp", "logistic", "rosenbrock_hessian")


def shown(works: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry of each work in SHOWN; all if there is none."""
    chosen = [[e for e in works if e["work"] == work][:2][-1:] for work in SHOWN]
    return [entry for found in chosen for entry in found] or works


def readme_table(results: dict[str, Any]) -> str:
    """Markdown: symgrad's three columns, then each package's best time relative to symgrad's."""
    about = results["surroundings"]
    lines = ["| | derive + emit | compile | evaluate | " + " | ".join(PACKAGES) + " |",
             "|---|" + "---:|" * (3 + len(PACKAGES))]  # fmt: skip
    for entry in shown(results["works"]):
        own = own_row(entry)
        if own is None:
            lines.append(f"| {heading(entry)} | not timed" + " |" * (3 + len(PACKAGES)))
            continue
        cells = [seconds(own["derive"]), seconds(own["compile"]), seconds(own["evaluate"])]
        for package in PACKAGES:
            best = min(times(entry, package), default=None)
            cells.append(ratio(best, own))
        lines.append(f"| {heading(entry)} | " + " | ".join(cells) + " |")
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    clock = "CPU time" if results["clock"] == "cpu" else "wall time"
    lines += ["", f"{about['cpu']}, {about['threads']} thread, {about['compiler']}; {versions}.",
              f"Medians of {clock}. Right of evaluate: time of the other tool's fastest",
              "formulation divided by symgrad's: more than 1 is slower than symgrad.",
              "The other works and sizes, and all rows of each, are in",
              "[benchmarks/results.md](benchmarks/results.md)."]  # fmt: skip
    return "\n".join(lines)


def write_readme(results: dict[str, Any], path: Path = ROOT / "README.md") -> None:
    """Put the table between the marks, and all rows into benchmarks/results.md."""
    text = path.read_text()
    pattern = re.compile(re.escape(START) + ".*?" + re.escape(END), re.S)
    if not pattern.search(text):
        raise SystemExit(f"{path.name} has no {START} ... {END}")
    table = f"{START}\n{readme_table(results)}\n{END}"
    path.write_text(pattern.sub(lambda match: table, text, count=1))
    every = "\n".join(text_table(entry) for entry in results["works"])
    written = path.parent / "benchmarks" / "results.md"
    written.parent.mkdir(exist_ok=True)
    written.write_text(f"# Results\n\nWritten by `run.py --readme`.\n\n```\n{every.strip()}\n```\n")


def plot(results: dict[str, Any], stem: Path) -> None:
    """Evaluation time relative to symgrad, one line per work and size, as PNG and SVG."""
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no plot")
        return
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    entries = [e for e in results["works"] if own_row(e)][::-1]
    if not entries:
        return
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.32 * len(entries)), layout="constrained")
    for package, marker in zip(PACKAGES, "osD^vP*X", strict=True):
        points = [(min(times(e, package)) / own_row(e)["evaluate"], k)
                  for k, e in enumerate(entries) if times(e, package)]  # fmt: skip
        if points:
            axes.scatter(*zip(*points, strict=True), marker=marker, s=36, label=package, alpha=0.8)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(entries)), [f"{e['work']} {label(e['size'])}" for e in entries])
    axes.set_xlabel("evaluation time / symgrad's (right of the line: slower than symgrad)")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    for suffix in (".png", ".svg"):
        figure.savefig(stem.with_suffix(suffix), dpi=120)
    plt.close(figure)
