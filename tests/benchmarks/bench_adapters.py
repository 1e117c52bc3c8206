"""What adapters reach and cost beside full unfreezing: a small transformer that knows some digits learns the others.

No pretrained transformer is at hand, so one is made: timm's vit_tiny_patch16_224 at a few pixels learns digits 0 to 4
of scikit-learn. Then it learns 5 to 9 from few images, in each way; rates are chosen on a cut of the images of its own.
Ways take turns, so that seconds compare where other work runs beside them.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import figure
from numpy.typing import NDArray
from photographs import machine
from PIL import Image
from scipy import stats
from sklearn.datasets import load_digits
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from featcache.options import Options, parse_options
from heads.experiment import train_model
from heads.finetune import fine_tune
from heads.finetune.adapters import hold_the_rest
from heads.finetune.tuned_network import load_network
from heads.runs import Run

BACKBONE, SIZE, BATCH, HIDDEN = "vit_tiny_patch16_224", 32, 10, 64
STATE = 12  # bytes of a parameter that trains: its gradient and AdamW's two moments
KNOWN, TEST = range(5), 80  # digits that it learns first; test images of a class
EVERYTHING = [{"epoch": 0, "unfreeze": "all"}]
FULL = "full unfreezing"
WAYS: dict[str, dict[str, Any]] = {  # what is set of `training`
    "head alone": {},
    FULL: {"unfreeze_schedule": EVERYTHING},
    "lora, rank 4": {"unfreeze_schedule": EVERYTHING, "adapter": {"kind": "lora", "rank": 4}},
    "lora, rank 8": {"unfreeze_schedule": EVERYTHING, "adapter": {"kind": "lora", "rank": 8}},
    "bitfit": {"unfreeze_schedule": EVERYTHING, "adapter": {"kind": "bitfit"}},
    "norm": {"unfreeze_schedule": EVERYTHING, "adapter": {"kind": "norm"}},
}
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
GRID = {FULL: RATES[:3], "head alone": RATES[2:]}  # of the others those in the middle


def main() -> None:
    """A table for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[10], help="of a class, to train on")
    parser.add_argument("--seeds", type=int, default=5, help="cuts of the images, each trained once in every way")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--known-epochs", type=int, default=15, help="of the digits that it learns first")
    parser.add_argument("--work", type=Path, help="where images, features and runs are kept; default: nowhere")
    arguments = parser.parse_args()
    logging.getLogger("featcache").setLevel(logging.WARNING)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.work or Path(folder), arguments.epochs)
        bench.learn_known(arguments.known_epochs)
        for images in arguments.images:
            bench.table(images, arguments.seeds)


