"""A student's head says how well it was taught: it stands on the board, and for no feature map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_runs import save_run

from featcache.errors import RunError
from heads.leaderboard import Ranking, choose, left_out_lines, rank_results, verdict


def save(results: Path, name: str, right: int, *, taught: bool = False, tuned: bool = False, **how: Any) -> None:
    file = save_run(results, name, range(right), **how) / "summary.json"
    more = {"distillation": {"teacher": "t"}} if taught else {"tuned": {"recipes": []}} if tuned else {}
    file.write_text(json.dumps({**json.loads(file.read_text()), **more}))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two pretrained networks, the students of both ahead of them, and the first on random weights, taught and not."""
    save(tmp_path, "a", 80, store="a-224-11111111.h5")
    save(tmp_path, "b", 70, store="b-224-22222222.h5")
    save(tmp_path, "a-student", 95, taught=True, backbone="a", store="a-224-11111111.h5")
    save(tmp_path, "b-student", 99, taught=True, backbone="b", store="b-224-22222222.h5")
    save(tmp_path, "noise", 50, weights="random(0)", backbone="a", store="a-224-33333333.h5")
    save(tmp_path, "noise-student", 75, taught=True, weights="random(0)", backbone="a", store="a-224-33333333.h5")
    return tmp_path


def test_no_feature_map_is_a_students(results: Path) -> None:
    ranked = rank_results(results)
    board = ranked.board
    assert [row.run for row in board.rows[:2]] == ["b-student", "a-student"]
    assert [row.run for row in board.feature_maps] == ["a", "b", "noise"]
    assert [row.run for row in board.rows if row.may_be_best] == ["a"]
    assert [row.run for row in board.rows if row.corrected_top1 is not None] == ["a"]
    assert [row.run for row in choose(board, 2, "heads")] == ["a", "b"]
    assert verdict(ranked)[0].startswith("a gives the most separable feature map of 2 pretrained ones")


def test_what_pretraining_buys_is_said_of_heads_that_had_no_teacher(results: Path) -> None:
    """80 images of 100 right with weights and 50 without: what the students of either have is not compared."""
    ranked = rank_results(results)
    assert {row.run: row.pretraining_top1 for row in ranked.board.rows if row.pretraining_top1} == {
        "a": pytest.approx(0.3)
    }
    (said,) = (line for line in verdict(ranked) if line.startswith("Pretraining buys"))
    assert said.count(" for ") == 1 and "for a " in said, said


def test_a_student_stands_beside_heads_of_either_kind_and_has_no_say_in_which(tmp_path: Path) -> None:
    save(tmp_path, "a", 80, store="a.h5")
    save(tmp_path, "a-tuned", 85, tuned=True, backbone="a", store="a.h5")
    save(tmp_path, "student", 90, taught=True, backbone="b")
    ranked = rank_results(tmp_path)
    assert {row.run for row in ranked.board.rows} == {"a-tuned", "student"}
    assert not any("one board" in line for line in verdict(ranked))
    assert "(of" not in " ".join(left_out_lines(ranked))
    assert {row.run for row in rank_results(tmp_path, Ranking(heads="uniform")).board.rows} == {"a", "student"}


def test_students_alone_are_no_answer(tmp_path: Path) -> None:
    save(tmp_path, "student", 90, taught=True)
    save(tmp_path, "noise", 50, weights="random(0)")
    ranked = rank_results(tmp_path)
    assert verdict(ranked) == [] and ranked.board.candidates == ()
    with pytest.raises(RunError):
        choose(ranked.board, 1, "heads")
