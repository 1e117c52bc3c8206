"""Whether normalised features rank backbones more stably than features as they are, and what that does to accuracy.

Data sets: the built-in digits, every folder of images that is given, and of each a poor form (grey, noisy, few images).
Each is cut into halves A and B, several times; in each half heads of every recipe train on two thirds and choose their
epoch on the rest, and the other half tests them. Stable is a recipe whose order of backbones is the same from A as from
B, at one rate as at ten times that, and as that of a logistic regression whose strength is tuned.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # the modules that tests share

from array_rows import ArrayRows
from numpy.typing import NDArray
from photographs import machine
from PIL import Image, ImageOps
from recipe_tables import RECIPES, Array, Found, tables
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featcache.backbones import build_head
from featcache.extraction import extract_all, read_plain
from featcache.options import TrainingOptions, parse_options
from featcache.session import Session
from heads.training import Features, HeadSpec, train_heads
from heads.training.features import Fold

HIDDEN, EPOCHS, BATCH, DROPOUT = 1024, 50, 32, 0.2  # of configs/base.json
PICTURE = 128  # pixels of the images that are written
RICH, POOR = (100, 50), (40, 60)  # images of a half, the same of each class: to train on, to choose the epoch by
STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # C of the logistic regression
PRETRAINED = {"tf_efficientnet_lite0": 128, "tf_efficientnet_lite1": 128, "tf_efficientnet_lite2": 128}
RANDOM = {
    "resnet18": 64,
    "mobilenet_v3_small": 64,
    "regnet_y_400mf": 64,
    "convnext_atto": 64,
    "levit_128s": 64,
    "vit_tiny_patch16_224": 64,
}

Pictures = Iterator[tuple[str, Image.Image]]  # class and image


def main() -> None:
    """Run the data sets that are asked for, those whose results are kept excepted, and print the tables of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="where images, features and results are kept")
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="folders of images, with or without splits")
    parser.add_argument("--weights", type=Path, help="of squeezenet1_0; without it that is random too")
    parser.add_argument("--only", nargs="*", help="names of data sets")
    parser.add_argument("--splits", type=int, default=2)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of logistic regressions that stop early
    torch.set_num_threads(1)
    print(machine())
    found = {}
    for name, (make, sizes) in data_sets(arguments.images).items():
        kept = arguments.out / f"{name}.json"
        if not kept.exists() and (not arguments.only or name in arguments.only):
            begin = time.perf_counter()
            folder = written(arguments.out / "images" / name, make, 2 * sum(sizes))
            result = study(folder, arguments.out / "cache", arguments.weights, sizes, arguments.splits)
            kept.write_text(json.dumps({k: v.tolist() for k, v in vars(result).items()}))
            print(f"{name}: {time.perf_counter() - begin:.0f} s", flush=True)
        if kept.exists():
            found[name] = Found(**{k: np.array(v) for k, v in json.loads(kept.read_text()).items()})
    for table in tables(found):
        print(f"\n{table}")


def data_sets(folders: Sequence[Path]) -> dict[str, tuple[Callable[[], Pictures], tuple[int, int]]]:
    """What makes each data set, and how many images of a half train and choose."""
    sets: dict[str, tuple[Callable[[], Pictures], tuple[int, int]]] = {}
    for name, make in {"digits": digits, **{f.name: lambda f=f: pictures(f) for f in folders}}.items():
        sets[name] = make, RICH
        sets[f"{name}-poor"] = lambda make=make: poor(make()), POOR
    return sets


def digits() -> Pictures:
    """Scanned digits, 8 x 8 pixels."""
    found = load_digits()
    for pixels, label in zip(found.images, found.target, strict=True):
        yield str(label), Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((PICTURE, PICTURE))


def pictures(folder: Path) -> Pictures:
    """Every image below a folder, its class that of the folder it lies in."""
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        with Image.open(file) as image:
            yield file.parent.name, ImageOps.fit(image.convert("RGB"), (PICTURE, PICTURE))


