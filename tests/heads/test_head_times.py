"""What `check` foretells of heads, against a run by a clock that knows what work costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from array_rows import ArrayRows
from work_clock import WorkClock

from featcache.extraction import CostEstimate, ExtractionTime
from featcache.options.loading import parse_options
from heads.head_times import STEPS, EpochSize, time_heads
from heads.training.features import Features, Fold
from heads.training.head_spec import run_heads
from heads.training.head_stack import HeadStack
from heads.training.stacked_training import train_heads

Config = Callable[..., dict[str, Any]]
CPU = torch.device("cpu")
IMAGES = {"train": 48, "val": 20, "test": 16}
ESTIMATE = CostEstimate(
    name="run",
    backbone="tiny",
    weights="random",
    features=24,
    dims=(24, 16, 4),
    classes=("a", "b", "c", "d"),
    images=IMAGES,
    passes=84,
    time=ExtractionTime(0, 0, 0, 0, 0),
    disk_bytes=0,
    views=1,
    view_passes=0,
    view_seconds=0,
    view_disk_bytes=0,
    decoded_as="",
    notices=(),
)


def features(folds: int | None) -> Features:
    every = np.arange(68)
    values = np.random.default_rng(0).standard_normal((68, 24), np.float32)
    cuts = (
        [(every[:48], every[48:])]
        if folds is None
        else [(every[every % folds != k], every[every % folds == k]) for k in range(folds)]
    )
    made = tuple(Fold(train, val) for train, val in cuts)
    return Features(ArrayRows(values, every, np.ones_like(every)), every % 4, np.ones_like(every), made, 4, CPU)


@pytest.mark.parametrize("data", [{"batch_size": 16}, {"batch_size": 1}, {"batch_size": 4, "folds": 3}])
def test_heads_take_what_was_foretold(config: Config, monkeypatch: pytest.MonkeyPatch, data: dict[str, Any]) -> None:
    options = parse_options(config(data=data, training={"epochs": 7, "seeds": 2}))
    clock = WorkClock(monkeypatch)
    clock.costs(HeadStack, "step", 1.0)
    clock.costs(HeadStack, "logits", 1.0)
    foretold = time_heads(options, ESTIMATE, CPU)
    begin = time.perf_counter()
    heads = run_heads(options, ESTIMATE.dims, options.data.folds or 1)
    train_heads(features(options.data.folds), heads, batch_size=options.data.batch_size)
    assert foretold.training == pytest.approx(time.perf_counter() - begin, rel=0.25)
    assert (foretold.epochs, foretold.heads) == (7, len(heads))


def test_of_a_long_epoch_a_part_is_timed(config: Config) -> None:
    size = EpochSize.of(parse_options(config(data={"batch_size": 1})), ESTIMATE, STEPS)
    assert (size.batch, size.train, size.part) == (1, STEPS, STEPS / 48)
    assert size.val == 10  # of 20
