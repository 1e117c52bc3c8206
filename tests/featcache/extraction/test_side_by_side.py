"""Backbones side by side, and folds: from options to a run folder that gives the model back."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featcache import load_run
from featcache.backbones import build_head
from featcache.errors import DataError, InputError, OptionsError
from featcache.extraction.one_backbone import extract
from featcache.extraction.side_by_side import extract_all
from featcache.options.loading import load_options, parse_options
from featcache.options.run_options import Options
from featcache.session import Session
from heads import train_model
from heads.runs.loaded_run import LoadedRun
from heads.runs.predictions import load_predictions
from heads.runs.run import Run
from heads.runs.run_files import METRIC_COLUMNS
from heads.training.features import load_features
from heads.training.head_spec import run_heads
from heads.training.stacked_training import train_heads

Config = Callable[..., dict[str, Any]]

PARTS = ("squeezenet1_1", "shufflenet_v2_x0_5")
BOTH = {"backbone": "+".join(PARTS)}
FEATURES = 512 + 1024


def parts_of(options: Options) -> list[Any]:
    return [extract(part) for part in options.parts]


# Backbones side by side


def test_the_features_of_joined_backbones_lie_side_by_side(config: Config) -> None:
    options = parse_options(config(model=BOTH))
    joined = extract_all(options, Session.begin())
    assert joined.features == FEATURES
    assert joined.dims == (FEATURES, 16, 4)
    features = load_features(joined, torch.device("cpu"), folds=None, limit_bytes=math.inf)
    images = [*joined.manifest.of("train"), *joined.manifest.of("val")]
    hashes = [i.sha256 for i in images]
    expected = np.concatenate([p.store.read(hashes) for p in parts_of(options)], axis=1)
    (block,) = features.blocks(0)
    assert expected.shape == (len(images), FEATURES)
    assert np.array_equal(block.x.numpy(), expected)
    assert features.labels.tolist() == [i.label for i in images]


def test_a_run_of_joined_backbones(config: Config, tmp_path: Path) -> None:
    options = parse_options(config(model=BOTH, training={"epochs": 30}))
    run = train_model(options, results_dir=tmp_path / "results")
    assert run.summary["backbone"] == BOTH["backbone"]
    assert run.summary["features"] == FEATURES
    assert run.summary["classifier_dims"] == [FEATURES, 16, 4]
    assert run.summary["stores"] == [p.store.path.name for p in parts_of(options)]
    assert run.metrics["val_top1"] > 0.5  # 4 classes
    again = train_model(options, results_dir=tmp_path / "results", reuse=True)
    assert again.reused


def test_what_joined_backbones_cost_is_the_sum(config: Config, tmp_path: Path) -> None:
    options = parse_options(config(model=BOTH, profile={"batch_sizes": [1, 2], "precisions": ["bfloat16"]}))
    performance = train_model(options, results_dir=tmp_path / "results").performance
    first, second = (p.profile for p in parts_of(options))
    for latency in ("latency_ms", "backbone_ms", "head_ms", "preprocess_ms"):
        one, other, both = getattr(first, latency), getattr(second, latency), performance[latency]
        assert both["mean"] == pytest.approx(one.mean + other.mean)
        assert both["p50"] == pytest.approx(one.p50 + other.p50)
        assert both["std"] == pytest.approx(math.sqrt(one.std**2 + other.std**2))
    assert len(performance["measurements"]) == len(first.measurements) == 4
    for both, one, other in zip(performance["measurements"], first.measurements, second.measurements, strict=True):
        assert both["precision"] == one.precision == other.precision
        assert both["latency_ms"]["batch_size"] == one.latency_ms.batch_size
        assert both["latency_ms"]["mean"] == pytest.approx(one.latency_ms.mean + other.latency_ms.mean)
    heads = {f: f * 16 + 16 * 4 for f in (512, 1024, FEATURES)}
    bare = first.macs - heads[512] + second.macs - heads[1024]
    assert performance["macs"] == bare + heads[FEATURES]
    assert performance["flops"] == 2 * performance["macs"]
    assert performance["params_backbone"] == first.params_backbone + second.params_backbone
    assert performance["params_head"] == sum(p.numel() for p in build_head((FEATURES, 16, 4), 0.0).parameters())
    seconds_an_image = 1 / first.images_per_second + 1 / second.images_per_second
    assert performance["images_per_second"] == pytest.approx(1 / seconds_an_image)


def check_loaded(run: Run, digits: Path) -> LoadedRun:
    """The model gives the accuracy that the summary says, on the images that it was chosen on."""
    loaded = load_run(run.folder)
    files = sorted((digits / "val").rglob("*.png"))
    probabilities = loaded.predict(files)
    assert probabilities.shape == (20, 4)
    assert torch.allclose(probabilities.sum(1), torch.ones(20), atol=1e-5)
    labels = torch.tensor([loaded.classes.index(f.parent.name) for f in files])
    accuracy = (probabilities.argmax(1) == labels).double().mean().item()
    seed = next(s for s in run.summary["seeds"] if s["seed"] == run.summary["best_seed"])
    assert accuracy == pytest.approx(seed["val_top1"])
    return loaded


def test_load_run_gives_the_joined_model_back(config: Config, tmp_path: Path, digits: Path) -> None:
    options = parse_options(config(model=BOTH, training={"epochs": 30, "seeds": 2}))
    run = train_model(options, results_dir=tmp_path / "results")
    loaded = check_loaded(run, digits)
    assert len(loaded.transforms) == 2
    assert not loaded.model.training
    joined = extract_all(options, Session.begin())
    head = build_head(joined.dims, 0.0).eval()
    head.load_state_dict(torch.load(run.folder / "best_model.pth", weights_only=True)["head"])
    for image in joined.manifest.of("val")[::4]:
        cached = np.concatenate([p.store.read([image.sha256]) for p in joined.parts], axis=1)
        with torch.inference_mode():
            from_image = loaded.model([t(image.place.path)[None] for t in loaded.transforms])
            from_cache = head(torch.from_numpy(cached))
        assert torch.allclose(from_image, from_cache, rtol=2e-3, atol=2e-3)
    with pytest.raises(ValueError, match="2 backbones take a batch of images each"):
        loaded.model([loaded.transform(image.place.path)[None]])


def test_each_of_joined_backbones_takes_images_its_own_way(config: Config, tmp_path: Path, digits: Path) -> None:
    options = config(model={"backbone": "squeezenet1_1+mobilenetv4_conv_small"})
    joined = extract_all(parse_options(options), Session.begin())
    recipes = [p.info.identity.preprocessing for p in joined.parts]
    assert recipes[0] != recipes[1]
    run = train_model(options, results_dir=tmp_path / "results")
    check_loaded(run, digits)


def test_rows_of_a_part_alone_are_reused(config: Config) -> None:
    alone = extract(parse_options(config(model={"backbone": PARTS[1]})))
    assert alone.new == 84
    first, second = extract_all(parse_options(config(model=BOTH)), Session.begin()).parts
    assert (first.new, second.new) == (84, 0)
    assert second.store.path == alone.store.path
    assert extract(parse_options(config(model={"backbone": PARTS[0]}))).new == 0


def test_the_order_of_the_names_is_the_order_of_the_features(config: Config) -> None:
    there, back = (
        extract_all(parse_options(config(model={"backbone": "+".join(names)})), Session.begin())
        for names in (PARTS, PARTS[::-1])
    )
    assert [i.features for i in there.infos] == [512, 1024]
    assert [i.features for i in back.infos] == [1024, 512]
    assert [p.new for p in back.parts] == [0, 0]


def test_spaces_around_the_names_are_no_part_of_them(config: Config) -> None:
    assert parse_options(config(model={"backbone": " squeezenet1_1 + shufflenet_v2_x0_5 "})).model.names == PARTS


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({**BOTH, "weights": "IMAGENET1K_V1", "pretrained": True}, r"model\.weights is given and .* names 2"),
        ({"backbone": "squeezenet1_1+"}, "expected different names"),
        ({"backbone": "+squeezenet1_1"}, "expected different names"),
        ({"backbone": "squeezenet1_1+ +resnet18"}, "expected different names"),
        ({"backbone": "squeezenet1_1 + squeezenet1_1"}, "expected different names"),
        ({**BOTH, "classifier_dims": [512, 16, 4]}, rf"gives {FEATURES} features.*\[{FEATURES}, 16, 4\]"),
        ({**BOTH, "classifier_dims": ["auto", 16, 7]}, r"has 4 classes"),
    ],
)
def test_joined_backbones_that_cannot_be(config: Config, tmp_path: Path, model: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        train_model(config(model=model), results_dir=tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("model", [{"backbone": "squeezenet1_1+no_such_net"}, {**BOTH, "classifier_dims": [9, 16, 4]}])
def test_joined_backbones_that_cannot_be_are_found_before_any_work(
    config: Config, tmp_path: Path, model: dict[str, Any]
) -> None:
    with pytest.raises(InputError):
        train_model(config(model=model), results_dir=tmp_path / "results")
    assert not list((tmp_path / "cache").rglob("*.h5"))


def test_extract_takes_one_backbone(config: Config) -> None:
    with pytest.raises(OptionsError, match="names several"):
        extract(parse_options(config(model=BOTH)))


def test_classifier_dims_may_name_the_features_of_all(config: Config) -> None:
    assert (
        extract_all(parse_options(config(model={**BOTH, "classifier_dims": [FEATURES, 8, 4]})), Session.begin()).dims[1]
        == 8
    )


# Folds

FOLDED: list[dict[str, Any]] = [
    {"data": {"folds": 3}},
    {"data": {"folds": 3, "augmentations": ["horizontal_flip", "random_crop"], "views": 3}},
    {"data": {"folds": 3}, "model": BOTH},
]


@pytest.mark.parametrize("sections", FOLDED, ids=["plain", "views", "joined"])
def test_a_run_in_folds(config: Config, tmp_path: Path, digits: Path, sections: dict[str, Any]) -> None:
    options = parse_options(config(training={"seeds": 2, "epochs": 5}, **sections))
    run = train_model(options, results_dir=tmp_path / "results")
    summary = run.summary
    assert summary["data"]["folds"] == 3
    for metric in ("top1", "top3", "loss"):
        assert summary["val"][metric]["n"] == 48 + 20
        assert summary["test"][metric]["n"] == 16
        for split in ("val", "test"):
            seeds = [s[f"{split}_{metric}"] for s in summary["seeds"]]
            assert summary[split][metric]["mean"] == pytest.approx(sum(seeds) / 2)
    assert sum(map(sum, summary["confusion"]["val"])) == 68
    assert [len(s["best_epoch"]) for s in summary["seeds"]] == [3, 3]
    assert summary["best_fold"] in range(3)

    seen = load_predictions(run.folder / "predictions.npz", "val")
    assert seen.logits.shape == (2, 68, 4)
    assert all(name.split("/")[1] == summary["classes"][y] for name, y in zip(seen.images, seen.labels, strict=True))
    assert len(set(seen.images)) == 68
    right = (seen.logits.argmax(2) == seen.labels).mean(axis=1)
    assert right.tolist() == pytest.approx([s["val_top1"] for s in summary["seeds"]])
    assert load_predictions(run.folder / "predictions.npz", "test").logits.shape == (6, 16, 4)

    with (run.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == METRIC_COLUMNS
    assert len(rows) == 2 * 3 * 5
    assert {(r["seed"], r["fold"]) for r in rows} == {(s, f) for s in ("42", "43") for f in "012"}

    loaded = load_run(run.folder)
    assert loaded.options == load_options(run.folder / "options.json")
    probabilities = loaded.predict(sorted((digits / "test").rglob("*.png")))
    assert probabilities.shape == (16, 4)
    tested = load_predictions(run.folder / "predictions.npz", "test")
    best = [s["seed"] for s in summary["seeds"]].index(summary["best_seed"]) * 3 + summary["best_fold"]
    kept = tested.logits[best, np.argsort(tested.images)]
    expected = torch.from_numpy(kept).softmax(1)
    assert torch.allclose(probabilities, expected, atol=5e-3)


def test_an_image_is_predicted_by_the_head_that_did_not_train_on_it(config: Config, tmp_path: Path) -> None:
    options = parse_options(config(data={"folds": 3}))
    run = train_model(options, results_dir=tmp_path / "results")
    seen = load_predictions(run.folder / "predictions.npz", "val")
    joined = extract_all(options, Session.begin())
    features = load_features(joined, torch.device("cpu"), folds=3, limit_bytes=math.inf)
    trained = train_heads(features, run_heads(options, joined.dims, 3), batch_size=16)
    (block,) = features.blocks(0)
    images = [*joined.manifest.of("train"), *joined.manifest.of("val")]
    assert list(seen.images) == [i.name for i in images]
    for fold, head in zip(features.folds, trained, strict=True):
        module = build_head(joined.dims, 0.0).eval()
        module.load_state_dict(head.state)
        with torch.inference_mode():
            expected = module(block.x[fold.val]).numpy()
        assert np.allclose(seen.logits[0, fold.val], expected, atol=1e-4)
        right = (expected.argmax(1) == features.labels[fold.val]).mean()
        assert right == pytest.approx(head.best.val_top1)


def test_folds_of_views_extract_the_views_of_val_images_too(config: Config) -> None:
    augmented = {"augmentations": ["horizontal_flip", "random_crop"], "views": 3}
    without = extract(parse_options(config(data=augmented)))
    assert without.spec is not None
    assert len(without.store.rows(without.spec)) == 48
    folded = extract(parse_options(config(data={**augmented, "folds": 3})))
    assert folded.new == 20
    assert len(folded.store.rows(without.spec)) == 68


def test_more_folds_than_images_of_any_class(config: Config, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.folds: 18 folds need at least 18 distinct images of some class"):
        train_model(config(data={"folds": 18}), results_dir=tmp_path / "results")


def test_folds_learn_real_digits(config: Config, tmp_path: Path) -> None:
    run = train_model(config(data={"folds": 3}, training={"epochs": 40}), results_dir=tmp_path / "results")
    assert run.metrics["val_top1"] > 0.5  # 4 classes
