"""Random weights beside pretrained ones: a control group, last in the table, outside the ranking, and what it shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from made_runs import save_run

from featcache.app.tables import leaderboard_table
from featcache.errors import RunError
from heads.leaderboard import Criterion, Ranking, Row, choose, rank_results, stand_ins_text, verdict
from heads.leaderboard.board import Leaderboard
from heads.leaderboard.control_group import RANDOM


def ranked_runs(results: Path) -> Leaderboard:
    return rank_results(results).board


def told(results: Path) -> list[str]:
    """The verdict without what it says of chance."""
    chance = ("On validation", "At 95%", "The epochs and recipes of", "Every run has one seed")
    return [line for line in verdict(rank_results(results)) if not line.startswith(chance)]


def names(rows: Sequence[Row]) -> list[str]:
    return [row.run for row in rows]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two pretrained networks, one with its random twin, and a random one that is right more often than any."""
    save_run(tmp_path, "a", range(90), weights="in1k (package)", store="a-224-11111111.h5")
    save_run(tmp_path, "b", range(80), weights="IMAGENET1K_V1", store="b-224-22222222.h5")
    save_run(tmp_path, "a_random", range(70), weights="random(0)+lsuv", backbone="a", store="a-224-33333333.h5")
    save_run(tmp_path, "a_small", range(60), weights="random(0)", backbone="a", store="a-64-44444444.h5")
    save_run(tmp_path, "lucky", range(100), weights="random(3)", store="lucky-224-55555555.h5")
    return tmp_path


def test_pretrained_ones_come_first_whatever_the_controls_get(mixed: Path) -> None:
    board = ranked_runs(mixed)
    assert names(board.rows) == ["a", "b", "lucky", "a_random", "a_small"]
    assert [row.control for row in board.rows] == ["", "", "yes", "yes", "yes"]
    assert [row.rank for row in board.rows] == [1, 2, 3, 4, 5]
    assert [board.rank_text(row) for row in board.rows] == ["1", "2", "–", "–", "–"]
    assert (names(board.candidates), names(board.controls)) == (["a", "b"], ["lucky", "a_random", "a_small"])
    assert names(board.top) == ["a", "b"]


def test_controls_do_not_tie_with_the_last_candidate(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90), weights="W")
    save_run(tmp_path, "b", range(90), weights="random(0)")
    assert [row.rank for row in ranked_runs(tmp_path).rows] == [1, 2]


def test_a_twin_is_the_same_network_at_the_same_size(mixed: Path) -> None:
    rows = {row.run: row for row in ranked_runs(mixed).rows}
    assert rows["a"].pretraining_top1 == pytest.approx(0.2)
    assert rows["a"].pretraining_top1_low is not None and rows["a"].pretraining_top1_high is not None
    assert 0 < rows["a"].pretraining_top1_low < 0.2 < rows["a"].pretraining_top1_high
    assert {rows[name].pretraining_top1 for name in ("b", "lucky", "a_random", "a_small")} == {None}


def test_the_winners_own_twin_is_not_compared_twice(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90), weights="W", store="a-224-11111111.h5")
    save_run(tmp_path, "a_random", range(70), weights="random(0)", backbone="a", store="a-224-33333333.h5")
    said = told(tmp_path)
    assert said[1].startswith("Pretraining buys 20.0 points [")
    assert said[2] == "The control with random weights, a, gets 0.700."


def test_what_is_joined_with_a_random_network_has_no_twin(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90), weights="W + random(0)", backbone="a+b", store="ab-224-11111111.h5")
    save_run(tmp_path, "c", range(70), weights="random(0)", backbone="a+b", store="ab-224-33333333.h5")
    assert ranked_runs(tmp_path).rows[0].pretraining_top1 is None


def test_the_verdict_is_about_the_pretrained_ones(mixed: Path) -> None:
    said = told(mixed)
    assert said[0].startswith("a gives the most separable feature map of 2 pretrained ones: its heads get 0.900")
    assert "ahead of b by" in said[0] and "lucky" not in said[0]
    assert said[1].startswith("Pretraining buys 20.0 points [") and "] for a in val top-1, over the" in said[1]
    assert said[2].startswith("The best of 3 controls with random weights, lucky, gets 1.000: 10.0 points [")
    assert said[2].endswith("ahead of a: for these images these pretrained features are no help.")


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        (range(60), "The control with random weights, c, gets 0.600: 30.0 points ["),
        (range(89), "gets 0.890: not told from a (1.0 points ["),
    ],
)
def test_what_the_best_control_says(tmp_path: Path, right: range, expected: str) -> None:
    save_run(tmp_path, "a", range(90), weights="W")
    save_run(tmp_path, "c", right, weights="random(0)")
    said = told(tmp_path)
    assert said[0].startswith("a is the only pretrained feature map here")
    assert expected in said[1]
    assert said[1].endswith(("behind a.", "behind): these images do not show that they need pretraining."))


def test_where_all_are_random_they_are_what_is_ranked(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90), weights="random(0)")
    save_run(tmp_path, "b", range(60), weights="random(0)+lsuv")
    board = ranked_runs(tmp_path)
    assert {row.control for row in board.rows} == {""} and names(board.top) == ["a", "b"]
    assert verdict(rank_results(tmp_path))[0].startswith("a gives the most separable feature map of 2: ")


def test_a_fine_tuned_run_makes_no_control_group_of_all_feature_maps(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90), weights="random(0)")
    save_run(tmp_path, "b", range(60), weights="random(0)+lsuv")
    save_run(tmp_path, "tuned", range(95), weights="W", phase=2)
    board = ranked_runs(tmp_path)
    assert {row.control for row in board.rows} == {""} and names(board.top) == ["a", "b"]
    assert verdict(rank_results(tmp_path))[0].startswith("a gives the most separable feature map of 2: ")
    assert names(choose(board, 2, "accuracy")) == ["a", "b"]


