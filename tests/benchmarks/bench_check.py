"""What `featcache check` foretells of whole commands, and what they then take: each in a process of its own.

Every backbone gets a cache of its own, so that nothing is there before. On a shared machine the ratios say as much of
what else ran as of the forecast: the check is repeated after the command, and the mean of both is compared too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from figures import figure
from photographs import machine

BACKBONES = ("squeezenet1_1", "resnet18", "mobilenet_v3_large", "efficientnet_b0", "resnet50", "swin_t")
SCHEDULES = {
    "extract": None,
    "train": None,
    "finetune": [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all"}],
}


@dataclass(frozen=True)
class Compared:
    """Seconds of one command: foretold before and after it ran, and taken."""

    before: float
    after: float
    taken: float

    @property
    def ratio(self) -> float:
        """Foretold over taken."""
        return (self.before + self.after) / 2 / self.taken


def main() -> None:
    """A line for each backbone and command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="*", default=[], metavar="BACKBONE")
    parser.add_argument("--data", nargs="+", default=["demo:digits"], help="Folders of images, or demo:digits.")
    parser.add_argument("--commands", nargs="+", default=list(SCHEDULES), choices=list(SCHEDULES))
    parser.add_argument("--epochs", type=int, default=50, help="Of heads; Phase 2 has 3.")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device")
    arguments = parser.parse_args()
    print(machine())
    print(f"{'data':24s} {'backbone':22s} {'command':9s} foretold (again)   taken  ratio")
    near: list[bool] = []
    for data in arguments.data:
        for backbone in arguments.backbones or BACKBONES:
            for command in arguments.commands:
                found = compare(command, options(backbone, data, command, arguments.epochs), arguments)
                near.append(0.8 <= found.ratio <= 1.25)
                print(
                    f"{Path(data).name:24s} {backbone:22s} {command:9s} {found.before:8.1f} ({found.after:5.1f}) "
                    f"{found.taken:7.1f}  {found.ratio:5.2f}",
                    flush=True,
                )
                figure(f"{backbone}, {command}: foretold over taken", [found.ratio], "1")
    print(f"within 25%: {sum(near)} of {len(near)}")


def options(backbone: str, data: str, command: str, epochs: int) -> dict[str, Any]:
    """An options file with random weights, which cost the same."""
    schedule = SCHEDULES[command]
    return {
        "experiment_name": backbone,
        "model": {"backbone": backbone, "classifier_dims": ["auto", 1024, "auto"], "pretrained": False},
        "data": {"path": data},
        "training": {"epochs": epochs if schedule is None else 3, "unfreeze_schedule": schedule},
    }


def compare(command: str, document: dict[str, Any], arguments: argparse.Namespace) -> Compared:
    """Check, the command, and check once more, of an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "options.json"
        file.write_text(json.dumps(document))
        given = [str(file), *(word for one in arguments.set for word in ("--set", one))]
        given += ["--device", arguments.device] if arguments.device else []

        def foretold(cache: str) -> float:
            said = run(["check", *given, "--json", "--cache-dir", str(Path(folder) / cache)])
            return float(json.loads(said)["seconds"][command])

        before = foretold("one")
        results = [] if command == "extract" else ["--results-dir", str(Path(folder) / "results")]
        begin = time.perf_counter()
        run([command, *given, "--cache-dir", str(Path(folder) / "two"), *results])
        taken = time.perf_counter() - begin
        return Compared(before, foretold("three"), taken)


def run(arguments: Sequence[str]) -> str:
    """What a command of featcache prints; its errors stop the benchmark."""
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)])  # brought along
    done = subprocess.run(
        [sys.executable, "-m", "featcache", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode:
        raise SystemExit(f"featcache {arguments[0]} failed:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
