"""The leaderboard: order, ties, the top three, and what is compared with what."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import save_run as save_answers
from rich.console import Console

from featcache.app.progress import PLAIN_WIDTH
from featcache.app.tables import leaderboard_table
from featcache.records import digest
from heads.leaderboard.board import write_leaderboard
from heads.leaderboard.columns import Row
from heads.leaderboard.ranked_results import Ranking, rank_results
from heads.leaderboard.ranking import leaderboard
from heads.leaderboard.verdict_text import verdict
from heads.runs.predictions import Predictions, load_predictions, save_predictions
from heads.runs.run import Run, finished_runs
from heads.runs.split_figures import split_figures
from heads.training.metrics import outcome

COLUMNS = (
    "rank,backbone,weights,features,val_top1,val_top1_std,val_top3,val_top3_std,test_top1,test_top3,latency_ms,"
    "latency_p95_ms,macs,params,images_per_second,head_seconds,phase,run,"
    "val_top1_low,val_top1_high,val_top3_low,val_top3_high,"
    "from_run,gain_top1,gain_top1_low,gain_top1_high,gain_top3,gain_top3_low,gain_top3_high,"
    "control,pretraining_top1,pretraining_top1_low,pretraining_top1_high,"
    "may_be_best,corrected_top1,corrected_top1_low,corrected_top1_high,"
    "corrected_by,corrected,corrected_low,corrected_high,head,deployed_ms,deployed_as,teacher,"
    "recipes_tried,recipe_added_top1,"
    "val_loss,val_loss_low,val_loss_high,test_loss,"
    "val_balanced_accuracy,val_balanced_accuracy_low,val_balanced_accuracy_high,test_balanced_accuracy,"
    "val_macro_f1,val_macro_f1_low,val_macro_f1_high,test_macro_f1,val_auroc,val_auroc_low,val_auroc_high,test_auroc,"
    "logistic_probe_val,linear_probe,logistic_probe,knn_accuracy,centroid_accuracy,logme,h_score,fisher_ratio,"
    "silhouette,parc,gbc,effective_rank,intrinsic_dimension"
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
    phase: int = 1,
    from_run: str | None = None,
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
        "phase": phase,
        "best_epoch": 0,
        "val": figures,
        "test": figures,
        "data": {"fingerprint": data},
        "leakage": {},
        "stores": [f"{backbone or name}.h5"],
        "cache_dir": str(results / "cache"),
        "separability": None,
        **({"from_run": from_run, "from_inputs": digest(None)} if phase == 2 else {}),
    }
    performance = {
        "latency_ms": {"mean": 2.0, "p95": 3.0, "batch_size": 1},
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
    names = COLUMNS.split(",")
    rest = names[names.index("from_run") : names.index("may_be_best")]
    assert {row[name] for name in rest} == {""}  # of Phase 2, or beside a control group


def test_unfinished_and_foreign_folders_are_passed_over(tmp_path: Path) -> None:
    save_run(tmp_path, "a", 0.9, 1.0)
    (tmp_path / "junk").mkdir()
    (tmp_path / "foreign").mkdir()
    for name in ("summary.json", "performance.json"):
        (tmp_path / "foreign" / name).write_text("{}")
    save_run(tmp_path, ".b.1.partial", 0.9, 1.0)
    runs: list[Run] = finished_runs(tmp_path)
    assert [r.folder.name for r in runs] == ["a"]


def save_predictions_of(results: Path, name: str, right: range, *, phase: int = 1, from_run: str | None = None) -> None:
    """A run that is right on some of 100 images, and whose interval alone would not tell it from its neighbours."""
    save_run(results, name, len(right) / 100, 1.0, half=0.08, phase=phase, from_run=from_run)
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


# Phase 2


def row_of(results: Path, name: str) -> Row:
    (row,) = (r for r in leaderboard(finished_runs(results), data="d").rows if r.run == name)
    return row


def test_what_fine_tuning_brought_is_paired_by_image(tmp_path: Path) -> None:
    # right wherever the run that it came from is, and on 8 of 100 images more
    save_predictions_of(tmp_path, "frozen", range(80))
    save_predictions_of(tmp_path, "tuned", range(88), phase=2, from_run="frozen")
    row = row_of(tmp_path, "tuned")
    assert row.from_run == "frozen"
    assert row.gain_top1 == pytest.approx(0.08)
    # the number of those 8 among 100 is binomial: 1.96 standard deviations are 0.053
    assert row.gain_top1_low == pytest.approx(0.08 - 0.053, abs=0.01)
    assert row.gain_top1_high == pytest.approx(0.08 + 0.053, abs=0.01)
    assert row.gain_top3 == 0
    assert (row.gain_top3_low, row.gain_top3_high) == pytest.approx((-0.037, 0.037), abs=0.001)  # none of 100 differs


def test_without_the_same_images_the_intervals_are_independent(tmp_path: Path) -> None:
    save_run(tmp_path, "frozen", 0.80, 0.90, half=0.03)
    save_run(tmp_path, "tuned", 0.85, 0.89, half=0.04, phase=2, from_run="frozen")
    row = row_of(tmp_path, "tuned")
    assert [row.gain_top1, row.gain_top1_low, row.gain_top1_high] == pytest.approx([0.05, 0.0, 0.10], abs=0.001)
    assert [row.gain_top3, row.gain_top3_low, row.gain_top3_high] == pytest.approx([-0.01, -0.06, 0.04], abs=0.001)


def test_no_gain_over_a_run_that_is_not_on_the_board(tmp_path: Path) -> None:
    save_run(tmp_path, "frozen", 0.80, 0.90, data="other")
    save_run(tmp_path, "tuned", 0.85, 0.90, phase=2, from_run="frozen")
    save_run(tmp_path, "scratch", 0.75, 0.90, phase=2)
    found = leaderboard(finished_runs(tmp_path), data="d")
    assert {(r.from_run, r.gain_top1, r.gain_top3_low) for r in found.rows} == {
        ("frozen", None, None),
        ("", None, None),
    }
    assert found.gains() == []


def test_gains_in_words_and_in_the_csv(tmp_path: Path) -> None:
    save_run(tmp_path, "frozen", 0.80, 0.90, half=0.03, backbone="resnet18")
    save_run(tmp_path, "tuned", 0.86, 0.90, half=0.04, backbone="resnet18", phase=2, from_run="frozen")
    found = leaderboard(finished_runs(tmp_path))
    line = "phase 2: resnet18 0.800 -> 0.860 val top-1, +0.060 [+0.010, +0.110] over run frozen"
    assert found.gains() == [line]
    file = tmp_path / "leaderboard.csv"
    write_leaderboard(found, file)
    rows = {r["run"]: r for r in csv.DictReader(file.read_text().splitlines())}
    assert (rows["frozen"]["gain_top1"], rows["tuned"]["from_run"]) == ("", "frozen")
    assert float(rows["tuned"]["gain_top1_high"]) == pytest.approx(0.11, abs=0.001)


def test_phase_2_runs_are_ranked_but_not_starred(tmp_path: Path) -> None:
    save_run(tmp_path, "r", 0.8, 1.0, backbone="resnet18")
    save_run(tmp_path, "r2", 0.95, 1.0, backbone="resnet18", phase=2, from_run="r")
    save_run(tmp_path, "s", 0.9, 1.0)
    save_run(tmp_path, "t2", 0.99, 1.0, phase=2)
    assert board(tmp_path) == [(1, "t2"), (2, "r2"), (3, "s"), (4, "r")]
    assert [r.run for r in leaderboard(finished_runs(tmp_path)).top] == ["s", "r"]


@pytest.mark.parametrize("backbone", ["resnet18", "convnext_tiny.fb_in22k_ft_in1k", "squeezenet1_1+shufflenet_v2_x0_5"])
@pytest.mark.parametrize("tuned", [False, True])
def test_a_table_on_a_plain_console_shows_every_figure(tmp_path: Path, backbone: str, tuned: bool) -> None:
    save_run(tmp_path, "frozen", 0.801, 0.902, half=0.03, backbone=backbone)
    if tuned:
        save_run(tmp_path, "tuned", 0.861, 0.902, half=0.04, backbone=backbone, phase=2, from_run="frozen")
    found = leaderboard(finished_runs(tmp_path))
    console = Console(file=io.StringIO(), width=PLAIN_WIDTH, soft_wrap=True)
    console.print(leaderboard_table(found))
    shown = console.file.getvalue()
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= PLAIN_WIDTH
    assert "0.801 [0.771, 0.831]" in shown
    assert ("gain top-1 [95%]" in shown, "+0.060 [+0.010, +0.110]" in shown) == (tuned, tuned)


def diverged(results: Path, name: str, right: range) -> None:
    """A run with a seed that has no finite logits on five images, and so no finite loss."""
    folder = save_answers(results, name, right)
    val = load_predictions(folder / "predictions.npz", "val")
    val.logits[0, :5] = np.nan
    save_predictions(folder / "predictions.npz", {"val": val})
    found = split_figures(val, [outcome(torch.from_numpy(one), torch.from_numpy(val.labels)) for one in val.logits])
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "val": found, "test": found}))


def test_a_run_without_a_finite_loss_is_behind_all_that_have_one(tmp_path: Path) -> None:
    save_answers(tmp_path, "a", range(95))
    save_answers(tmp_path, "c", range(40))
    by_loss = Ranking("d", rank_by="loss")
    before = rank_results(tmp_path, by_loss).board.behind["c"]["loss"]
    diverged(tmp_path, "b", range(90))
    diverged(tmp_path, "aa", range(99))
    ranked = rank_results(tmp_path, by_loss)
    assert [(row.run, row.rank) for row in ranked.board.rows] == [("a", 1), ("c", 2), ("aa", 3), ("b", 3)]
    assert [row.may_be_best for row in ranked.board.rows] == ["yes", "", "", ""]
    with_it = ranked.board.behind["c"]["loss"]
    assert (with_it.low, with_it.high) == (before.low, before.high)  # they are no part of the comparison
    assert not any("nan" in line for line in verdict(ranked))
    shutil.rmtree(tmp_path / "c")
    assert "; ahead of aa and b, whose loss is not finite." in verdict(rank_results(tmp_path, by_loss))[0]
    shutil.rmtree(tmp_path / "a")
    lines = verdict(rank_results(tmp_path, by_loss))
    assert "tied with b" in lines[0] and not any("nan" in line for line in lines)
    assert any(line.endswith("cannot be said: its loss is not finite.") for line in lines)
