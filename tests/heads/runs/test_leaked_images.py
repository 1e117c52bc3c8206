"""Val and test images whose copy was there in training: counted, judged with and without, and warned of."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY, write_digits

from heads import train_model
from heads.runs.leaked_images import leakage, with_contents
from heads.runs.predictions import Predictions, load_predictions
from heads.runs.run import Run

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Run]

KEYS = {"leaked", "top1", "top3", "n_without", "top1_without", "top3_without"}


@pytest.fixture
def train(config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Train:
    """A quick run on the digits, with two seeds; what it warned of is in `caplog`."""

    def run(name: str = "run", **sections: dict[str, Any]) -> Run:
        sections["model"] = {"backbone": TINY, **sections.get("model", {})}
        sections["training"] = {"seeds": 2, "learning_rate": 3e-4, **sections.get("training", {})}
        with caplog.at_level(logging.WARNING, logger="featcache"):
            return train_model(config(name, **sections), results_dir=tmp_path / "results", allow_custom=True)

    return run


def plant(digits: Path) -> None:
    """Copies of 3 training images in val and of 1 in test, and of 2 val images in test; those in one split are none."""
    for number, (source, copy) in enumerate(
        [
            ("train/digit 0/000.png", "val/digit 0"),
            ("train/digit 1/001.png", "val/digit 1"),
            ("train/digit 1/002.png", "val/digit 3"),  # under another label
            ("train/digit 2/003.png", "test/digit 2"),
            ("val/digit 2/001.png", "test/digit 2"),
            ("val/digit 3/001.png", "test/digit 0"),
            ("train/digit 3/005.png", "train/digit 3"),
            ("test/digit 3/001.png", "test/digit 3"),
        ]
    ):
        shutil.copy(digits / source, digits / copy / f"copy {number}.png")


def leaked_names(digits: Path, split: str, sources: tuple[str, ...]) -> set[str]:
    """By reading every file."""
    seen = {hashlib.sha256(p.read_bytes()).digest() for s in sources for p in (digits / s).glob("*/*.png")}
    files = (digits / split).glob("*/*.png")
    return {str(p.relative_to(digits)) for p in files if hashlib.sha256(p.read_bytes()).digest() in seen}


def by_hand(run: Run, split: Any, leaked: set[str]) -> dict[str, Any]:
    """From the logits alone: the place of the label in each image's order of classes."""
    seen = load_predictions(run.folder / "predictions.npz", split)
    kept = np.array([name not in leaked for name in seen.images])
    place = (np.argsort(-seen.logits, axis=2, kind="stable") == seen.labels[None, :, None]).argmax(axis=2)
    return {
        "leaked": sum(~kept),
        "n_without": sum(kept),
        **{f"top{k}": (place < k).mean() for k in (1, 3)},
        **{f"top{k}_without": (place < k)[:, kept].mean() for k in (1, 3)},
    }


def says(run: Run) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((run.folder / "summary.json").read_text())["leakage"]
    return found


def test_copies_are_counted_and_judged_with_and_without(train: Train, digits: Path) -> None:
    plant(digits)
    run = train()
    leaked = {"val": leaked_names(digits, "val", ("train",)), "test": leaked_names(digits, "test", ("train", "val"))}
    assert {split: len(names) for split, names in leaked.items()} == {"val": 3, "test": 3}
    found = says(run)
    assert set(found) == {"val", "test"}
    for split, names in leaked.items():
        assert set(found[split]) == KEYS
        assert found[split] == pytest.approx(by_hand(run, split, names))
        for metric in ("top1", "top3"):  # with them they are the run's own figures
            assert found[split][metric] == pytest.approx(run.summary[split][metric]["mean"])
    assert found["val"]["top1"] != found["val"]["top1_without"]


