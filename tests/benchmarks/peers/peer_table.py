"""featcache beside what people would use otherwise: the same images, splits, network, weights and time."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median

import torch
from intervals import interval
from peer_environments import PACKAGES, interpreter, version
from peer_job import Image, Job, lines_between
from sklearn.model_selection import train_test_split

from featcache import load_backbone
from featcache.options import as_options

HERE = Path(__file__).parent
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Outcome:
    """What one tool came to on one split."""

    val_top1: float
    test_top1: float
    epochs: int
    seconds: float
    peak_mb: float


def compare(
    folders: Sequence[Path], backbone: str, size: int, *, seeds: int, seconds: float, threads: int, place: Path
) -> None:
    """Print a table for each folder of images."""
    for folder in folders:
        with tempfile.TemporaryDirectory() as scratch:
            weights = write_weights(backbone, size, Path(scratch) / "weights.pth")
            jobs = [
                _job(folder, backbone, size, seed, seconds, threads, weights, Path(scratch)) for seed in range(seeds)
            ]
            first = jobs[0]
            print(
                f"\n{folder.name}, {backbone}, {size} pixels: {len(first.train)} / {len(first.val)} / "
                f"{len(first.test)} images in {len(first.classes)} classes, {seeds} splits, {seconds:.0f} s each, "
                f"{threads} threads\n",
                flush=True,
            )
            print_table({tool: outcomes(tool, jobs, place, Path(scratch)) for tool in PACKAGES}, place)


def outcomes(tool: str, jobs: Sequence[Job], place: Path, scratch: Path) -> list[Outcome]:
    """Of every split; how many epochs fit is found out on the first and holds for all."""
    found: list[Outcome] = []
    python = interpreter(tool, place)
    epochs = None
    for job in jobs:
        one = _run(tool, python, replace(job, epochs=epochs), scratch)
        epochs = one.epochs
        print(
            f"  {tool}: val {one.val_top1:.3f}, test {one.test_top1:.3f}, {one.epochs} epochs, {one.seconds:.0f} s",
            flush=True,
        )
        found.append(one)
    return found


def _run(tool: str, python: Path, job: Job, scratch: Path) -> Outcome:
    asked, answered = scratch / "job.json", scratch / "answer.json"
    asked.write_text(json.dumps(asdict(job)))
    answered.unlink(missing_ok=True)
    settings = {**os.environ, "OMP_NUM_THREADS": str(job.threads), "TOKENIZERS_PARALLELISM": "false"}
    command = [str(python), str(HERE / f"tool_{tool}.py"), str(asked), str(answered)]
    ran = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{tool} failed:\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}")
    answer = json.loads(answered.read_text())
    return Outcome(
        _accuracy(answer["val"], job.val),
        _accuracy(answer["test"], job.test),
        answer["epochs"],
        answer["seconds"],
        answer["peak_mb"],
    )


def _accuracy(probabilities: Sequence[Sequence[float]], images: Sequence[Image]) -> float:
    right = [
        max(range(len(p)), key=p.__getitem__) == label for p, (_, label) in zip(probabilities, images, strict=True)
    ]
    return mean(map(float, right))


def print_table(found: dict[str, list[Outcome]], place: Path) -> None:
    """A row for each tool: means over splits with 95% intervals (Student's t), and featcache's lead, split by split."""
    print("\n| tool | val top-1 | test top-1 | featcache leads by (test) | epochs | s | peak MB | lines |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    ours = [o.test_top1 for o in found["featcache"]]
    for tool, outcomes_of in found.items():
        name = version(tool, interpreter(tool, place))
        val, test = ([getattr(o, key) for o in outcomes_of] for key in ("val_top1", "test_top1"))
        lead = "" if tool == "featcache" else interval([a - b for a, b in zip(ours, test, strict=True)], "+.3f")
        files = ("tool_featcache", "featcache_answers") if tool.startswith("featcache") else (f"tool_{tool}",)
        written = sum(lines_between((HERE / f"{file}.py").read_text().splitlines()) for file in files)
        print(
            f"| {name} | {interval(val)} | {interval(test)} | {lead} | {outcomes_of[0].epochs} | "
            f"{median(o.seconds for o in outcomes_of):.0f} | {median(o.peak_mb for o in outcomes_of):.0f} | "
            f"{written} |"
        )


def write_weights(backbone: str, size: int, file: Path) -> Path:
    """The pretrained weights that featcache finds, as timm's network without its classifier has them."""
    model = {"backbone": backbone, "input_size": size}
    options = as_options({"experiment_name": "peers", "model": model, "data": {"path": "demo:digits"}})
    network = load_backbone(options).network
    torch.save({name.removeprefix("network."): value for name, value in network.state_dict().items()}, file)
    return file


def _job(
    folder: Path, backbone: str, size: int, seed: int, seconds: float, threads: int, weights: Path, scratch: Path
) -> Job:
    """70 / 15 / 15 by chance, the classes' shares kept; a class of fewer than 7 images is left out."""
    classes, images = _images(folder)
    train, rest = train_test_split(images, test_size=0.3, stratify=[i[1] for i in images], random_state=seed)
    val, test = train_test_split(rest, test_size=0.5, stratify=[i[1] for i in rest], random_state=seed)
    table = scratch / f"images-{seed}.csv"
    with table.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("path", "label", "split"))
        for split, of in (("train", train), ("val", val), ("test", test)):
            writer.writerows((path, classes[label], split) for path, label in of)
    return Job(train, val, test, classes, backbone, str(weights), 32, size, seed, threads, seconds, None, str(table))


def _images(folder: Path) -> tuple[list[str], list[Image]]:
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES)
    by_class: dict[str, dict[bytes, Path]] = {}
    for file in files:
        by_class.setdefault(file.parent.name, {}).setdefault(file.read_bytes(), file)  # copies once
    classes = sorted(name for name, of in by_class.items() if len(of) >= 7)
    return classes, [(str(f.resolve()), label) for label, name in enumerate(classes) for f in by_class[name].values()]
