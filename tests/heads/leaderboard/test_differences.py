"""What two Phase 1 runs differ by: paired by image, in accuracy and in the probe; one row a feature map."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import save_run

from featcache.separability.measures import MEASURES
from heads.leaderboard.board import Leaderboard, write_leaderboard
from heads.leaderboard.compared_run import Difference
from heads.leaderboard.ranking import leaderboard
from heads.runs.predictions import load_predictions, load_probe, save_predictions
from heads.runs.run import finished_runs


def board(results: Path) -> Leaderboard:
    return leaderboard(finished_runs(results), data="d")


def errors_wide(found: Difference, won: int, lost: int, images: int = 100) -> float:
    """How many standard errors of a paired difference its limits are away, where it won and lost on so many images."""
    share = (won - lost) / images
    error = np.sqrt(((won + lost) / images - share**2) / images)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    return float((found.high - found.mean) / error)


def test_identical_runs_differ_by_nothing_but_may_on_other_images(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_run(tmp_path, name, range(83), top3=range(95), probe=range(71))
    found = board(tmp_path)
    assert set(found.behind) == {"a", "b"}
    assert set(found.behind["a"].values()) == {Difference(0, 0, 0)}
    assert set(found.behind["b"]) == {"top1", "top3", "linear_probe"}
    for one in found.behind["b"].values():
        assert one.mean == 0
        assert one.tied
        assert 0.035 < one.high == -one.low < 0.08  # none of 100 differs: at 95% up to 0.037 may (Wilson 1927)


def test_differences_are_paired_by_image(tmp_path: Path) -> None:
    # b is right wherever c is and on 8 images more; a gets as many as b, but others
    save_run(tmp_path, "b", range(88), probe=range(88))
    save_run(tmp_path, "c", range(80), probe=range(80))
    save_run(tmp_path, "x", range(20, 100), probe=range(20, 100))
    behind = board(tmp_path).behind
    assert board(tmp_path).rows[0].run == "b"
    for metric in ("top1", "linear_probe"):
        near, far = behind["c"][metric], behind["x"][metric]
        assert near.mean == far.mean == pytest.approx(0.08)
        wide = errors_wide(near, 8, 0)
        assert errors_wide(far, 20, 12) == pytest.approx(wide)
        assert 2.2 < wide < 2.6  # of three pairs: 2.34 (Tukey 1953)
        assert not near.tied
        assert far.tied
        assert behind["b"][metric] == Difference(0, 0, 0)


def test_one_that_is_always_right_is_ahead_of_all(tmp_path: Path) -> None:
    save_run(tmp_path, "always", range(100), probe=range(100))
    save_run(tmp_path, "never", [], top3=[], probe=[])
    save_run(tmp_path, "often", range(90), probe=range(90))
    behind = board(tmp_path).behind
    assert [r.run for r in board(tmp_path).rows] == ["always", "often", "never"]
    for metric in ("top1", "top3", "linear_probe"):
        never = behind["never"][metric]
        assert never.mean == 1
        assert 0.85 < never.low < 0.97  # also where no image tells against it
    often = behind["often"]
    assert often["top3"].tied
    for metric in ("top1", "linear_probe"):
        assert 1.96 < errors_wide(often[metric], 10, 0) < 2.4  # only one pair of the three has any luck in it
        assert not often[metric].tied


def test_the_probe_is_compared_with_the_one_that_is_best_in_it(tmp_path: Path) -> None:
    save_run(tmp_path, "heads", range(95), probe=range(60))
    save_run(tmp_path, "probe", range(70), probe=range(90))
    behind = board(tmp_path).behind
    assert behind["heads"]["top1"].mean == 0 == behind["probe"]["linear_probe"].mean
    assert behind["probe"]["top1"].mean == pytest.approx(0.25)
    assert behind["heads"]["linear_probe"].mean == pytest.approx(0.30)


def test_a_probe_on_groups_of_images_counts_each_group_once(tmp_path: Path) -> None:
    """Ten frames of each video: two videos tell two probes apart, which is no lead, and 20 images, which would be."""
    folder = save_run(tmp_path, "a", range(90), probe=range(90))
    save_run(tmp_path, "b", range(80), probe=range(70))
    alone = board(tmp_path).behind["b"]["linear_probe"]
    assert not alone.tied
    file = folder / "predictions.npz"
    probe, val = load_probe(file), load_predictions(file, "val")
    save_predictions(file, {"val": val}, {"probe": replace(probe, groups=np.arange(100) // 10 * 10)})
    assert load_probe(file).units[19] == load_probe(file).units[10]
    grouped = board(tmp_path).behind["b"]["linear_probe"]
    assert grouped.mean == alone.mean
    assert grouped.tied


def test_the_luck_of_the_seeds_counts_among_several_heads(tmp_path: Path) -> None:
    save_run(tmp_path, "steady", range(90), range(90), probe=range(9))
    save_run(tmp_path, "shaky", range(90), range(70), probe=range(9))
    found = board(tmp_path).behind["shaky"]["top1"]
    assert found.mean == pytest.approx(0.1)
    assert found.low < 0 < 0.25 < found.high  # of two heads that differ by 0.2, one for each


def test_phase_2_runs_and_those_on_other_data_have_no_part_in_it(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(80), probe=range(80))
    save_run(tmp_path, "tuned", range(99), phase=2)
    save_run(tmp_path, "other", range(99), probe=range(99), data="other")
    assert list(board(tmp_path).behind) == ["a"]
    assert board(tmp_path).behind["a"]["top1"].mean == 0


def test_runs_without_a_probe_are_compared_by_their_heads_alone(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(80), probe=range(80))
    save_run(tmp_path, "dead", range(40))
    save_run(tmp_path, "lost", range(30), probe=range(30))
    (tmp_path / "lost" / "predictions.npz").unlink()
    behind = board(tmp_path).behind
    assert {name: set(found) for name, found in behind.items()} == {
        "a": {"top1", "top3", "linear_probe"},
        "dead": {"top1", "top3"},
        "lost": {"top1", "top3"},
    }
    assert not behind["lost"]["top1"].tied


IMAGES = st.sets(st.integers(0, 99))


@settings(deadline=None, max_examples=8, derandomize=True)
@given(st.lists(IMAGES, min_size=2, max_size=4))
def test_the_mean_is_between_the_ends_and_ties_are_those_of_the_ranks(
    tmp_path_factory: pytest.TempPathFactory, rights: list[set[int]]
) -> None:
    results = tmp_path_factory.mktemp("results")
    for number, right in enumerate(rights):
        save_run(results, f"r{number}", right, top3=range(100), probe=right)
    found = board(results)
    for row in found.rows:
        differences = found.behind[row.run]
        assert all(one.low <= one.mean <= one.high for one in differences.values())
        assert differences["top1"].mean == pytest.approx(found.rows[0].val_top1 - row.val_top1)
        assert (row.rank == 1) == (differences["top1"].tied and differences["top3"].tied)


@pytest.mark.slow
@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.lists(IMAGES, min_size=2, max_size=4))
def test_it_holds_of_many_runs(tmp_path_factory: pytest.TempPathFactory, rights: Any) -> None:
    test_the_mean_is_between_the_ends_and_ties_are_those_of_the_ranks.hypothesis.inner_test(tmp_path_factory, rights)


# One row for each feature map


def test_each_backbone_with_each_weights_has_its_best_run(tmp_path: Path) -> None:
    save_run(tmp_path, "r1", range(70), backbone="r")
    save_run(tmp_path, "r2", range(90), backbone="r")
    save_run(tmp_path, "r3", range(80), backbone="r", weights="other")
    save_run(tmp_path, "r4", range(99), backbone="r", phase=2)
    save_run(tmp_path, "s1", range(85), backbone="s")
    assert [r.run for r in board(tmp_path).feature_maps] == ["r2", "s1", "r3"]
    assert [r.run for r in board(tmp_path).top] == ["r2", "s1"]


def test_the_file_holds_the_measures_and_reads_back(tmp_path: Path) -> None:
    measures = {name: 0.125 + number for number, name in enumerate(MEASURES) if name != "linear_probe"}
    save_run(tmp_path, "a", range(80), probe=range(77), **measures)
    save_run(tmp_path, "dead", range(25), logme=-0.5)  # a probe has no meaning there
    save_run(tmp_path, "tuned", range(90), phase=2)
    file = tmp_path / "leaderboard.csv"
    write_leaderboard(board(tmp_path), file)
    rows = {row["run"]: row for row in csv.DictReader(file.read_text().splitlines())}
    assert {name: float(rows["a"][name]) for name in MEASURES} == {**measures, "linear_probe": 0.77}
    assert (rows["dead"]["logme"], rows["dead"]["linear_probe"]) == ("-0.5", "")
    assert {rows["tuned"][name] for name in MEASURES} == {""}
    assert list(rows["a"])[-len(MEASURES) :] == list(MEASURES)
