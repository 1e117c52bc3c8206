"""What every tool is asked, and what it answers: one JSON file in, one out. Runs in each tool's own environment."""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Image = tuple[str, int]  # a file's path, and the place of its class in `classes`
Probabilities = list[list[float]]

CALIBRATION = (1, 3)  # epochs of the two short trainings that tell what an epoch costs


@dataclass(frozen=True)
class Job:
    """One training: these images, this network with these weights, within these seconds."""

    train: list[Image]
    val: list[Image]
    test: list[Image]
    classes: list[str]
    backbone: str
    """As timm calls it."""
    weights: str
    """A file with the state dict of timm's network without its classifier."""
    batch_size: int
    input_size: int
    seed: int
    threads: int
    seconds: float
    """Wall-clock time of the training, from the lists of files to answers about test."""
    epochs: int | None
    """As many as fit into the time; None: find out."""
    table: str
    """The same images as a table (path, label, split), for a tool that reads one."""


@dataclass(frozen=True)
class Answers:
    """Probabilities of the classes for each image of val and test, in the job's order."""

    val: Probabilities
    test: Probabilities


def main(train: Callable[[Job, int], Answers], *, calibration: tuple[int, int] = CALIBRATION, fixed: int = 0) -> None:
    """`python TOOL.py JOB.json ANSWER.json`; `fixed` epochs, or as many as fit by two trainings of `calibration`."""
    document = json.loads(Path(sys.argv[1]).read_text())
    for split in ("train", "val", "test"):
        document[split] = [(path, label) for path, label in document[split]]
    job = Job(**document)
    _same_chance(job)
    epochs = fixed or job.epochs or epochs_that_fit(job, train, calibration)
    began = time.perf_counter()
    answers = train(job, epochs)
    seconds = time.perf_counter() - began
    record = {"epochs": epochs, "seconds": seconds, "peak_mb": peak_mb(), **asdict(answers)}
    Path(sys.argv[2]).write_text(json.dumps(record))


def epochs_that_fit(job: Job, train: Callable[[Job, int], Answers], calibration: tuple[int, int]) -> int:
    """By the line through the times of two short trainings; at least as many as the shorter of them has."""
    times = []
    for epochs in calibration:
        began = time.perf_counter()
        train(job, epochs)
        times.append(time.perf_counter() - began)
    an_epoch = max((times[1] - times[0]) / (calibration[1] - calibration[0]), 1e-3)
    return calibration[0] + max(0, int((job.seconds - times[0]) / an_epoch))


def peak_mb() -> float:
    """The most memory that this process and any worker of its has held, MB."""
    kilobytes = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return max(kilobytes) / 1024


def _same_chance(job: Job) -> None:
    import numpy as np
    import torch

    torch.set_num_threads(job.threads)
    random.seed(job.seed)
    np.random.seed(job.seed)
    torch.manual_seed(job.seed)


def timm_network(job: Job, classes: int) -> Any:
    """timm's network with the job's weights, and a new classifier (0: none, pooled features)."""
    import timm
    import torch

    network = timm.create_model(job.backbone, num_classes=classes)
    found = network.load_state_dict(torch.load(job.weights, weights_only=True), strict=False)
    stray = [k for k in found.missing_keys if not k.startswith(network.pretrained_cfg["classifier"])]
    if stray or found.unexpected_keys:
        raise RuntimeError(f"the weights are not this network's: {stray or found.unexpected_keys}")
    return network


def lines_between(source: Sequence[str]) -> int:
    """Lines that a user has to write: those between the two marks, less empty ones."""
    first, last = (next(i for i, line in enumerate(source) if line.strip() == mark) for mark in ("# user:", "# :user"))
    return sum(1 for line in source[first + 1 : last] if line.strip())