def poor(rich: Pictures) -> Pictures:
    """Grey, of half the contrast, and noisy."""
    rng = np.random.default_rng(0)
    for label, image in rich:
        grey = np.asarray(image.convert("L"), np.float64)
        noisy = 128 + (grey - 128) / 2 + rng.normal(0, 15, grey.shape)
        yield label, Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def written(folder: Path, make: Callable[[], Pictures], most: int) -> Path:
    """`most` images, the same of each class, drawn once; classes of fewer than 20 are left out."""
    if folder.exists():
        return folder
    by_class: dict[str, list[Image.Image]] = {}
    for label, image in make():
        by_class.setdefault(label, []).append(image)
    rng = np.random.default_rng(1)
    chosen = {label: every for label, every in by_class.items() if len(every) >= 20}
    for label, every in chosen.items():
        (folder / label).mkdir(parents=True)
        for number in sorted(rng.permutation(len(every))[: most // len(chosen)].tolist()):
            every[number].save(folder / label / f"{number:04d}.png")
    return folder


def study(folder: Path, cache: Path, weights: Path | None, sizes: tuple[int, int], splits: int) -> Found:
    """Every recipe on every backbone's features of a data set."""
    rows = []
    for name, size, own in [("squeezenet1_0", 128, weights), *((n, s, None) for n, s in PRETRAINED.items()),
                            *((n, s, None) for n, s in RANDOM.items())]:  # fmt: skip
        model = {"backbone": name, "input_size": size, "pretrained": name in PRETRAINED or own is not None}
        x, y = features(folder, cache, {**model, "weights": str(own)} if own is not None else model)
        rows.append(one_backbone(x, y, halves(y, sizes, splits)))
    val, test, reference = (np.stack(parts) for parts in zip(*rows, strict=True))
    return Found(val, test, reference)


def features(folder: Path, cache: Path, model: dict[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features and labels of all images, extracted where they are missing."""
    options = parse_options(
        {
            "experiment_name": "recipe",
            "model": model,
            "data": {"path": str(folder), "workers": 1},
            "cache": {"dir": str(cache)},
            "profile": {"iterations": 1, "warmup": 0},
        }
    )
    cached = extract_all(options, Session.begin("cpu"))
    images = sorted(cached.manifest.images, key=lambda i: i.place.path)
    return read_plain(cached, images), np.array([i.label for i in images])


def halves(y: NDArray[np.int64], sizes: tuple[int, int], splits: int) -> list[Fold]:
    """A and B of each split: what trains and what chooses in each, class by class."""
    train, val = sizes
    folds = []
    for split in range(splits):
        rng = np.random.default_rng(split)
        parts: list[list[NDArray[np.int64]]] = [[], [], [], []]
        for label in np.unique(y):
            for half, own in enumerate(np.array_split(rng.permutation(np.flatnonzero(y == label)), 2)):
                cut = len(own) * train // (train + val)
                parts[2 * half].append(own[:cut])
                parts[2 * half + 1].append(own[cut:])
        a, b, c, d = (np.sort(np.concatenate(p)) for p in parts)
        folds += [Fold(a, b), Fold(c, d)]
    return folds


def one_backbone(x: NDArray[np.float32], y: NDArray[np.int64], folds: list[Fold]) -> tuple[Array, Array, Array]:
    """What `Found` holds of one backbone."""
    every, ones = np.arange(len(y)), np.ones(len(y), np.int64)
    classes = int(y.max()) + 1
    pool = Features(ArrayRows(x, every, ones), y, ones, tuple(folds), classes, torch.device("cpu"))
    dims = (x.shape[1], HIDDEN, classes)
    heads = [
        HeadSpec(dims, TrainingOptions(epochs=EPOCHS, learning_rate=rate), fold // 2, DROPOUT, fold, normalise)
        for normalise, rate in RECIPES
        for fold in range(len(folds))
    ]
    trained = train_heads(pool, heads, batch_size=BATCH)
    shape = len(RECIPES), len(folds) // 2, 2
    val = np.array([t.best.val_top1 for t in trained]).reshape(shape)
    test = np.empty(len(heads))
    for number, (spec, one) in enumerate(zip(heads, trained, strict=True)):
        other = _images(folds[spec.fold ^ 1])
        module = build_head(dims, 0.0, spec.normalise).eval()
        module.load_state_dict(one.state)
        with torch.no_grad():
            test[number] = (module(torch.from_numpy(x[other])).argmax(1).numpy() == y[other]).mean()
    reference = np.array([_reference(x, y, f, _images(folds[n ^ 1])) for n, f in enumerate(folds)])
    return val, test.reshape(shape), reference.reshape(shape[1:])


def _images(fold: Fold) -> NDArray[np.int64]:
    return np.concatenate([fold.train, fold.val])


def _reference(x: NDArray[np.float32], y: NDArray[np.int64], fold: Fold, other: NDArray[np.int64]) -> float:
    """Top-1 on `other` of the logistic regression that is best on val."""
    models = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=200)) for c in STRENGTHS]
    fitted = [model.fit(x[fold.train], y[fold.train]) for model in models]
    best = max(fitted, key=lambda model: float(model.score(x[fold.val], y[fold.val])))
    return float(best.score(x[other], y[other]))


if __name__ == "__main__":
    main()
