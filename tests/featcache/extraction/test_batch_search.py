"""`cache.batch_size` "auto": the smallest batch that is as good as the best, tried once, on record in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY

from featcache.backbones import load_backbone
from featcache.errors import OptionsError
from featcache.extraction import batch_search
from featcache.extraction.batch_search import batch_on_record, fastest_batch
from featcache.extraction.inference import Inference
from featcache.extraction.one_backbone import Extraction, extract
from featcache.options import ModelOptions
from featcache.options.loading import parse_options

CPU = torch.device("cpu")
Config = Callable[..., dict[str, Any]]


def planted(monkeypatch: pytest.MonkeyPatch, rates: dict[int, float]) -> list[int]:
    """The rate of each batch is as given, of others there is no memory; returns those that were asked for."""
    asked: list[int] = []

    def rate(infer: Inference, size: int) -> float:
        asked.append(size)
        if size not in rates:
            raise torch.OutOfMemoryError("no room")
        return rates[size]

    monkeypatch.setattr(batch_search, "_rate", rate)
    return asked


@pytest.fixture
def infer() -> Inference:
    return Inference(load_backbone(ModelOptions(backbone=TINY, input_size=32), allow_custom=True), CPU, 32)


@pytest.mark.parametrize(
    ("rates", "expected", "asked"),
    [
        ({8: 10.0, 16: 20.0, 32: 30.0, 64: 30.5}, 32, [8, 16, 32, 64]),  # 2% more is not worth twice the memory
        ({8: 10.0, 16: 20.0, 32: 30.0, 64: 40.0}, 64, [8, 16, 32, 64]),
        ({8: 30.0, 16: 20.0, 32: 50.0}, 8, [8, 16]),  # the peak is passed
        ({8: 10.0, 16: 20.0}, 16, [8, 16, 32]),  # 32 do not fit
    ],
)
def test_the_smallest_of_the_fast_is_taken(
    infer: Inference, monkeypatch: pytest.MonkeyPatch, rates: dict[int, float], expected: int, asked: list[int]
) -> None:
    tried = planted(monkeypatch, rates)
    record: dict[str, Any] = {}
    assert fastest_batch(infer, record) == expected and tried == asked
    assert fastest_batch(infer, record) == expected and tried == asked  # as the record says
    assert batch_on_record({"searched": record}, CPU) == expected


def test_a_batch_whose_features_depend_on_places_is_not_taken(
    infer: Inference, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch, {8: 10.0, 16: 20.0, 32: 90.0, 64: 30.0})
    monkeypatch.setattr(infer, "is_steady", lambda size: size != 32)
    assert fastest_batch(infer, {}) == 64


def test_rates_are_measured(infer: Inference) -> None:
    record: dict[str, Any] = {}
    assert fastest_batch(infer, record) in {8, 16, 32, 64}
    (found,) = record.values()
    assert all(rate > 0 for rate in found["images_per_second"].values())


def test_what_was_found_stays_with_the_rows(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def go(limit: int) -> Extraction:
        options = config(model={"backbone": TINY}, cache={"batch_size": "auto"}, data={"limit": limit})
        return extract(parse_options(options), allow_custom=True)

    planted(monkeypatch, {8: 10.0, 16: 20.0, 32: 15.0})
    first = go(4)
    assert first.new and first.store.extraction()["batch_size"] == 16
    monkeypatch.setattr(batch_search, "_rate", None)  # cannot be asked again
    second = go(8)
    assert second.new and second.store.extraction()["batch_size"] == 16


def test_a_compiler_needs_a_number(config: Config) -> None:
    with pytest.raises(OptionsError, match=r"cache\.compile: every batch .* Set cache\.batch_size to a number"):
        parse_options(config(cache={"batch_size": "auto", "compile": True}))
