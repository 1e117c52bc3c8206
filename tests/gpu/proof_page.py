"""Makes docs/gpu/<device>.md of a proof's output folder: which tests passed, and what the benchmarks measured."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
RAN = ("passed", "failed", "skipped")


def write_page(out: Path, folder: Path) -> Path:
    """The page's file; raises SystemExit where `out` has no proof's output."""
    environment = out / "environment.json"
    if not environment.is_file():
        raise SystemExit(f"gpu-proof: --page {out}: no environment.json there. Expected the output folder of a proof.")
    machine: Record = json.loads(environment.read_text())
    device = machine.get("device") or machine["card"].get("name") or "unknown device"
    page = folder / f"{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}.md"
    folder.mkdir(parents=True, exist_ok=True)
    tests = {r["test"]: r for r in _records(out / "tests.jsonl")}
    lines = [f"# {device}", "", *_machine(machine), *_tests(list(tests.values())), *_figures(out), *_states(machine)]
    page.write_text("\n".join(lines).rstrip() + "\n")
    return page


def _records(file: Path) -> list[Record]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def _machine(machine: Record) -> list[str]:
    card = machine["card"]
    parts = [
        f"`bin/gpu-proof` on {machine['date']}, sources at {str(machine['commit'])[:8]}: torch {machine.get('torch')} "
        f"with CUDA {machine.get('cuda')}, torchvision {machine.get('torchvision')}, numpy {machine.get('numpy')}, "
        f"Python {machine['python']}, {machine['cpu_cores']} CPU cores.",
        *(
            f"{card['memory.total']}, driver {card['driver_version']}, at most {card['power.limit']}."
            for _ in [0]
            if card
        ),
    ]
    unmet = "; ".join(f"{line}" for line in machine.get("unmet", []))
    return [" ".join(parts), *(["", f"Requirements not met there: {unmet}."] if unmet else []), ""]


def _tests(tests: Sequence[Record]) -> list[str]:
    if not tests:
        return ["## Tests", "", "None ran.", ""]
    counts = Counter(_outcome(t) for t in tests)
    said = ", ".join(f"{n} {outcome}" for outcome, n in counts.most_common())
    seconds = sum(t["seconds"] for t in tests)
    lines = ["## Tests", "", f"{said}; {seconds:.0f} s.", "", "| test | outcome | s |", "|---|---|---|"]
    for test in sorted(tests, key=lambda t: (RAN.index(t["outcome"]) if t["outcome"] in RAN else len(RAN), t["test"])):
        name = test["test"].partition("::")[2]
        last = test["why"].strip().splitlines()[-1] if test["why"].strip() else ""
        why = f": {_cell(last)}" if last else ""
        lines.append(f"| {_cell(name)} | {_outcome(test)}{why} | {test['seconds']:.1f} |")
    return [*lines, ""]


def _outcome(test: Record) -> str:
    return {"planned": "not run", "begun": "did not end"}.get(test["outcome"], test["outcome"])


def _figures(out: Path) -> list[str]:
    records = _records(out / "figures.jsonl")
    lines = ["## Benchmarks", ""]
    if not records:
        return [*lines, "None ran.", ""]
    figures = [r for r in records if "what" in r]
    lines += ["| figure | median | from | to | n | unit |", "|---|---|---|---|---|---|"]
    for r in figures:
        low, high = _number(r["low"]), _number(r["high"])
        lines.append(f"| {_cell(r['what'])} | {_number(r['value'])} | {low} | {high} | {r['n']} | {r['unit']} |")
    lines += ["", "| benchmark | outcome | s |", "|---|---|---|"]
    for r in (r for r in records if "outcome" in r):
        why = f": {_cell(r['why'])}" if r["why"] else ""
        lines.append(f"| `{_cell(r['benchmark'])}` | {r['outcome']}{why} | {r['seconds']:.0f} |")
    return [*lines, ""]


def _states(machine: Record) -> list[str]:
    states: dict[str, dict[str, str]] = {when: s for when, s in machine["states"].items() if s}
    if not states:
        return []
    fields = list(dict.fromkeys(field for state in states.values() for field in state))
    lines = ["## The card", "", f"| | {' | '.join(states)} |", "|---" * (len(states) + 1) + "|"]
    for field in fields:
        lines.append(f"| {field} | {' | '.join(state[field] for state in states.values())} |")
    return [*lines, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")[:160]


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
