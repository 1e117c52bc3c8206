"""What each recipe of Phase 2 reaches: on small data and large for it, with networks that are pretrained or random.

Data sets: the built-in digits, every folder of images that is given, and of each a hard form (other colours, less
contrast, noise, fewer images). Of each, five splits; every recipe trains on the same images and starts from the same
networks, and test is answered once, by the epoch that val chose. A recipe is a file of configs/: its training, its
augmentations.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_recipe import digits, pictures, written
from phase2_tables import Outcome, tables
from photographs import machine
from PIL import Image

from heads import train_model

CONFIGS = Path(__file__).parents[2] / "configs"
RICH, HARD = 100, 40  # images that train
CHOOSING, TESTING = 60, 240  # to choose the epoch by; to test, at most
MOST = 1000  # images of a data set


@dataclass(frozen=True)
class Network:
    """What is fine-tuned, and by which recipes beside the head alone."""

    backbone: str
    size: int
    pretrained: bool
    recipes: tuple[str, ...]


NETWORKS = (
    Network("tf_efficientnet_lite0", 96, True, ("phase2", "phase2-small", "phase2-fast")),
    Network("resnet18", 64, False, ("phase2", "phase2-small", "phase2-fast")),
    Network("vit_tiny_patch16_224", 64, False, ("phase2", "phase2-vit")),
)
HEAD = "head"
Pictures = Iterator[tuple[str, Image.Image]]


def main() -> None:
    """Train what is not kept in the folder, and print the tables of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="where images, features and results are kept")
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="folders of images in classes")
    parser.add_argument("--only", nargs="*", help="names of data sets")
    parser.add_argument("--networks", nargs="*", help="names of backbones")
    parser.add_argument("--recipes", nargs="*", help="names of recipes, or files")
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(5)))
    parser.add_argument("--tables", action="store_true", help="of what is kept; train nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    for seed in () if arguments.tables else arguments.seeds:
        for name, make in data_sets(arguments.images).items():
            if not arguments.only or name in arguments.only:
                folder = written(arguments.out / "images" / name, make, MOST)
                table = split_table(folder, arguments.out / "splits" / f"{name}-{seed}.csv", seed, "hard" in name)
                for network in NETWORKS:
                    if not arguments.networks or network.backbone in arguments.networks:
                        for recipe in (HEAD, *(arguments.recipes or network.recipes)):
                            train(arguments.out, network, recipe, name, table, seed)
    order = [f"{data}-{network.backbone}" for network in NETWORKS for data in data_sets(arguments.images)]
    for table_text in tables([o for name in order for o in outcomes(arguments.out / f"{name}.jsonl")]):
        print(f"\n{table_text}")


def data_sets(folders: Sequence[Path]) -> dict[str, Callable[[], Pictures]]:
    """What makes each data set."""
    sets: dict[str, Callable[[], Pictures]] = {}
    for name, make in {"digits": digits, **{f.name: lambda f=f: pictures(f) for f in folders}}.items():
        sets[name] = make
        sets[f"{name}-hard"] = lambda make=make: hard(make())
    return sets


def hard(rich: Pictures) -> Pictures:
    """Each image with its colours in another order, of less contrast, and noisy."""
    rng = np.random.default_rng(0)
    for label, image in rich:
        pixels = np.asarray(image.convert("RGB"), np.float64)[..., rng.permutation(3)]
        noisy = 128 + (pixels - 128) * 0.6 + rng.normal(0, 25, pixels.shape)
        yield label, Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def split_table(folder: Path, table: Path, seed: int, few: bool) -> Path:
    """The images of one split as rows of path, label and split, class by class."""
    table.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with table.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(("path", "label", "split"))
        labels = sorted(f for f in folder.iterdir() if f.is_dir())
        for label in labels:
            files = [sorted(label.iterdir())[i] for i in rng.permutation(len(list(label.iterdir())))]
            choosing = min(CHOOSING // len(labels), len(files) // 4)
            testing = min(TESTING // len(labels), len(files) // 3)
            training = min((HARD if few else RICH) // len(labels), len(files) - choosing - testing)
            for number, file in enumerate(files[: choosing + testing + training]):
                split = "val" if number < choosing else "test" if number < choosing + testing else "train"
                writer.writerow((file.resolve(), label.name, split))
    return table


def train(out: Path, network: Network, recipe: str, data: str, table: Path, seed: int) -> None:
    """One run, unless its result is kept."""
    weights = "pretrained" if network.pretrained else "random"
    kept = out / f"{data}-{network.backbone}.jsonl"
    name = Path(recipe).stem
    if any((o.recipe, o.seed) == (name, seed) for o in outcomes(kept)):
        return
    begin = time.perf_counter()
    trained = train_model(options(network, recipe, table, out / "cache", seed), results_dir=out / "runs")
    summary = read(trained.folder / "summary.json")
    one = Outcome(
        data,
        network.backbone,
        weights,
        name,
        seed,
        summary["val"]["top1"]["mean"],
        summary["test"]["top1"]["mean"],
        summary["best_epoch"],
        time.perf_counter() - begin,
    )
    with kept.open("a") as lines:
        lines.write(json.dumps(asdict(one)) + "\n")
    print(f"{data} {network.backbone} {name} {seed}: test {one.test_top1:.3f}, {one.seconds:.0f} s", flush=True)


def options(network: Network, recipe: str, table: Path, cache: Path, seed: int) -> dict[str, Any]:
    """Of one run: the recipe's training and augmentations with this network, these images and this seed."""
    file = Path(recipe) if recipe.endswith(".json") else CONFIGS / f"{recipe}.json"
    asked = read(CONFIGS / "base.json" if recipe == HEAD else file)
    model = {"backbone": network.backbone, "input_size": network.size, "pretrained": network.pretrained}
    training = {**asked["training"], "seed": seed}
    if recipe == HEAD:
        training = {"epochs": 50, "seed": seed}
    return {
        "experiment_name": f"{table.stem}-{network.backbone}-{file.stem if recipe != HEAD else HEAD}",
        "model": {**{k: v for k, v in asked["model"].items() if k in ("classifier_dims", "dropout")}, **model},
        "data": {**{k: v for k, v in asked["data"].items() if k != "path"}, "path": str(table), "workers": 1},
        "training": training,
        "cache": {"dir": str(cache)},
        "profile": {"iterations": 1, "warmup": 0},
    }


def read(file: Path) -> dict[str, Any]:
    """A JSON document."""
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def outcomes(file: Path) -> list[Outcome]:
    """Those that are kept."""
    return [Outcome(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


if __name__ == "__main__":
    main()