def test_without_any_feature_map_fine_tuned_runs_have_their_controls(tmp_path: Path) -> None:
    save_run(tmp_path, "tuned", range(60), weights="W", phase=2)
    save_run(tmp_path, "untrained", range(90), weights="random(0)", phase=2)
    assert [row.control for row in ranked_runs(tmp_path).rows] == ["", "yes"]


def test_a_tag_names_weights_and_not_a_network_and_sources_differ(tmp_path: Path) -> None:
    save_run(tmp_path, "tagged", range(90), weights="a1", store="net.a1-224-11111111.h5", source="timm")
    save_run(tmp_path, "alike", range(70), weights="random(0)", store="net-224-22222222.h5", source="torchvision")
    save_run(tmp_path, "twin", range(60), weights="random(0)", store="net-224-33333333.h5", source="timm")
    assert ranked_runs(tmp_path).rows[0].pretraining_top1 == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ({"a": "random(0)"}, "this ranking says nothing about the pretrained networks"),
        ({"p": "W", "a": "random(0)"}, "it stands in the control group"),
        ({"p": "W", "a": "random(0)", "b": "random(0)"}, "they stand in the control group"),
        ({"p": "W", "p+a": "W + random(0)"}, "p+a ranks among pretrained ones, which it is joined with"),
        (
            {"p": "W", "p+a": "W + random(0)", "a": "random(0)"},
            "p+a ranks among pretrained ones, which it is joined with; the control group has a",
        ),
    ],
)
def test_where_those_stand_that_fell_back(tmp_path: Path, runs: dict[str, str], expected: str) -> None:
    for name, weights in runs.items():
        save_run(tmp_path, name, range(90), weights=weights, fell_back="random" in weights)
    assert stand_ins_text(ranked_runs(tmp_path)) == expected


@pytest.mark.parametrize(
    ("weights", "random"),
    [
        ("random(0)", True),
        ("random(12)+lsuv", True),
        ("random(0) + random(0)+lsuv", True),
        ("IMAGENET1K_V1 + random(0)", False),
        ("random(0) + in1k", False),
        ("random(0).pth", False),
        ("my random(0)", False),
        ("custom", False),
    ],
)
def test_what_counts_as_random(weights: str, random: bool) -> None:
    assert bool(RANDOM.fullmatch(weights)) is random


@pytest.mark.parametrize("by", ["accuracy", "pareto", "separability"])
def test_phase_2_takes_no_control(mixed: Path, by: Criterion) -> None:
    board = ranked_runs(mixed)
    with pytest.raises(RunError, match=r"2 backbones .* control group with random weights aside, and 3 are asked for"):
        choose(board, 3, by)


def test_the_linear_probe_is_compared_among_the_pretrained(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90), weights="W", probe=range(80))
    save_run(tmp_path, "b", range(85), weights="W", probe=range(70), store="b.h5")
    save_run(tmp_path, "untrained", range(60), weights="random(0)", probe=range(100))
    (probed,) = (line for line in verdict(rank_results(tmp_path)) if "linear probe" in line)
    assert "also puts a first (0.800 right" in probed and "untrained" not in probed


def test_the_table_has_them_last_and_apart(mixed: Path) -> None:
    table = leaderboard_table(ranked_runs(mixed))
    cells = [str(cell) for cell in table.columns[0].cells]
    assert cells[2] == "" and [cell.strip() for cell in cells[:2]] == ["*1", "*2"]
    assert {cell.strip() for cell in cells[3:]} == {"–"}


def test_a_twin_has_the_same_kind_of_head(tmp_path: Path) -> None:
    """What tuning brought is not what pretraining bought."""
    uniform = save_run(tmp_path, "a", range(80), weights="W", store="a-224-11111111.h5")
    tuned = save_run(tmp_path, "a-tuned", range(90), weights="W", backbone="a", store="a-224-11111111.h5")
    save_run(tmp_path, "a_random", range(70), weights="random(0)", backbone="a", store="a-224-33333333.h5")
    summary = json.loads((tuned / "summary.json").read_text())
    (tuned / "summary.json").write_text(
        json.dumps({**summary, "tuned": {"recipes": [1]}, "selection_metric": "val_top1"})
    )
    every = rank_results(tmp_path, Ranking(heads="all"))
    rows = {row.run: row for row in every.board.rows}
    assert rows["a-tuned"].rank == 1
    assert rows["a-tuned"].pretraining_top1 is None
    assert rows[uniform.name].pretraining_top1 == pytest.approx(0.1)
    assert any(line.startswith("Pretraining buys 10.0 points [") for line in verdict(every))


def test_where_the_seeds_are_unsure_nothing_is_said_of_the_images(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(95), range(50), weights="W")
    save_run(tmp_path, "c", range(35), range(65), weights="random(0)")
    (line,) = (line for line in verdict(rank_results(tmp_path)) if line.startswith("The control"))
    assert "not told from a (22.5 points [" in line
    assert line.endswith("their seeds differ too much to tell whether these images need pretraining (training.seeds).")


def test_what_a_control_gets_is_named_where_the_board_is_by_another_metric(tmp_path: Path) -> None:
    save_run(tmp_path, "a", range(90), weights="W")
    save_run(tmp_path, "c", range(60), weights="random(0)")
    (line,) = (
        line for line in verdict(rank_results(tmp_path, Ranking(rank_by="loss"))) if line.startswith("The control")
    )
    assert "c, gets 0.600 top-1: 30.0 points [" in line and line.endswith("] behind a in top-1.")
