"""Who goes on to Phase 2: by accuracy, by the Pareto front, by separability."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY

from featcache.errors import RunError
from featcache.extraction.one_backbone import extract
from featcache.options.loading import parse_options
from featcache.separability import logme
from heads import train_model
from heads.leaderboard.board import Leaderboard
from heads.leaderboard.columns import Row
from heads.leaderboard.phase2_choice import choose
from heads.leaderboard.ranking import leaderboard
from heads.runs.run import finished_runs

Config = Callable[..., dict[str, Any]]

# What the choice does not read is not known: a new column does not change these tests.
NOT_KNOWN: dict[str, Any] = dict.fromkeys(field.name for field in fields(Row) if field.name != "more")
ROW = Row(
    **NOT_KNOWN
    | {
        "rank": 1,
        "backbone": "",
        "weights": "W",
        "val_top1": 0.9,
        "val_top3": 1.0,
        "latency_ms": 5.0,
        "macs": 5,
        "params": 11,
        "phase": 1,
        "run": "",
        "from_run": "",
        "control": "",
        "head": "uniform",
        "may_be_best": "",
    }
)


def row(run: str, latency_ms: float = 5.0, top1: float = 0.9, top3: float = 1.0, **more: Any) -> Row:
    made = replace(ROW, run=run, backbone=run.rstrip("0123456789"), latency_ms=latency_ms, val_top1=top1, val_top3=top3)
    return replace(made, **more)


def board(*rows: Row) -> Leaderboard:
    return Leaderboard(rows, (), ())


def names(rows: tuple[Row, ...]) -> list[str]:
    return [r.run for r in rows]


# By accuracy


def test_the_first_run_of_each_backbone_in_the_order_of_the_board() -> None:
    found = board(row("a1"), row("a2"), row("b1"), row("c1"), row("b2"))
    assert names(choose(found, 2, "accuracy")) == ["a1", "b1"]
    assert names(choose(found, 3, "accuracy")) == ["a1", "b1", "c1"]


def test_what_is_fine_tuned_already_is_never_chosen() -> None:
    found = board(row("a2", phase=2, from_run="a1"), row("d", phase=2), row("b"), row("a1"))
    assert names(choose(found, 2, "accuracy")) == ["b", "a1"]


def test_joined_backbones_are_passed_over_by_name(caplog: pytest.LogCaptureFixture) -> None:
    found = board(row("j", backbone="a+b"), row("j2", backbone="a+b"), row("a"), row("b"))
    with caplog.at_level(logging.INFO, logger="featcache"):
        assert names(choose(found, 2, "accuracy")) == ["a", "b"]
    (said,) = caplog.messages
    assert "a+b" in said
    assert said.count("a+b") == 1


@pytest.mark.parametrize("by", ["accuracy", "pareto", "separability"])
def test_too_few_backbones(by: Any) -> None:
    found = board(row("a1"), row("a2"), row("j", backbone="a+b"), row("b2", phase=2), row("c1"))
    with pytest.raises(RunError, match=r"2 backbones .* 3 are asked for.*featcache benchmark.*--top 2") as error:
        choose(found, 3, by)
    assert error.value.exit_code == 2


# By the Pareto front


def test_a_front_goes_before_what_it_dominates() -> None:
    # accuracy falls along the board: b is slower than the better a, and e than c; d is the fastest
    found = board(row("a", 6, 0.9), row("b", 8, 0.8), row("c", 4, 0.7), row("e", 5, 0.6), row("d", 2, 0.5))
    assert names(choose(found, 2, "pareto")) == ["a", "c"]
    assert names(choose(found, 3, "pareto")) == ["a", "c", "d"]
    assert names(choose(found, 5, "pareto")) == ["a", "c", "d", "b", "e"]  # then the front of what remains


def test_top_3_counts_before_top_1() -> None:
    found = board(row("a", 4, 0.7, 0.99), row("b", 5, 0.9, 0.98), row("c", 4, 0.6, 0.99))
    assert names(choose(found, 1, "pareto")) == ["a"]
    assert names(choose(found, 2, "pareto")) == ["a", "c"]
    faster = board(row("a", 4, 0.7, 0.99), row("b", 3, 0.9, 0.98), row("c", 4, 0.6, 0.99))
    assert names(choose(faster, 2, "pareto")) == ["a", "b"]


def test_equals_do_not_dominate_each_other() -> None:
    assert names(choose(board(row("a"), row("b"), row("c", 9)), 2, "pareto")) == ["a", "b"]


def test_several_runs_of_a_backbone_take_one_place() -> None:
    # a1 and a2 are the first front; a3 would keep b out of the second, had a not been chosen already
    found = board(row("a1", 6, 0.9), row("a2", 3, 0.8), row("a3", 4, 0.75), row("b", 4.5, 0.7), row("c", 3.5, 0.6))
    assert names(choose(found, 2, "pareto")) == ["a1", "b"]


# By separability


def test_the_largest_logme_goes_first_and_equals_stay_in_the_order_of_the_board() -> None:
    scores = {"a1": -0.4, "a2": 0.5, "b": 0.3, "d": 0.3, "c": 0.4}
    found = board(*(row(name, more={"logme": score}) for name, score in scores.items()))
    assert names(choose(found, 4, "separability")) == ["a2", "c", "b", "d"]


def test_what_cannot_be_fine_tuned_needs_no_logme() -> None:
    found = board(
        row("t", phase=2),
        row("j", backbone="a+b", more={"logme": 9.0}),
        row("a", more={"logme": 0.1}),
        row("b", more={"logme": 0.2}),
    )
    assert names(choose(found, 2, "separability")) == ["b", "a"]


def test_separability_is_that_of_the_features_that_the_runs_were_trained_on(config: Config, tmp_path: Path) -> None:
    results, expected = tmp_path / "results", {}
    for name, backbone in (("tiny", TINY), ("squeezenet", "squeezenet1_1")):
        options = parse_options(config(name, model={"backbone": backbone}))
        run = train_model(options, results_dir=results, allow_custom=True)
        summary = run.folder / "summary.json"  # as if pretrained: random weights beside others are a control group
        summary.write_text(summary.read_text().replace('"random(0)"', '"W"'))
        extraction = extract(options, allow_custom=True)
        images = extraction.manifest.of("train")
        labels = np.array([i.label for i in images])
        expected[name] = logme(extraction.store.read([i.sha256 for i in images]), labels)
    shutil.rmtree(tmp_path / "cache")  # the runs say it all
    found = leaderboard(finished_runs(results))
    assert {r.run: r.more["logme"] for r in found.rows} == pytest.approx(expected)
    assert names(choose(found, 2, "separability")) == sorted(expected, key=lambda n: -expected[n])
