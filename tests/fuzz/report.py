"""What a run found, and how much it looked at."""

from __future__ import annotations

import json
import resource
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from fuzz import paths
from fuzz.oracles import SWITCHES
from fuzz.pool import Pool
from fuzz.shrink import minimised, tidy


@dataclass
class Finding:
    """One program that failed: where, how, and what makes it pass."""

    text: str
    options: dict[str, Any]
    stage: str
    kind: str
    message: str
    cures: list[str] = field(default_factory=list)

    @property
    def group(self) -> str:
        cured = f" (right without {self.cures[0]})" if self.cures else ""
        return f"{self.kind}{cured}"

    def file(self) -> str:
        """A plain Python file that says what happened and can be run, by itself or by run.py."""
        options = {
            k: v for k, v in self.options.items() if k in ("seed", "stages", "tuning", "graphs")
        }
        message = "\n".join(f"# {line}" for line in self.message.strip().splitlines()[-6:])
        return (
            f"# {self.stage}: {self.kind}\n{message}\n"
            f"# right without: {', '.join(self.cures) or 'nothing that was tried'}\n"
            f"# options: {json.dumps(options)}\n{self.text}{MAIN}"
        )


MAIN = """

if __name__ == "__main__":
    import symgrad as sg

    args = arguments()
    floats = tuple(k for k, a in enumerate(args) if getattr(a, "dtype", type(a)) == float)
    print("NumPy:  ", f(*args), loss(*args))
    print("symgrad:", sg.jit(f)(*args), sg.value_and_grad(loss, argnums=floats)(*args))
"""


def options_of(text: str) -> dict[str, Any]:
    """The options in a file that `Finding.file` wrote."""
    for line in text.splitlines():
        if line.startswith("# options: "):
            return json.loads(line.removeprefix("# options: "))
    return {}


class Report:
    """Adds up outcomes."""

    def __init__(self) -> None:
        self.programs = 0
        self.skipped: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.paths: Counter[str] = Counter(dict.fromkeys(paths.kinds(), 0))
        self.taken_by: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.profiles: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        self.findings: list[Finding] = []

    def add(self, job: Any, outcome: dict[str, Any]) -> list[Finding]:
        text, options = job
        self.programs += 1
        self.kinds.update(options.get("kinds", {}))
        self.profiles[options.get("profile", "")] += 1
        self.refusals.update(outcome["refusals"])
        self.paths.update(outcome["paths"])
        self.taken_by.update(k for k, n in outcome["paths"].items() if n)
        self.stages.update(s.split(" skipped")[0] for s in outcome["stages"] if " skipped" not in s)
        if outcome["skipped"]:
            self.skipped[outcome["skipped"]] += 1
        new = [Finding(text, options, *f) for f in outcome["findings"]]
        self.findings += new
        return new

    def never_taken(self) -> list[str]:
        return [k for k in paths.kinds() if not self.paths[k]]

    def groups(self) -> dict[str, list[Finding]]:
        result: dict[str, list[Finding]] = defaultdict(list)
        for f in self.findings:
            result[f.group].append(f)
        return dict(sorted(result.items(), key=lambda g: -len(g[1])))

    def text(self) -> str:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        mine = resource.getrusage(resource.RUSAGE_SELF)
        cpu = sum(u.ru_utime + u.ru_stime for u in (used, mine))
        lines = [f"{self.programs} programs, {cpu / 3600:.2f} hours of CPU"]

        def table(title: str, count: Counter[str]) -> None:
            if count:
                lines.append(f"\n{title}:")
                lines.extend(f"{n:8} {k}" for k, n in count.most_common())

        table("Profiles", self.profiles)
        table("Statements", self.kinds)
        table("Checks", self.stages)
        table("Programs that took a path of lowering or emission", self.taken_by)
        table("Refused, by message", self.refusals)
        table("Not compared", self.skipped)
        lines.append(f"\nNever taken: {', '.join(self.never_taken()) or 'none'}")
        lines.append(f"\n{len(self.findings)} findings in {len(self.groups())} groups")
        lines.extend(f"{len(found):8} {group}" for group, found in self.groups().items())
        return "\n".join(lines)


def diagnosed(finding: Finding, pool: Pool, most: int = len(SWITCHES)) -> list[str]:
    """What of lowering, when it is switched off, makes a program right."""
    cures = []
    for name in list(SWITCHES)[:most]:
        options = {**finding.options, "stages": _stages(finding), "switch": [name]}
        outcome = pool.one(finding.text, **options)
        if not (_fails(finding, outcome) or outcome["refusals"] or outcome["skipped"]):
            cures.append(name)
    return cures


def _stages(finding: Finding) -> list[str]:
    stage = finding.stage.split(":")[0]
    return [stage] if stage not in ("start", "oracles") else finding.options["stages"]


def _fails(finding: Finding, outcome: dict[str, Any]) -> bool:
    return any(kind == finding.kind for _, kind, _ in outcome["findings"])


def smaller(finding: Finding, pool: Pool, seconds: float = 90) -> Finding:
    """The same failure in a smaller program, with fewer options."""
    options = {**finding.options, "stages": _stages(finding)}

    def fails_with(text: str, options: dict[str, Any]) -> bool:
        return _fails(finding, pool.one(text, **options))

    if not fails_with(finding.text, options):
        return finding  # it does not repeat alone
    for name in list(options.get("tuning", ())):
        fewer = {**options, "tuning": [t for t in options["tuning"] if t != name]}
        if fails_with(finding.text, fewer):
            options = fewer
    ties = bool(options.get("special"))
    text = minimised(finding.text, lambda t: fails_with(t, options), seconds, ties=ties)
    text = tidy(text)
    outcome = pool.one(text, **options)
    told = [m for _, kind, m in outcome["findings"] if kind == finding.kind]
    return Finding(text, options, finding.stage, finding.kind, (told or [finding.message])[0],
                   finding.cures)  # fmt: skip
