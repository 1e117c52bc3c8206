"""What is said of feature maps side by side: only what is beyond chance, with its figures, and never of controls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_runs import EVERY, save_run

from heads.leaderboard import joins_text, rank_results, redundancy_text, redundant_text
from heads.leaderboard.ranked_results import RankedResults
from heads.redundancy import Alignment, BackboneComparison
from heads.runs import predictions_of
from heads.runs.predictions import save_predictions


def without(*wrong: range) -> list[int]:
    return [i for i in EVERY if not any(i in some for some in wrong)]


def with_cka(ranked: RankedResults, **cka: float) -> RankedResults:
    """The same with a planted CKA of pairs named `one__other`, 0.2 for all others."""
    runs = tuple(row.run for row in ranked.board.feature_maps)
    matrix = np.full((len(runs), len(runs)), 0.2)
    np.fill_diagonal(matrix, 1)
    for pair, value in cka.items():
        i, j = (runs.index(name) for name in pair.split("__"))
        matrix[i, j] = matrix[j, i] = value
    known = replace(ranked.comparison, alignment=Alignment(runs, matrix, 700))
    ranked.__dict__["comparison"] = known
    return ranked


def test_without_features_and_with_two_backbones_nothing_is_said(tmp_path):
    save_run(tmp_path, "a", without(range(10)))
    save_run(tmp_path, "b", without(range(12)))
    ranked = rank_results(tmp_path)
    assert redundancy_text(ranked) == []
    assert redundant_text(ranked.board, ranked.comparison) == ""
    assert (
        joins_text(ranked) == "No pair is shown to complement each other: none of 1 gains beyond chance on 100 images."
    )


def unsure(folder: Path) -> None:
    """The run's heads are unsure where they are wrong."""
    seen = predictions_of(folder, "val")
    assert seen is not None
    wrong = seen.logits.argmax(axis=-1) != seen.labels
    logits = np.where(wrong[..., None], 0.3 * seen.logits, seen.logits)
    save_predictions(folder / "predictions.npz", {"val": replace(seen, logits=logits)})


def complementary(results: Path) -> RankedResults:
    """Two that are wrong on different images and one that is like the first; all three share the last image."""
    for name, wrong in (("left", range(20)), ("right", range(20, 41)), ("third", range(22))):
        right = without(wrong, range(99, 100))
        unsure(save_run(results, name, right, right))
    return rank_results(results)


def test_a_join_is_suggested_where_cka_and_errors_both_say_so(tmp_path):
    ranked = with_cka(complementary(tmp_path))
    join = redundancy_text(ranked)[0]
    assert join.startswith("left and right complement each other (linear CKA 0.20): averaged, their heads get 0.990 of")
    assert "+0.200 [" in join and "(p < 0.001 among 3 pairs)" in join
    assert join.endswith("featcache train with model.backbone=left+right.")
    assert join in joins_text(ranked)


@pytest.mark.parametrize("features", ["alike", "gone"])
def test_no_join_where_features_are_alike_or_unknown(tmp_path, features):
    ranked = complementary(tmp_path)
    if features == "alike":
        ranked = with_cka(ranked, left__right=0.95, right__third=0.95)
    assert not any("complement each other (" in line for line in redundancy_text(ranked))
    assert joins_text(ranked).startswith("No pair is shown")


def test_no_join_beyond_what_is_first_already(tmp_path):
    """Both gain from each other, but another is better than both together."""
    complementary(tmp_path)
    save_run(tmp_path, "best", EVERY)
    ranked = with_cka(rank_results(tmp_path))
    assert ranked.comparison.pairs[0].p < 0.05
    assert ranked.comparison.joins == ()


def test_a_join_that_was_trained_is_quoted_not_suggested(tmp_path):
    complementary(tmp_path)
    folder = save_run(tmp_path, "both", without(range(3)), backbone="left+right", weights="W + W")
    summary = json.loads((folder / "summary.json").read_text())
    summary["stores"] = ["left-W.h5", "right-W.h5"]
    (folder / "summary.json").write_text(json.dumps(summary))
    ranked = with_cka(rank_results(tmp_path))
    assert len(ranked.comparison.pairs) == 3  # the joined one is no part of another pair
    line = joins_text(ranked)
    assert "joined they are here as both, 0.970." in line


def test_redundant_groups_are_named(tmp_path):
    ranked = with_cka(complementary(tmp_path), left__third=0.95)
    said = redundant_text(ranked.board, ranked.comparison)
    assert said == "Redundant, with a linear CKA of 0.9 or more on 700 training images: left and third."
    apart = redundant_text(ranked.board, with_cka(ranked).comparison)
    assert apart == "No two of 3 feature maps are redundant: every linear CKA is below 0.9 on 700 training images."


def test_images_that_every_backbone_gets_wrong_are_said(tmp_path):
    for place, name in enumerate("abc"):
        save_run(tmp_path, name, without(range(6), range(30 + 3 * place, 33 + 3 * place)))
    (line,) = redundancy_text(rank_results(tmp_path))
    assert line == (
        "6 of 100 validation images are wrong in each of 3 feature maps, where independent errors would share 0.1 "
        "(p < 0.001), most between a and d: a matter of these labels or images rather than of the backbone."
    )


def test_classes_that_one_backbone_confuses_are_said(tmp_path):
    save_run(tmp_path, "a", without(range(1)))
    save_run(tmp_path, "b", without(range(50, 52)))
    save_run(tmp_path, "c", without(range(60, 85)))
    (line,) = redundancy_text(rank_results(tmp_path))
    assert line == "Which backbone is chosen matters for a and d (a confuses 1 of 100, c 25)."


def test_controls_are_no_witnesses(tmp_path):
    for name in "ab":
        save_run(tmp_path, name, without(range(6)))
    save_run(tmp_path, "random", without(range(60)), weights="random(0)")
    ranked = rank_results(tmp_path)
    assert ranked.comparison.common is None
    assert isinstance(ranked.comparison, BackboneComparison) and len(ranked.comparison.pairs) == 1


def test_a_join_is_no_witness_beside_what_it_is_joined_of(tmp_path):
    for name in ("a", "b", "a+b"):
        folder = save_run(tmp_path, name, without(range(6)), backbone=name)
        summary = json.loads((folder / "summary.json").read_text())
        summary["stores"] = [f"{one}-W.h5" for one in name.split("+")]
        (folder / "summary.json").write_text(json.dumps(summary))
    assert rank_results(tmp_path).comparison.common is None  # two are too few to say
    save_run(tmp_path, "c", without(range(6)))
    assert (
        "6 of 100 validation images are wrong in each of 3 feature maps" in redundancy_text(rank_results(tmp_path))[0]
    )
