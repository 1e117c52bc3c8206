"""The leaderboard: order, ties, the top three, and what is compared with what."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from heads.evaluation import Predictions, save_predictions
from heads.ranking import leaderboard, write_leaderboard
from heads.runs import Run, finished_runs

COLUMNS = (
    "rank,backbone,weights,features,val_top1,val_top1_std,val_top3,val_top3_std,test_top1,test_top3,latency_ms,"
    "latency_p95_ms,macs,params,images_per_second,head_seconds,phase,run,"
    "val_top1_low,val_top1_high,val_top3_low,val_top3_high"
)


def save_run(
    results: Path,
    name: str,
    top1: float,
    top3: float,
    *,
    half: float = 0.001,
    loss: float = 0.5,
    data: str = "d",
    backbone: str | None = None,
    fell_back: bool = False,
) -> None:
    def figure(value: float) -> dict[str, object]:
        return {"mean": value, "std": 0.01, "ci95": [value - half, value + half], "n": 100}

    folder = results / name
    folder.mkdir(parents=True)
    figures = {"top1": figure(top1), "top3": figure(top3), "loss": figure(loss)}
    summary = {
        "backbone": backbone or name,
        "weights": "W",
        "weights_fell_back": fell_back,
        "features": 10,
        "phase": 1,
        "best_epoch": 0,
        "val": figures,
        "test": figures,
        "data": {"fingerprint": data},
    }
    performance = {
        "latency_ms": {"mean": 2.0, "p95": 3.0},
        "macs": 5,
        "params_backbone": 7,
        "params_head": 4,
        "images_per_second": 9.0,
        "head_seconds": 1.0,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "performance.json").write_text(json.dumps(performance))


def board(results: Path) -> list[tuple[int, str]]:
    return [(r.rank, r.run) for r in leaderboard(finished_runs(results)).rows]


def test_top_3_comes_first_and_top_1_breaks_its_ties(tmp_path: Path) -> None:
    save_run(tmp_path, "better_top1", 0.95, 0.90)
    save_run(tmp_path, "better_top3", 0.80, 0.99)
    save_run(tmp_path, "same_top3", 0.85, 0.99)
    assert board(tmp_path) == [(1, "same_top3"), (2, "better_top3"), (3, "better_top1")]


def test_a_difference_in_top_3_within_its_interval_is_no_difference(tmp_path: Path) -> None:
    save_run(tmp_path, "flat", 0.75, 1.0, half=0.01)
    save_run(tmp_path, "sharp", 0.95, 0.995, half=0.01)
    assert board(tmp_path) == [(1, "sharp"), (2, "flat")]


def test_runs_that_cannot_be_told_apart_share_a_rank(tmp_path: Path) -> None:
    save_run(tmp_path, "a", 0.950, 1.0, half=0.02)
    save_run(tmp_path, "b", 0.940, 1.0, half=0.02)
    save_run(tmp_path, "c", 0.800, 1.0, half=0.02)
    found = leaderboard(finished_runs(tmp_path))
    assert [(r.rank, r.run) for r in found.rows] == [(1, "a"), (1, "b"), (3, "c")]
    assert [found.tied(r) for r in found.rows] == [True, True, False]


def test_the_lower_loss_goes_first_among_equals(tmp_path: Path) -> None:
    save_run(tmp_path, "a", 0.9, 1.0, loss=0.7)
    save_run(tmp_path, "b", 0.9, 1.0, loss=0.3)
    assert board(tmp_path) == [(1, "b"), (1, "a")]


def test_the_top_three_are_three_backbones(tmp_path: Path) -> None:
    for i, name in enumerate(("r1", "r2", "r3")):
        save_run(tmp_path, name, 0.99 - i / 100, 1.0, backbone="resnet18")
    save_run(tmp_path, "s", 0.9, 1.0)
    save_run(tmp_path, "t", 0.8, 1.0)
    assert [r.run for r in leaderboard(finished_runs(tmp_path)).top] == ["r1", "s", "t"]


def test_runs_on_other_data_are_left_out_and_named(tmp_path: Path) -> None:
    save_run(tmp_path, "old", 0.9, 1.0, data="other")
    save_run(tmp_path, "new", 0.8, 1.0)
    found = leaderboard(finished_runs(tmp_path), data="d")
    assert [r.run for r in found.rows] == ["new"]
    assert found.left_out == ("old",)


def test_random_weights_in_place_of_pretrained_ones_are_named(tmp_path: Path) -> None:
    save_run(tmp_path, "a", 0.9, 1.0, fell_back=True)
    save_run(tmp_path, "b", 0.8, 1.0)
    assert leaderboard(finished_runs(tmp_path)).fell_back == ("a",)


def test_the_csv_has_the_columns_of_the_design(tmp_path: Path) -> None:
    save_run(tmp_path, "a", 0.9, 1.0)
    file = tmp_path / "leaderboard.csv"
    write_leaderboard(leaderboard(finished_runs(tmp_path)), file)
    assert file.read_text().splitlines()[0] == COLUMNS
    (row,) = csv.DictReader(file.read_text().splitlines())
    assert (row["params"], row["latency_p95_ms"], row["val_top1"]) == ("11", "3.0", "0.9")


def test_unfinished_and_foreign_folders_are_passed_over(tmp_path: Path) -> None:
    save_run(tmp_path, "a", 0.9, 1.0)
    (tmp_path / "junk").mkdir()
    (tmp_path / "foreign").mkdir()
    for name in ("summary.json", "performance.json"):
        (tmp_path / "foreign" / name).write_text("{}")
    save_run(tmp_path, ".b.1.partial", 0.9, 1.0)
    runs: list[Run] = finished_runs(tmp_path)
    assert [r.folder.name for r in runs] == ["a"]


def save_predictions_of(results: Path, name: str, right: range) -> None:
    """A run that is right on some of 100 images, and whose interval alone would not tell it from its neighbours."""
    save_run(results, name, len(right) / 100, 1.0, half=0.08)
    logits = np.zeros((1, 100, 4), np.float32)
    logits[0, :, 1] = 1.0
    logits[0, list(right), 0] = 2.0
    images = tuple(f"{i}.png" for i in range(100))
    predictions = Predictions(logits, np.zeros(100, np.int64), images)
    save_predictions(results / name / "predictions.npz", {"val": predictions})


def test_differences_are_paired_by_image(tmp_path: Path) -> None:
    # b is right wherever a is, and on 8 more images; c is right as often as b, on others.
    save_predictions_of(tmp_path, "a", range(80))
    save_predictions_of(tmp_path, "b", range(88))
    save_predictions_of(tmp_path, "c", range(12, 100))
    assert board(tmp_path) == [(1, "b"), (1, "c"), (3, "a")]
    (tmp_path / "a" / "predictions.npz").unlink()  # without them the intervals overlap
    assert board(tmp_path) == [(1, "b"), (1, "c"), (1, "a")]
