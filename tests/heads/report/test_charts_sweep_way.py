"""The way of a search through its options: every trial in each option's band, and the chains' centres as lines."""

from __future__ import annotations

from typing import Any

import pytest
import vl_convert

from heads.report.charts_sweep_way import LINES, way
from heads.report.sweep_results import Sweep, Trial, _reached
from heads.report.vega_lite import VERSION


def trial(number: int, rate: float, kind: str, value: float | None, step: tuple[int, int] | None = None) -> Trial:
    options = {"training.rate": repr(rate), "a.kind": kind, "a.only": "4"}
    values = () if value is None else (value,)
    return Trial(number, "complete" if values else "pruned", values, options, {}, step)


def sweep(*trials: Trial, larger: bool = True) -> Sweep:
    return Sweep("s", "d", ("val_top1",), (larger,), "spsa", trials, (), {}, ())


def data(spec: Any, layer: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = spec["layer"][layer]["data"]["values"]
    return found


CLIMBED = sweep(
    trial(0, 0.0, "x", 0.5, (0, 0)),
    trial(1, 1.0, "y", 0.6, (1, 0)),
    trial(2, 0.2, "x", 0.7, (0, 1)),
    trial(3, 0.6, "x", None, (0, 1)),
)


def test_every_trial_stands_in_the_band_of_each_option_that_varies() -> None:
    spec = way(CLIMBED)
    assert spec is not None
    points = spec["data"]["values"]
    assert {p["option"] for p in points} == {"training.rate", "a.kind"}
    assert len(points) == 8
    rates = {p["trial"]: p["y"] for p in points if p["option"] == "training.rate"}
    kinds = {p["trial"]: p["y"] for p in points if p["option"] == "a.kind"}
    assert 1 < rates[0] < rates[2] < rates[3] < rates[1] < 2
    assert 0 < kinds[0] == kinds[2] < kinds[1] < 1
    assert rates[2] == pytest.approx(rates[0] + 0.2 * (rates[1] - rates[0]), abs=1e-3)
    assert next(p for p in points if p["trial"] == 3)["value"] is None


def test_a_chain_goes_from_its_start_through_the_middle_of_its_pairs() -> None:
    spec = way(CLIMBED)
    assert spec is not None
    rates = {p["trial"]: p["y"] for p in spec["data"]["values"] if p["option"] == "training.rate"}
    lines = [p for p in data(spec, 1) if p["option"] == "training.rate"]
    assert [p["chain"] for p in lines] == ["from trial 0"] * 2  # the other start was not climbed from
    assert [p["trial"] for p in lines] == [0, 2.5]
    assert [p["y"] for p in lines] == pytest.approx([rates[0], (rates[2] + rates[3]) / 2], abs=1e-3)


@pytest.mark.parametrize("larger", [True, False])
def test_the_best_chains_are_drawn(larger: bool) -> None:
    pairs = [trial(10 * c + i, c + i / 10, "x", float(c), (10 * c, min(i, 1))) for c in range(9) for i in range(3)]
    spec = way(sweep(*pairs, larger=larger))
    assert spec is not None
    best = range(8, 8 - LINES, -1) if larger else range(LINES)
    assert list(dict.fromkeys(p["chain"] for p in data(spec, 1))) == [f"from trial {10 * c}" for c in best]


def test_without_chains_there_are_the_trials_alone_and_without_a_choice_nothing() -> None:
    plain = way(sweep(*(trial(i, i / 10, "x", 0.5) for i in range(5))))
    assert plain is not None and len(plain["layer"]) == 2
    assert way(sweep(*(trial(i, 0.1, "x", 0.5) for i in range(5)))) is None
    assert way(sweep()) is None
    for spec in (plain, way(CLIMBED)):
        assert spec is not None
        assert vl_convert.vegalite_to_vega(spec, vl_version=VERSION)["marks"]


def test_what_the_best_trial_reached_is_its_figure_and_not_the_number_that_ties_are_broken_in() -> None:
    best = {"values": [1.031, 0.5, 7.0], "val_top3": 1.0, "val_loss": 0.5, "val_macro_f1": None}
    assert _reached(best, ("val_top3", "val_loss", "val_macro_f1")) == [1.0, 0.5, 7.0]