class Bench:
    """The network that knows some digits, and what is learned from it."""

    def __init__(self, work: Path, epochs: int) -> None:
        self.work, self.epochs, self.weights = work, epochs, ""

    def learn_known(self, epochs: int) -> None:
        """Make the pretrained network."""
        root = write_digits(self.work / "known", KNOWN, (120, 25), 0)
        training = {"epochs": epochs, "learning_rate": 5e-4, "warmup_epochs": 3, "scheduler": "cosine"}
        options = self.options("known", root, {**training, "unfreeze_schedule": EVERYTHING}, pretrained=False)
        begin = time.perf_counter()
        run = self.train(options)
        print(f"{BACKBONE} at {SIZE} px, digits 0 to 4: test top-1 {run.metrics['test_top1']:.3f}, "
              f"{time.perf_counter() - begin:.0f} s")  # fmt: skip
        self.weights = f"{run.folder / 'best_model.pth'}:network"

    def table(self, images: int, seeds: int) -> None:
        """Every way on every cut."""
        rates = {way: self.best_rate(way, images) for way in WAYS}
        runs: dict[str, list[Run]] = {way: [] for way in WAYS}
        for seed in range(1, seeds + 1):
            for way in WAYS:
                runs[way].append(self.adapt(way, images, seed, rates[way]))
        print(f"\n{images} images a class, {seeds} cuts, {self.epochs} epochs; test top-1 of {TEST * 5} images")
        print("| | rate | test top-1 | ahead of full unfreezing | trained | gradients, AdamW | for the backward pass | "
              "with the weights | an epoch |")  # fmt: skip
        print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
        full = [one.metrics["test_top1"] for one in runs[FULL]]
        for way in WAYS:
            top1 = [one.metrics["test_top1"] for one in runs[way]]
            ahead = "-" if way == FULL else interval(np.subtract(top1, full), "+.3f")
            trained, kept, weights = cost(self.options(way, self.work, self.training(way, 1e-3)))
            share = [seconds(a) / seconds(b) for a, b in zip(runs[way], runs[FULL], strict=True)]
            peak = trained * STATE + kept + weights
            print(f"| {way} | {rates[way]:g} | {interval(top1, '.3f')} | {ahead} | {trained / 1e6:.3f} M | "
                  f"{trained * STATE / 1e6:.1f} MB | {kept / 1e6:.1f} MB | {peak / 1e6:.0f} MB | "
                  f"{np.median(share):.2f} |")  # fmt: skip
            figure(f"{way}, {images} images a class: test top-1", top1, "")
            figure(f"{way}, {images} images a class: seconds an epoch, of full unfreezing's", share, "")
        print(f"an epoch of full unfreezing: {np.median([seconds(one) for one in runs[FULL]]):.2f} s")

    def best_rate(self, way: str, images: int) -> float:
        """By the loss on val of a cut that is not in the table."""
        rates = GRID.get(way, RATES[1:4])
        return min(rates, key=lambda rate: self.adapt(way, images, 0, rate).metrics["val_loss"])

    def adapt(self, way: str, images: int, cut: int, rate: float) -> Run:
        """A run on a cut of the other digits."""
        others = [digit for digit in range(10) if digit not in KNOWN]
        root = write_digits(self.work / f"cut {cut} of {images}", others, (images, images), cut)
        name = f"{way.replace(', ', '-').replace(' ', '-')}-{images}-{cut}-{rate:g}"
        return self.train(self.options(name, root, {**self.training(way, rate), "seed": cut}))

    def training(self, way: str, rate: float) -> dict[str, Any]:
        """The options of a way."""
        return {"epochs": self.epochs, "learning_rate": rate, "selection_metric": "val_loss", **WAYS[way]}

    def options(self, name: str, root: Path, training: dict[str, Any], pretrained: bool = True) -> Options:
        """Those of a run."""
        weights = {"pretrained": True, "weights": self.weights} if pretrained else {"pretrained": False}
        model = {"backbone": BACKBONE, "input_size": SIZE, "classifier_dims": ["auto", HIDDEN, "auto"], **weights}
        return parse_options({
            "experiment_name": name, "model": model, "training": training,
            "data": {"path": str(root), "batch_size": BATCH, "workers": 1},
            "cache": {"dir": str(self.work / "cache")}, "profile": {"iterations": 2, "warmup": 1},
        })  # fmt: skip

    def train(self, options: Options) -> Run:
        """As a user would."""
        how = {"results_dir": self.work / "results", "device": "cpu", "reuse": True}
        tuned = options.training.unfreeze_schedule is not None
        return fine_tune(options, **how) if tuned else train_model(options, **how)  # type: ignore[arg-type]


def write_digits(root: Path, digits: Sequence[int], counts: tuple[int, int], seed: int) -> Path:
    """An image folder of so many images of each digit to train on and of val, and TEST (or the rest) of test."""
    if root.is_dir():
        return root
    every, rng = load_digits(), np.random.default_rng(seed)
    for digit in digits:
        places: NDArray[np.int64] = rng.permutation(np.flatnonzero(every.target == digit))
        ends = np.cumsum([*counts, TEST])
        for split, own in zip(("train", "val", "test"), np.split(places, ends)[:3], strict=True):
            folder = root / split / str(digit)
            folder.mkdir(parents=True)
            for place in own:
                picture = Image.fromarray(np.round(every.images[place] * (255 / 16)).astype(np.uint8))
                picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(folder / f"{place}.png")
    return root


def cost(options: Options) -> tuple[int, int, int]:
    """Parameters that train, the head's too; bytes that a batch keeps for the backward pass of the backbone, and that
    all weights take."""
    network = load_network(options, False).backbone
    head = (network.features + 1) * HIDDEN + (HIDDEN + 1) * 5
    if options.training.unfreeze_schedule is None:
        return head, 0, 4 * head
    network.requires_grad_(True)
    if options.training.adapter is not None:
        hold_the_rest(network, options.training.adapter)
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        found = network.network(torch.zeros(BATCH, 3, SIZE, SIZE))
    del found
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return head + trained, sum(held.values()), 4 * (head + sum(p.numel() for p in network.parameters()))


def seconds(run: Run) -> float:
    """Of an epoch, without the first, which prepares."""
    lines = (run.folder / "metrics.csv").read_text().splitlines()
    place = lines[0].split(",").index("seconds")
    return float(np.median([float(line.split(",")[place]) for line in lines[3:]]))


def interval(values: Sequence[float] | NDArray[np.float64], form: str) -> str:
    """Mean and 95% interval over cuts (Student's t)."""
    mean, half = float(np.mean(values)), stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{mean:{form}} [{mean - half:{form}}, {mean + half:{form}}]"


if __name__ == "__main__":
    main()