def test_without_copies_nothing_changes_and_nothing_is_said(
    train: Train, digits: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = train()
    for split, n in (("val", 20), ("test", 16)):
        assert says(run)[split] == pytest.approx(by_hand(run, split, set()))
        assert says(run)[split]["n_without"] == n
        assert says(run)[split]["top1_without"] == says(run)[split]["top1"]
    assert caplog.messages == []


def test_folds_keep_copies_together_so_that_test_alone_can_leak(
    train: Train, digits: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plant(digits)
    run = train(data={"folds": 3})
    found = says(run)
    assert found["val"] == pytest.approx(by_hand(run, "val", set()))
    assert (found["val"]["leaked"], found["val"]["n_without"]) == (0, 48 + 20 + 3 + 1)
    assert found["test"] == pytest.approx(by_hand(run, "test", leaked_names(digits, "test", ("train", "val"))))
    assert found["test"]["leaked"] == 3
    assert len(load_predictions(run.folder / "predictions.npz", "test").logits) == 6  # mean over each seed's folds
    assert [("test images" in m, "val images" in m) for m in caplog.messages if "leaked" in m] == [(True, False)]


def test_a_cut_by_content_puts_copies_into_one_split(train: Train, tmp_path: Path) -> None:
    bare = write_digits(tmp_path / "bare", {"": 30})
    for image in sorted(bare.glob("*/00*.png")):
        shutil.copy(image, image.with_stem(f"{image.stem} copy"))
    assert {s: one["leaked"] for s, one in says(train(data={"path": str(bare)})).items()} == {"val": 0, "test": 0}


def test_where_all_leaked_nothing_is_left(train: Train, digits: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(digits / "test")
    shutil.copytree(digits / "val", digits / "test")
    run = train()
    found = says(run)["test"]
    assert (found["leaked"], found["n_without"]) == (20, 0)
    assert found["top1_without"] is found["top3_without"] is None
    assert found["top1"] == says(run)["val"]["top1"]
    (said,) = (m for m in caplog.messages if "leaked" in m)
    assert "20 of 20 test images" in said
    assert "none left without" in said


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {
            "model": {"backbone": "networks:four_stages"},
            "training": {"epochs": 2, "unfreeze_schedule": [{"epoch": 1, "unfreeze": "last_block"}]},
        },
    ],
    ids=["phase 1", "phase 2"],
)
def test_one_warning_a_run_names_the_splits_and_the_figures(
    train: Train, digits: Path, caplog: pytest.LogCaptureFixture, sections: dict[str, Any]
) -> None:
    plant(digits)
    run = train(**sections)
    (line,) = (r.getMessage() for r in caplog.records if "leaked" in r.getMessage() and r.levelname == "WARNING")
    assert run.summary["backbone"] in line
    for split, found in says(run).items():
        assert f"3 of {found['leaked'] + found['n_without']} {split} images" in line
        assert f"top-1 {found['top1']:.4f} with them, {found['top1_without']:.4f} without" in line
    assert "featcache audit" in line
    assert (run.folder / "log.txt").read_text().count(line) == 1


def test_only_the_splits_that_leak_are_named(train: Train, digits: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(digits / "val" / "digit 0" / "000.png", digits / "test" / "digit 0" / "copy.png")
    train()
    (line,) = (m for m in caplog.messages if "leaked" in m)
    assert "1 of 17 test images" in line
    assert "val images" not in line


def test_a_run_that_was_finished_before_is_warned_of_again(
    train: Train, config: Config, digits: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plant(digits)
    options = config(model={"backbone": TINY})
    said = []
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="featcache"):
            run = train_model(options, results_dir=tmp_path / "results", allow_custom=True, reuse=True)
        said.append([m for m in caplog.messages if "leaked" in m])
    assert run.reused
    assert said[0] == said[1]
    assert len(said[1]) == 1


# On predictions made by hand


def test_the_mean_is_over_heads_and_images_that_are_left() -> None:
    logits = np.zeros((2, 4, 5), np.float32)
    for head, best in enumerate([(0, 0, 0, 4), (0, 4, 0, 4)]):
        logits[head, range(4), best] = 1
        logits[head, :, 1:4] += 0.5  # where class 0 is not the best it is not among the first three
    seen = Predictions(logits, np.zeros(4, np.int64), ("a", "b", "c", "d"))
    found = leakage({"val": seen}, {"val": frozenset({"a", "c", "of another split"}), "test": frozenset()})["val"]
    assert found == {
        "leaked": 2,
        "top1": 5 / 8,
        "top3": 5 / 8,
        "n_without": 2,
        "top1_without": 1 / 4,
        "top3_without": 1 / 4,
    }


def test_a_run_on_another_source_of_the_same_images_has_the_same_leaks() -> None:
    logits = np.eye(4, 5, dtype=np.float32)[None]
    hashes = ("h0", "h1", "h2", "h3")
    here = Predictions(logits, np.zeros(4, np.int64), ("a", "b", "c", "d"), None, hashes)
    there = Predictions(logits, np.zeros(4, np.int64), ("x/0", "x/1", "x/2", "x/3"), None, hashes)
    before = Predictions(logits, np.zeros(4, np.int64), ("a", "b", "c", "d"))  # of an earlier version
    leaks = with_contents({"val": frozenset({"a", "c"}), "test": frozenset()}, {"a": "h0", "c": "h2"})
    every = [leakage({"val": seen}, leaks)["val"] for seen in (here, there, before)]
    assert every[0] == every[1] == every[2] and every[0]["leaked"] == 2
    assert here.keys == there.keys and before.keys == before.images
