"""A results folder of many runs on many images: one real run, copied, with figures drawn at random."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from featcache.places import FilePlace
from featcache.records import BackboneInfo, Identity, ImageRecord, Manifest, Preprocessing, Split, WeightsOrigin
from featcache.store import FeatureStore
from heads.runs.predictions import Predictions, save_predictions
from heads.runs.run_files import METRIC_COLUMNS
from heads.runs.split_figures import split_figures
from heads.training.metrics import confusion, outcome, per_class

CLASSES = ("glioma", "meningioma", "no tumour", "pituitary")
EPOCHS = 50
FEATURES = 64


def write_many_runs(root: Path, template: Path, *, runs: int, images: int, stores: int) -> Path:
    """`runs` runs like the one in the folder `template`, on `images` photographs of 4 classes; features in `stores`."""
    manifest = write_images(root / "photographs", images)
    names = [write_store(root / "cache", manifest, number) for number in range(stores)]
    for number in range(runs):
        write_run(root, template, manifest, number, names[number % stores])
    return root / "results"


def write_images(root: Path, count: int) -> Manifest:
    """Crops of the photographs that scikit-learn ships: 70% to train, the rest to val and test."""
    rng = np.random.default_rng(0)
    sources = [Image.fromarray(image) for image in load_sample_images().images]
    records = []
    for i in range(count):
        split: Split = ("val", "train", "train", "test", "train", "train", "val", "train", "train", "test")[i % 10]
        label = int(rng.integers(len(CLASSES)))
        source = sources[label % 2]
        side = int(rng.integers(80, 300))
        left, top = int(rng.integers(source.width - side)), int(rng.integers(source.height - side))
        file = io.BytesIO()
        source.crop((left, top, left + side, top + side)).resize((96, 96)).save(file, "JPEG", quality=85)
        name = f"{split}/{CLASSES[label]}/{i:05d}.jpg"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.getvalue())
        records.append(ImageRecord(FilePlace.at(path), name, hashlib.sha256(file.getvalue()).hexdigest(), label, split))
    return Manifest(root.name, root, CLASSES, tuple(records))


def write_store(cache: Path, manifest: Manifest, number: int) -> str:
    """Features that separate the classes the better, the larger the number; returns the store's name."""
    rng = np.random.default_rng(number)
    identity = Identity(
        f"network {number}", "custom", str(number), Preprocessing(224, 256), "input of fc", "float32", "float32"
    )
    store = FeatureStore(cache, BackboneInfo(identity, FEATURES, 10**7, WeightsOrigin("random", "random(0)")))
    labels = np.array([image.label for image in manifest.images])
    features = rng.normal(0, 1, (len(CLASSES), FEATURES))[labels] * (0.4 + number / 20)
    features = (features + rng.normal(0, 1, (len(labels), FEATURES))).astype(np.float32)
    with store.writing() as writer:
        writer.append([image.sha256 for image in manifest.images], features)
    store.save_dataset(manifest)
    return store.path.name


def write_run(root: Path, template: Path, manifest: Manifest, number: int, store: str) -> None:
    """Two seeds; accuracies between 0.6 and 0.98."""
    rng = np.random.default_rng(1000 + number)
    folder = root / "results" / f"network-{number:03d}"
    shutil.copytree(template, folder)
    splits: tuple[Split, ...] = ("val", "test")
    seen = {split: predictions(manifest, split, 1.0 + 4 * number / 100, rng) for split in splits}
    save_predictions(folder / "predictions.npz", seen)
    summary = json.loads((template / "summary.json").read_text())
    summary.update(
        backbone=f"network_{number:03d}", experiment_name=folder.name, weights="IMAGENET1K_V2", classes=list(CLASSES)
    )
    summary.update(stores=[store], features=FEATURES, leakage={}, best_seed=0)
    summary["seeds"] = [{**summary["seeds"][0], "seed": seed} for seed in (0, 1)]
    sizes = {split: len(manifest.of(split)) for split in ("train", "val", "test")}
    summary["data"].update(fingerprint=manifest.fingerprint, path=str(manifest.root), images=sizes, bad=[])
    for split, one in seen.items():
        predicted = one.logits[0].argmax(axis=1)
        summary[split] = figures(one)
        summary["confusion"][split] = confusion(one.labels, predicted, len(CLASSES))
        summary["per_class"][split] = per_class(one.labels, predicted, CLASSES)
    if summary["separability"]:
        shift = summary["val"]["top1"]["mean"] + rng.normal(0, 0.03)
        numeric = {k: v for k, v in summary["separability"].items() if isinstance(v, float)}
        summary["separability"].update({k: shift * (1 + abs(v)) for k, v in numeric.items()})
    (folder / "summary.json").write_text(json.dumps(summary))
    change(folder / "performance.json", latency(float(rng.uniform(2, 60)), rng))
    change(folder / "options.json", {"cache": {"dir": str(root / "cache")}})
    write_metrics(folder / "metrics.csv", summary["val"]["top1"]["mean"], rng)


def predictions(manifest: Manifest, split: Split, strength: float, rng: np.random.Generator) -> Predictions:
    images = manifest.of(split)
    labels = np.array([image.label for image in images])
    logits = rng.normal(0, 1.2, (2, len(images), len(CLASSES)))
    logits[:, np.arange(len(images)), labels] += strength
    return Predictions(logits.astype(np.float32), labels, tuple(image.name for image in images))


def figures(seen: Predictions) -> dict[str, Any]:
    """A split's accuracies and loss."""
    labels = torch.from_numpy(seen.labels)
    outcomes = [outcome(torch.from_numpy(logits), labels) for logits in seen.logits]
    return split_figures(seen, outcomes)


def latency(mean: float, rng: np.random.Generator) -> dict[str, Any]:
    times = {"mean": mean, "std": 0.1, "p50": mean, "p95": mean * 1.1, "p99": mean * 1.2}
    return {
        "latency_ms": times,
        "backbone_ms": {**times, "mean": mean * 0.95},
        "macs": int(mean * 10**8 * rng.uniform(0.5, 2)),
        "params_backbone": int(rng.uniform(1, 90) * 10**6),
    }


def change(file: Path, values: dict[str, Any]) -> None:
    """Write `values` over those in a JSON file, sections into sections."""
    value = json.loads(file.read_text())
    for name, one in values.items():
        value[name] = {**value[name], **one} if isinstance(one, dict) else one
    file.write_text(json.dumps(value))


def write_metrics(file: Path, reached: float, rng: np.random.Generator) -> None:
    with file.open("w", newline="") as stream:
        table = csv.DictWriter(stream, METRIC_COLUMNS, restval=0)
        table.writeheader()
        for seed in (0, 1):
            for epoch in range(EPOCHS):
                share = reached * (1 - np.exp(-(epoch + 1) / 8)) + rng.normal(0, 0.005)
                losses = {"train_loss": 1.5 - share, "val_loss": 1.6 - share}
                table.writerow({"epoch": epoch, "seed": seed, "val_top1": share, "val_top3": share, **losses})
