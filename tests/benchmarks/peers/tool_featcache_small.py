"""featcache: by configs/phase2-small.json, its steps at the same parts of the epochs that there is time for."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from peer_job import Answers, Job, main
from tool_featcache import run

CONFIG = Path(__file__).parents[3] / "configs" / "phase2-small.json"


def train(job: Job, epochs: int) -> Answers:
    """Half of the backbone from an eighth of the epochs on, everything from half of them on."""
    training = json.loads(CONFIG.read_text())["training"]
    schedule = [
        {**step, "epoch": round(step["epoch"] / training["epochs"] * epochs)} for step in training["unfreeze_schedule"]
    ]
    with tempfile.TemporaryDirectory() as folder:
        return run(job, folder, {**training, "epochs": epochs, "unfreeze_schedule": schedule})


if __name__ == "__main__":
    main(train, calibration=(4, 8))
