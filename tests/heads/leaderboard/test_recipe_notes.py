"""What is said against the recipe of the runs on a board: their own doubts, and features of another scale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_runs import save_run

from heads.leaderboard import Ranking, notes_lines, rank_results, recipe_notes, verdict


def save(results: Path, name: str, right: int, **summary: Any) -> None:
    file = save_run(results, name, range(right)) / "summary.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **summary}))


def notes(results: Path) -> dict[str, list[str]]:
    return recipe_notes(rank_results(results))


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (0.01, "100 times smaller than is usual on this board (root mean square 0.01, median 1), so one"),
        (0.24, "4 times smaller"),
        (0.26, None),
        (1.0, None),
        (3.9, None),
        (50.0, "50 times larger than is usual on this board (root mean square 50, median 1), so one"),
        (0.0, None),
    ],
)
def test_features_of_another_scale_are_told(tmp_path: Path, scale: float, said: str | None) -> None:
    for name, right in (("a", 90), ("b", 80), ("c", 70)):
        save(tmp_path, name, right, features_rms=1.0, normalise="none", doubts=[])
    save(tmp_path, "odd", 60, features_rms=scale, normalise="none", doubts=[])
    found = notes(tmp_path)
    assert list(found) == ([] if said is None else ["odd"])
    if said is not None:
        assert said in found["odd"][0]
        assert 'head.normalise to "scale"' in found["odd"][0]


def test_features_that_are_normalised_are_of_one_scale(tmp_path: Path) -> None:
    for name, scale in (("a", 1.0), ("b", 1.0), ("c", 1e-3), ("d", 1e3)):
        save(tmp_path, name, 80, features_rms=scale, normalise="standard", doubts=[])
    assert notes(tmp_path) == {}


def test_the_odd_one_of_two_is_not_known(tmp_path: Path) -> None:
    save(tmp_path, "a", 90, features_rms=1.0, normalise="none", doubts=[])
    save(tmp_path, "b", 80, features_rms=1e-3, normalise="none", doubts=[])
    assert notes(tmp_path) == {}


def test_doubts_of_a_run_are_passed_on_in_the_order_of_the_board(tmp_path: Path) -> None:
    save(tmp_path, "worse", 70, doubts=["the heads were late"])
    save(tmp_path, "better", 90, doubts=["first", "second"])
    save_run(tmp_path, "before", range(80))  # a run from before there were doubts
    assert notes(tmp_path) == {"better": ["first", "second"], "worse": ["the heads were late"]}
    assert notes_lines(rank_results(tmp_path)) == ["better: first", "better: second", "worse: the heads were late"]
    save(tmp_path, "worst", 50, doubts=["one", "two"])
    lines = notes_lines(rank_results(tmp_path))
    assert lines[2:] == ["worse: the heads were late", "2 more notes like these on worst: the report has them all"]
    with_doubts = verdict(rank_results(tmp_path))
    for name in ("worse", "better", "worst"):
        save_file = tmp_path / name / "summary.json"
        save_file.write_text(json.dumps({**json.loads(save_file.read_text()), "doubts": []}))
    assert verdict(rank_results(tmp_path)) == with_doubts


def test_a_tuned_head_has_its_own_rate_and_nobody_is_told_to_tune_it_again(tmp_path: Path) -> None:
    doubt = 'raise training.epochs (now 2), or try head.normalise "layernorm" or "standard"'
    before = f"{doubt} (`benchmark --tuned` tries these)"  # as earlier versions kept it
    tuned = {"recipes": [], "chosen": {}}
    plain: dict[str, Any] = {"normalise": "none", "stores": [], "doubts": []}
    for name, scale in (("a", 1.0), ("b", 1.0), ("c", 1.0), ("odd", 0.01)):
        save(tmp_path, name, 80, **{**plain, "stores": [name], "doubts": [before], "features_rms": scale})
        found = notes(tmp_path)[name]
        assert found[0] == before  # where no head of it is tuned
    assert found[1].endswith("or find a rate for each with `benchmark --tuned`")
    for name, scale in (("a", 1.0), ("b", 1.0), ("c", 1.0), ("odd", 0.01)):
        more = {**plain, "stores": [name], "features_rms": scale, "tuned": tuned}
        save(tmp_path, f"{name}-tuned", 90, **more)
    assert notes(tmp_path) == {}  # of the tuned heads, which the board compares
    for heads in ("uniform", "all"):
        both = recipe_notes(rank_results(tmp_path, Ranking(heads=heads)))
        assert both["odd"][0] == doubt
        assert both["odd"][1].endswith("or compare the tuned heads (--heads tuned)")
        assert "odd-tuned" not in both
