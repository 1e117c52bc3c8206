"""From a sweep's space to what Optuna draws, and from there to options."""

from __future__ import annotations

import json
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from featcache.errors import OptionsError
from featcache.options.loading import parse_options
from heads.search import SweepOptions
from heads.search.search_space import Space, make_space

RATE = "training.learning_rate"


def space_of(space: dict[str, Any], sampler: str = "tpe", model: dict[str, Any] | None = None, **changes: Any) -> Space:
    base = {
        "experiment_name": "run",
        "model": {"backbone": "resnet18", "classifier_dims": [512, 16, 4], **(model or {})},
        "data": {"path": "demo:digits"},
    }
    return make_space(SweepOptions(name="s", base=base, space=space, sampler=sampler, **changes), base)


def test_whole_numbers_for_whole_options() -> None:
    space = space_of({"training.epochs": {"low": 2, "high": 9}, "data.batch_size": {"low": 8.0, "high": 64.0}})
    assert space.distributions == {"training.epochs": IntDistribution(2, 9), "data.batch_size": IntDistribution(8, 64)}
    logarithmic = space_of({"training.epochs": {"low": 1, "high": 100, "log": True}})
    assert logarithmic.distributions["training.epochs"] == IntDistribution(1, 100, log=True)
    stepped = space_of({"training.epochs": {"low": 1, "high": 9, "step": 4}})
    assert stepped.distributions["training.epochs"] == IntDistribution(1, 9, step=4)
    assert space.options({"training.epochs": 3}).training.epochs == 3


def test_numbers_of_any_size_for_the_others_however_they_are_written() -> None:
    space = space_of({RATE: {"low": 1, "high": 3}, "training.weight_decay": {"low": 1e-4, "high": 1, "log": True}})
    assert space.distributions == {
        RATE: FloatDistribution(1.0, 3.0),
        "training.weight_decay": FloatDistribution(1e-4, 1.0, log=True),
    }
    assert space.options({RATE: 1.25}).training.learning_rate == 1.25


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [
        ("training.momentum", 0.6, 0.99),
        ("model.dropout", 0.5, 0.9),
        ("training.label_smoothing", 0.55, 0.7),
    ],
)
def test_numbers_of_any_size_in_the_upper_half_of_what_is_allowed(key: str, low: float, high: float) -> None:
    assert space_of({key: {"low": low, "high": high}}).distributions[key] == FloatDistribution(low, high)


def test_steps_that_do_not_reach_the_end() -> None:
    space = space_of({"model.dropout": {"low": 0.0, "high": 0.35, "step": 0.1}})
    assert space.distributions["model.dropout"] == FloatDistribution(0.0, 0.3, step=0.1)
    whole = space_of({"training.epochs": {"low": 1, "high": 10, "step": 4}})
    assert whole.distributions["training.epochs"] == IntDistribution(1, 9, step=4)


@pytest.mark.parametrize(
    ("key", "choices"),
    [
        ("model.classifier_dims", [["auto", "auto"], ["auto", 32, 8, "auto"], [512, 16, 4]]),
        ("data.augmentations", [[], ["rotation"], ["horizontal_flip", {"name": "rotation", "degrees": 5.0}]]),
        ("training.patience", [None, 3]),
        ("model.pretrained", [True, False, "if-available"]),
    ],
)
def test_choices_mean_what_was_written(key: str, choices: list[Any]) -> None:
    space = space_of({key: choices})
    distribution = space.distributions[key]
    assert isinstance(distribution, CategoricalDistribution)
    section, name = key.split(".")
    for drawn, written in zip(distribution.choices, choices, strict=True):
        own = {"experiment_name": "s-best", section: {name: written}}
        for other in ("model", "data"):
            own[other] = {**space.base[other], **own.get(other, {})}
        assert space.options({key: drawn}) == parse_options(own)


