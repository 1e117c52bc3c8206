"""featcache: cached features and a head, then everything end to end by the user's schedule, as its README begins."""

from __future__ import annotations

import tempfile
from typing import Any

from featcache_answers import read_answers
from peer_job import Answers, Job, main


def train(job: Job, epochs: int) -> Answers:
    """The head first, the last block from two fifths of the epochs on, everything from four fifths on."""
    with tempfile.TemporaryDirectory() as folder:
        schedule = [
            {"epoch": round(0.4 * epochs), "unfreeze": "last_block"},
            {"epoch": round(0.8 * epochs), "unfreeze": "all", "lr_scale": 0.1},
        ]
        return run(job, folder, {"epochs": epochs, "unfreeze_schedule": schedule})


def run(job: Job, folder: str, training: dict[str, Any]) -> Answers:
    """Those of the run that these options make."""
    # user:
    from heads import train_model

    trained = train_model(
        {
            "experiment_name": "peers",
            "model": {"backbone": job.backbone, "weights": job.weights, "input_size": job.input_size},
            "data": {
                "path": job.table,
                "batch_size": job.batch_size,
                "augmentations": ["horizontal_flip", "random_crop"],
            },
            "training": {**training, "seed": job.seed},
            "profile": {"iterations": 1, "warmup": 0},
            "cache": {"dir": f"{folder}/cache"},
        },
        results_dir=f"{folder}/results",
    )
    # :user
    return read_answers(trained.folder, job)


if __name__ == "__main__":
    main(train, calibration=(5, 10))
