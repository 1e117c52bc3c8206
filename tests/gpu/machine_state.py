"""The machine of a proof, and the state of its card before, between and after: what nvidia-smi says."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

CARD = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm", "clocks.max.mem")
STATE = (
    *("clocks.sm", "clocks.mem", "temperature.gpu", "power.draw", "memory.used"),
    *("clocks_event_reasons.active", "pstate"),
)


def card(field: str) -> str | None:
    """A field of the first card; None where there is no card or no such field."""
    return query((field,)).get(field)


def query(fields: tuple[str, ...]) -> dict[str, str]:
    """Fields of the first card; none where there is no nvidia-smi."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader", "--id=0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in done.stdout.strip().splitlines()[0].split(",")]
    return dict(zip(fields, values, strict=True)) if len(values) == len(fields) else {}


def write_state(out: Path, root: Path, when: str, seconds: float) -> None:
    """Adds the card's state now to `environment.json`, which the first call begins."""
    file = out / "environment.json"
    if file.is_file():
        record: dict[str, Any] = json.loads(file.read_text())
    else:
        record = {
            "date": time.strftime("%Y-%m-%d"),
            "commit": commit(root),
            "seconds": seconds,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cpu_cores": os.cpu_count(),
            "card": query(CARD),
            "states": {},
        }
    record["states"][when] = query(STATE)
    file.write_text(json.dumps(record, indent=1))


def add(out: Path, **entries: Any) -> None:
    """What else becomes known of the machine."""
    file = out / "environment.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}, indent=1))


def commit(root: Path) -> str | None:
    """Of the sources: what the pack says, else what git says."""
    pack = root / "pack.json"
    if pack.is_file():
        return str(json.loads(pack.read_text())["commit"])
    done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