def test_a_search_starts_where_the_base_lies() -> None:
    space = space_of(
        {
            RATE: {"low": 1e-3, "high": 0.1, "log": True},
            "training.epochs": {"low": 2, "high": 9},
            "model.classifier_dims": [["auto", 8, "auto"], ["auto", "auto"]],
        }
    )
    options = space.options({RATE: 0.003, "training.epochs": 7})
    start = space.start(options)
    assert start.pop("model.classifier_dims") == json.dumps(options.as_dict()["model"]["classifier_dims"])
    assert start == {RATE: 0.003, "training.epochs": 7}


def test_lists_and_objects_are_choices() -> None:
    space = space_of({"data.augmentations": [[], ["rotation", {"name": "color_jitter", "hue": 0.1}]]})
    none, some = (
        space.options({"data.augmentations": c}).data.augmentations
        for c in space.distributions["data.augmentations"].choices  # type: ignore[attr-defined]
    )
    assert none == ()
    assert [a.name for a in some] == ["rotation", "color_jitter"]


def test_choices_that_need_each_other_are_tried_together() -> None:
    space = space_of({"data.views": [1, 2], "data.augmentations": [[], ["rotation"]]})
    assert len(space.distributions) == 2


def test_a_backbone_that_is_searched_brings_its_own_width() -> None:
    space = space_of({"model.backbone": ["resnet18", "swin_t"]})
    assert space.options({"model.backbone": "swin_t"}).model.classifier_dims == ("auto", 16, 4)
    alone = space_of({RATE: [0.1]})
    assert alone.options({RATE: 0.1}).model.classifier_dims == (512, 16, 4)


def test_options_that_contradict_each_other_are_one_error() -> None:
    space = space_of({"training.epochs": {"low": 2, "high": 9}, "training.warmup_epochs": [0, 4]})
    assert space.options({"training.epochs": 9, "training.warmup_epochs": 4}).training.warmup_epochs == 4
    with pytest.raises(OptionsError, match="warmup_epochs is 4 of 2 epochs"):
        space.options({"training.epochs": 2, "training.warmup_epochs": 4})


def test_the_base_is_left_alone_and_seeds_are_the_sweeps() -> None:
    space = space_of({RATE: [0.1, 0.2]}, seeds=3)
    assert space.options({RATE: 0.1}).training.seed_list == (42, 43, 44)
    assert space.options({RATE: 0.2}).training.learning_rate == 0.2
    assert space.base.get("training", {}).get("learning_rate") != 0.2


def test_the_points_of_a_grid() -> None:
    grid = space_of(
        {
            RATE: {"low": 1e-4, "high": 1e-1, "log": True, "points": 4},
            "training.weight_decay": {"low": 0.0, "high": 1.0, "points": 5},
            "training.epochs": {"low": 1, "high": 100, "log": True, "points": 3},
            "data.batch_size": {"low": 8, "high": 32, "step": 8},
            "training.warmup_epochs": {"low": 0, "high": 3, "points": 10},
            "training.optimizer": ["adamw", "sgd"],
        },
        "grid",
    ).grid
    assert grid[RATE] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert (grid[RATE][0], grid[RATE][-1]) == (1e-4, 1e-1)  # the ends to the bit: beyond them Optuna refuses
    assert grid["training.weight_decay"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert grid["training.epochs"] == [1, 10, 100]
    assert all(type(v) is int for v in grid["training.epochs"])
    assert grid["data.batch_size"] == [8, 16, 24, 32]
    assert grid["training.warmup_epochs"] == [0, 1, 2, 3]  # each whole number once
    assert grid["training.optimizer"] == ["adamw", "sgd"]


def test_no_point_of_a_grid_lies_beyond_its_range() -> None:
    space = space_of({"model.dropout": {"low": 0.0, "high": 0.3, "step": 0.1}}, "grid")
    assert space.grid["model.dropout"] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert all(space.distributions["model.dropout"]._contains(v) for v in space.grid["model.dropout"])


def test_a_grid_without_end_is_refused() -> None:
    space = {k: {"low": 0.0, "high": 0.5, "points": 400} for k in ("model.dropout", "training.label_smoothing")}
    with pytest.raises(OptionsError, match="160000 points, more than 100000"):
        space_of(space, "grid")
