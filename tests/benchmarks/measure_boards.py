"""The boards of `bin/bench measures`: data sets, feature maps of them, and how well heads do on these."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from featcache import extract
from featcache.data.demo_digits import materialise
from featcache.options.loading import parse_options
from heads import train_model
from heads.runs.predictions import load_predictions

Ints = NDArray[np.int64]

PRETRAINED = {  # the sizes at which each is used: another size is another feature map
    "squeezenet1_0": (64, 112),
    "tf_efficientnet_lite0": (64, 112),
    "tf_efficientnet_lite1": (64, 112),
    "tf_efficientnet_lite2": (64, 112),
    "tf_efficientnet_lite0+tf_efficientnet_lite2": (112,),
}
RANDOM = (
    "squeezenet1_0",
    "tf_efficientnet_lite0",
    "resnet18",
    "mobilenet_v3_small",
    "shufflenet_v2_x0_5",
    "mnasnet0_5",
    "resnet18+shufflenet_v2_x0_5",
)
RANDOM_SIZE = 64
STRENGTHS = 10.0 ** np.arange(-4, 3)  # C of the tuned judge


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """One backbone at one size on one data set, and which held-out images heads on it get right."""

    name: str
    pretrained: bool
    features: NDArray[np.float32]  # of the training images [N, F]
    labels: Ints  # [N]
    uniform: NDArray[np.float64]  # the default head: the share of its seeds that get a held-out image right [V]
    tuned: NDArray[np.float64]  # logistic regression at its best strength [V]


@dataclass(frozen=True, eq=False)
class Board:
    """The feature maps of one data set."""

    name: str
    maps: tuple[FeatureMap, ...]


def make_boards(work: Path, data: Path | None, weights: Path | None, only: tuple[str, ...]) -> Iterator[Board]:
    """Every board, one after the other; what was extracted and trained before under `work` is used again."""
    for name, make in data_sets(work, data).items():
        if only and name not in only:
            continue
        folder = work / "data" / name
        if not folder.is_dir():
            make(partial := folder.with_suffix(".tmp"))
            partial.rename(folder)
        yield Board(name, tuple(feature_map(work, folder, one) for one in configs(weights)))


def data_sets(work: Path, data: Path | None) -> dict[str, Callable[[Path], None]]:
    """By name, what writes a folder with the splits train and val."""
    digits = materialise(work / "cache")
    made: dict[str, Callable[[Path], None]] = {
        "digits": lambda to: split(pooled(digits), to, train=30, val=150),
        "digits10-noisy": lambda to: split(noisy_digits(to.with_suffix(".all")), to, train=24, val=30),
    }
    if data is not None:
        weather, cells = data / "weather4", data / "bloodcells"
        made |= {
            "weather4": lambda to: split(pooled(weather), to, train=75, val=125),
            "weather4-few": lambda to: split(pooled(weather), to, train=10, val=125),
            "bloodcells": lambda to: split(pooled(cells), to, train=None, val=None),
        }
    return made


Files = dict[str, list[Path]]  # of each class


def pooled(folder: Path) -> Files:
    """The files of each class, whatever their split; of equal ones the first. In order of their contents."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.setdefault(file.parent.name, {}).setdefault(hashlib.sha256(file.read_bytes()).hexdigest(), file)
    return {name: [of[digest] for digest in sorted(of)] for name, of in sorted(found.items())}


def split(files: Files, to: Path, *, train: int | None, val: int | None) -> None:
    """The second half of each class (at most `val`) to val, of the first half `train` to train; None: all of it."""
    for name, of in files.items():
        half = (len(of) + 1) // 2
        for part, chosen in (("train", of[:half][:train]), ("val", of[half:][:val])):
            (to / part / name).mkdir(parents=True, exist_ok=True)
            for number, file in enumerate(chosen):
                shutil.copyfile(file, to / part / name / f"{number:04d}{file.suffix}")


