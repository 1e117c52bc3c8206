"""The number that a sampler follows orders trials as people would."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TINY, write_digits
from hypothesis import given, settings
from hypothesis import strategies as st

from heads.report.charts_sweep import best_so_far
from heads.report.sweep_results import load_sweeps
from heads.search import SweepOptions, run_sweep, sweep_schema
from heads.search.objectives import OBJECTIVES, Objective
from heads.search.trial_figures import Costs, Figures, HeadFigures, figures
from heads.training import EpochRow


def head(seed: int, images: int, top1: float, top3: float, loss: float) -> HeadFigures:
    return HeadFigures(seed, images, EpochRow(0, 0.0, 0.0, loss, top1, top3, 0.0, 0.0))


def value(of: Figures, objective: str) -> float:
    return OBJECTIVES[objective].value(of)


def seen(outcomes: int, right1: int, right3: int, loss: float) -> Figures:
    one = head(0, outcomes, right1 / outcomes, right3 / outcomes, loss)
    return figures([one], Costs(latency_ms=1.5, macs=10, params=20))


@st.composite
def outcomes(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, float]]]:
    """Counts of two trials on as many images: right among three, right at once, and a loss such counts can have."""
    n = draw(st.integers(1, 20_000))
    trials = []
    for _ in range(2):
        right3 = draw(st.integers(0, n))
        right1 = draw(st.integers(0, right3))
        least = (n - right1) * math.log(2) / n  # another class is at least as probable as the right one
        trials.append((right3, right1, least + draw(st.integers(0, 20_000)) / 1000))
    return n, trials


@settings(max_examples=400, deadline=None)
@given(outcomes())
def test_top3_then_top1_then_loss(drawn: tuple[int, list[tuple[int, int, float]]]) -> None:
    n, ((a3, a1, a_loss), (b3, b1, b_loss)) = drawn
    a, b = seen(n, a1, a3, a_loss), seen(n, b1, b3, b_loss)
    for objective, first, second in (
        ("val_top3", (a3, a1, -a_loss), (b3, b1, -b_loss)),
        ("val_top1", (a1, -a_loss), (b1, -b_loss)),
    ):
        assert (value(a, objective) > value(b, objective)) == (first > second)
        assert (value(a, objective) == value(b, objective)) == (first == second)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20_000), st.floats(0, 1e300), st.data())
def test_ties_are_broken_by_less_than_one_outcome(n: int, loss: float, data: st.DataObject) -> None:
    right3 = data.draw(st.integers(0, n))
    right1 = data.draw(st.integers(0, right3))
    one = seen(n, right1, right3, loss)
    assert right3 / n * (1 - 1e-12) <= value(one, "val_top3") <= (right3 + 1) / n * (1 + 1e-12)


def test_the_others_are_what_they_say() -> None:
    one = seen(10, 5, 8, 0.75)
    assert [value(one, o) for o in ("val_loss", "latency_ms", "macs", "params")] == [0.75, 1.5, 10.0, 20.0]


def test_figures_are_means_over_heads_and_folds_count_by_their_images() -> None:
    first = [head(0, 3, 1 / 3, 2 / 3, 1.0), head(0, 2, 1.0, 1.0, 2.0)]
    second = [head(1, 3, 1.0, 1.0, 0.5), head(1, 2, 0.0, 0.5, 3.0)]
    one = figures([*first, *second], Costs(latency_ms=1.0, macs=1, params=1))
    assert one.outcomes == 10
    assert one.val_top1 == (1 + 2 + 3 + 0) / 10
    assert one.val_top3 == (2 + 2 + 3 + 1) / 10
    assert one.val_loss == pytest.approx((3 * 1.0 + 2 * 2.0 + 3 * 0.5 + 2 * 3.0) / 10)
    assert one.val_top1_std == pytest.approx(0.0)  # 3 of 5 with either seed
    spread = figures([head(0, 4, 0.5, 1.0, 1.0), head(1, 4, 1.0, 1.0, 1.0)], Costs(latency_ms=1.0, macs=1, params=1))
    assert spread.val_top1_std == pytest.approx(math.sqrt(0.125))
    assert seen(7, 3, 5, 1.0).val_top1_std == 0.0


def test_copies_of_an_image_make_no_trial_surer() -> None:
    alone = figures([head(0, 40, 0.75, 1.0, 0.5)], Costs(latency_ms=1.0, macs=1, params=1))
    copied = figures([head(0, 400, 0.75, 1.0, 0.5)], Costs(latency_ms=1.0, macs=1, params=1), units=40)
    assert (copied.val_top1_low, copied.val_top1_high) == (alone.val_top1_low, alone.val_top1_high)
    assert copied.outcomes == 400


def test_what_a_sweep_may_ask_for_are_the_objectives_there_are() -> None:
    one, several = sweep_schema()["properties"]["objective"]["oneOf"]
    assert one["enum"] == several["items"]["enum"] == list(OBJECTIVES)
    for name, objective in OBJECTIVES.items():
        assert objective.meaning and "\n" not in objective.meaning, name
        judged = replace(seen(10, 5, 8, 0.75), val_balanced_accuracy=0.5, val_macro_f1=0.4, val_auroc=0.7)
        assert isinstance(objective.value(judged), float), name


def test_one_entry_more_is_an_objective_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Objective("the lower end of top-1's interval", maximise=True, value=lambda of: of.val_top1_low)
    monkeypatch.setitem(OBJECTIVES, "val_top1_low", entry)
    write_digits(tmp_path / "digits", {"train": 6, "val": 3, "test": 2})
    base = {
        "experiment_name": "run",
        "model": {"backbone": TINY, "input_size": 32, "classifier_dims": ["auto", 8, "auto"], "pretrained": False},
        "data": {"path": str(tmp_path / "digits"), "workers": 1},
        "training": {"epochs": 2},
        "cache": {"dir": str(tmp_path / "cache")},
        "profile": {"iterations": 2, "warmup": 0},
    }
    space = {"training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}}
    written = {"name": "s", "base": base, "space": space, "objective": ["val_top1_low", "macs"], "trials": 4}
    assert "val_top1_low" in sweep_schema()["properties"]["objective"]["oneOf"][0]["enum"]
    options = SweepOptions.model_validate(written)
    result = run_sweep(options, base, results_dir=tmp_path / "results", device="cpu", allow_custom=True)
    best = [t.values[0] for t in result.best]
    assert max(best) == max(t.user_attrs["val_top1_low"] for t in result.trials) > 0
    document = json.loads((result.folder / "sweep.json").read_text())
    assert document["directions"] == ["maximize", "minimize"]
    (shown,) = load_sweeps(result.folder.parent, document["data"])
    assert shown.objectives == ("val_top1_low", "macs") and shown.larger == (True, False)
    assert [t.values[0] for t in shown.trials] == [t.user_attrs["val_top1_low"] for t in result.trials]
    assert shown.history[-1][1][0] == max(best)
    assert "val_top1_low" in json.dumps(best_so_far(shown, 0))
