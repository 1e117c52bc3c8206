"""Like is compared with like: a board has the heads that all its feature maps have, and says what it leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_runs import save_run

from featcache.records import digest
from heads.leaderboard import Heads, Ranking, left_out_lines, rank_results


def save(results: Path, name: str, tuned: bool = False, right: int = 80, **how: Any) -> None:
    """A run named for its backbone and its head."""
    folder = save_run(results, f"{name}-tuned" if tuned else name, range(right), backbone=name, **how)
    if tuned:
        change(folder, tuned={"recipes": []})


def change(folder: Path, **what: Any) -> None:
    file = folder / "summary.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **what}))


def names(results: Path, heads: Heads = "auto") -> set[str]:
    return {row.run for row in rank_results(results, Ranking(heads=heads)).board.rows}


@pytest.mark.parametrize(
    ("uniform", "tuned", "shown"),
    [
        ("abc", "abc", "tuned"),
        ("abc", "ab", "uniform"),
        ("ab", "abc", "tuned"),
        ("abc", "", "uniform"),
        ("", "abc", "tuned"),
        ("a", "bc", "tuned"),
        ("ab", "bc", "uniform"),  # neither has all, and both are as many
    ],
)
def test_the_heads_that_every_feature_map_has_are_compared(
    tmp_path: Path, uniform: str, tuned: str, shown: str
) -> None:
    for name in uniform:
        save(tmp_path, name)
    for name in tuned:
        save(tmp_path, name, tuned=True)
    assert names(tmp_path) == {f"{name}-tuned" for name in tuned} if shown == "tuned" else set(uniform)
    assert names(tmp_path, "all") == {*uniform, *(f"{name}-tuned" for name in tuned)}


def test_random_controls_have_no_say_in_it(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path, name)
        save(tmp_path, name, tuned=True)
        save(tmp_path, f"random-{name}", weights="random(0)")
    assert names(tmp_path) == {"a-tuned", "b-tuned"}
    save(tmp_path, "random-a", tuned=True, weights="random(0)")
    assert names(tmp_path) == {"a-tuned", "b-tuned", "random-a-tuned"}


def test_runs_on_other_data_have_no_say_in_it(tmp_path: Path) -> None:
    save(tmp_path, "a", data="old")
    save(tmp_path, "b", tuned=True)
    board = rank_results(tmp_path, Ranking("d")).board
    assert [row.run for row in board.rows] == ["b-tuned"]
    assert board.left_out == ("a",)


def test_what_is_left_out_is_said_with_the_option_that_shows_it(tmp_path: Path) -> None:
    def said(heads: Heads = "auto") -> list[str]:
        return left_out_lines(rank_results(tmp_path, Ranking("d", heads)))

    save(tmp_path, "a")
    assert said() == []
    save(tmp_path, "a", tuned=True)
    assert said() == [
        "1 run with a uniform head is left out, as the board compares tuned ones: --heads uniform shows it, --heads "
        "all both"
    ]
    save(tmp_path, "b")
    save(tmp_path, "c")
    assert said() == [
        "1 run with a tuned head is left out, as the board compares uniform ones: --heads tuned shows it, --heads "
        "all both"
    ]
    (line,) = said("tuned")
    assert line.startswith(
        "3 runs with uniform heads are left out, as the board compares tuned ones (of b and c there "
    )
    assert said("all") == []
    save(tmp_path, "z", data="other")
    assert said("all") == ["1 run on other data is left out, such as z"]


def test_what_fine_tuning_brought_is_known_though_its_start_is_left_out(tmp_path: Path) -> None:
    save(tmp_path, "a", right=80)
    save(tmp_path, "a", tuned=True, right=85)
    for name in ("a", "a-tuned"):
        change(tmp_path / name, inputs={"name": name})
    save_run(tmp_path, "end", range(93), backbone="a", phase=2)
    change(tmp_path / "end", from_run="a", from_inputs=digest({"name": "a"}))
    boards = {heads: rank_results(tmp_path, Ranking(heads=heads)).board for heads in HEADS}
    assert [row.run for row in boards["auto"].rows] == ["end", "a-tuned"]
    lines = {heads: board.gains() for heads, board in boards.items()}
    assert lines["auto"] == lines["all"] == lines["uniform"]
    (line,) = lines["auto"]
    assert line.startswith("phase 2: a 0.800 -> 0.930 val top-1, +0.130 [+0.")
    assert line.endswith("over run a")


HEADS: tuple[Heads, ...] = ("auto", "uniform", "all")


def test_pretraining_is_compared_by_like_heads(tmp_path: Path) -> None:
    for tuned in (False, True):
        save(tmp_path, "a", tuned, 90 + tuned, store="a-224-11111111.h5")
        save(tmp_path, "r" if not tuned else "q", tuned, 60, weights="random(0)", store="a-224-22222222.h5")
    (row,) = (row for row in rank_results(tmp_path).board.rows if row.run == "a-tuned")
    assert row.pretraining_top1 == pytest.approx(0.31)