def noisy_digits(to: Path) -> Files:
    """Ten classes of 8 x 8 digits under noise, 64 x 64 pixels."""
    rng, digits = np.random.default_rng(0), load_digits()
    for number, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        grey = np.clip(pixels * 16 + rng.normal(0, 45, pixels.shape), 0, 255).astype(np.uint8)
        place = to / str(digit) / f"{number:04d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).resize((64, 64), Image.Resampling.BICUBIC).save(place)
    return pooled(to)


def configs(weights: Path | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the section `model` of each feature map."""
    for backbone, sizes in PRETRAINED.items():
        for size in sizes:
            model: dict[str, Any] = {"backbone": backbone, "input_size": size, "pretrained": True}
            if backbone.startswith("squeezenet"):
                if weights is None:
                    continue
                model["weights"] = str(weights)
            yield f"{backbone.replace('tf_efficientnet_', '')}@{size}", model
    for backbone in RANDOM:
        short = backbone.replace("tf_efficientnet_", "")
        yield f"{short} random", {"backbone": backbone, "input_size": RANDOM_SIZE, "pretrained": False}


def feature_map(work: Path, folder: Path, config: tuple[str, dict[str, Any]]) -> FeatureMap:
    """Trains the default head by the project's own code, and the tuned judge on the same features."""
    name, model = config
    options: dict[str, Any] = {
        "experiment_name": f"{folder.name}_{name}".replace("@", "_").replace(" ", "_").replace("+", "_"),
        "model": {**model, "classifier_dims": ["auto", 1024, "auto"], "dropout": 0.2},
        "data": {"path": str(folder)},
        "training": {"epochs": 50, "learning_rate": 1e-4, "optimizer": "adamw", "seed": 42, "seeds": 1},
        "profile": {"iterations": 1, "warmup": 0},
        "cache": {"dir": str(work / "cache")},
    }
    run = train_model(options, results_dir=work / "results", reuse=True)
    heads = load_predictions(run.folder / "predictions.npz", "val")
    parts = [extract(part) for part in parse_options(options).parts]
    images = {"train": parts[0].manifest.of("train"), "val": parts[0].manifest.of("val")}
    x = {
        which: np.concatenate([p.store.read([i.sha256 for i in of]) for p in parts], axis=1).astype(np.float32)
        for which, of in images.items()
    }
    labels = {which: np.array([i.label for i in of], dtype=np.int64) for which, of in images.items()}
    order = {image.name: place for place, image in enumerate(images["val"])}
    right = (heads.logits.argmax(axis=2) == heads.labels).mean(axis=0)[np.argsort([order[i] for i in heads.images])]
    tuned = tuned_judge(x["train"], labels["train"], x["val"], labels["val"], work / "judge" / f"{run.folder.name}.npy")
    return FeatureMap(name, bool(model["pretrained"]), x["train"], labels["train"], right, tuned)


def tuned_judge(
    x: NDArray[np.float32], labels: Ints, held: NDArray[np.float32], truth: Ints, memo: Path
) -> NDArray[np.float64]:
    """Which of the held-out images logistic regression on standardised features gets right `[V]`.

    Each half of them is judged at the strength that is best on the other half, so that none chooses its own.
    """
    if memo.is_file():
        return np.load(memo)
    deviation = x.std(axis=0) + 1e-12
    near, far = (x - x.mean(axis=0)) / deviation, (held - x.mean(axis=0)) / deviation
    _, _, axes = np.linalg.svd(near, full_matrices=False)  # a rotation, which the penalty does not see: fewer columns
    model, every = LogisticRegression(warm_start=True, max_iter=300), []
    for strength in STRENGTHS:
        model.set_params(C=strength).fit(near @ axes.T, labels)
        every.append(model.predict(far @ axes.T) == truth)
    right, chosen = np.array(every), np.empty(len(truth))
    for half in (np.arange(len(truth)) % 2 == 0, np.arange(len(truth)) % 2 == 1):
        chosen[half] = right[right[:, ~half].mean(axis=1).argmax()][half]
    memo.parent.mkdir(parents=True, exist_ok=True)
    np.save(memo, chosen)
    return chosen
