"""What installed packages bring: their names, and what is said where their code cannot be used."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from featcache.backbones import find_source
from featcache.backbones.name_catalogue import catalogue
from featcache.errors import InputError, PluginError
from featcache.options import SOURCE_PLUGINS
from featcache.places import FilePlace
from featcache.plugins import load_plugin, plugin_names, with_plugins
from featcache.records import ImageRecord
from featcache.separability.measures import MEASURES, PLUGINS, LabelledFeatures, Measure
from featcache.separability.remembered import measure_separability
from heads.search.samplers import GROUP as SAMPLER_PLUGINS
from heads.search.samplers import Sampler, make_sampler
from heads.training.metrics import METRIC_PLUGINS, METRICS, Metric

HERE = Path(__file__).stem
FEATURES = LabelledFeatures(np.eye(6, 4, dtype=np.float32), np.array([0, 0, 0, 1, 1, 1]))
Install = Callable[..., None]

LOGITS, LABELS = torch.zeros(2, 5, 3), torch.zeros(2, 5, dtype=torch.int64)


def _measure(score: Callable[[LabelledFeatures], Any], name: str = "spread") -> Measure:
    return Measure(name, "a spread", score, "a figure")


def _raises(*_: Any) -> Any:
    raise ZeroDivisionError("of my own")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Entry points of a group as if packages had brought them: name, object."""

    def set_points(*brought: tuple[str, str], group: str = PLUGINS) -> None:
        points = [EntryPoint(name, value, group) for name, value in brought]
        monkeypatch.setattr("featcache.plugins.entry_points", lambda *, group: [p for p in points if p.group == group])

    return set_points


class Planted:
    """The sampler that a test brings."""

    made: Any = None


class Failing:
    """A source none of whose methods works."""

    name = "failing"
    names = has = published = build = _raises


spread = _measure(lambda x: float(x.features.std()))
misnamed = _measure(lambda x: 1.0, "another_name")


@pytest.mark.parametrize("score", [lambda x: math.nan, lambda x: math.inf, lambda x: "many", _raises])
def test_a_measure_that_fails_or_gives_no_number_is_named(score: Callable[[LabelledFeatures], Any]) -> None:
    with pytest.raises(PluginError, match=r"the measure 'spread' of an installed package .* Mend or uninstall"):
        _measure(score).of(FEATURES)


def test_a_measure_may_have_no_meaning_or_be_any_number() -> None:
    assert _measure(lambda x: None).of(FEATURES) is None
    assert _measure(lambda x: np.float32(0.5)).of(FEATURES) == 0.5


def _metric(of: Callable[[Tensor, Tensor], Any]) -> Metric:
    return Metric("brier", "Brier", of, "a figure")


@pytest.mark.parametrize(
    "of", [_raises, lambda x, y: x, lambda x, y: 0.5, lambda x, y: x.mean(), lambda x, y: x[..., 0] + math.nan]
)
def test_a_metric_that_fails_or_gives_no_value_for_each_image_is_named(of: Callable[[Tensor, Tensor], Any]) -> None:
    with pytest.raises(PluginError, match=r"the metric 'brier' of an installed package .* Mend or uninstall"):
        _metric(of).values(LOGITS, LABELS)


def test_a_metric_gives_a_value_for_each_image() -> None:
    assert _metric(lambda x, y: x[..., 0]).values(LOGITS, LABELS).shape == LABELS.shape


def test_a_metric_of_a_head_that_diverged_is_not_the_packages_fault() -> None:
    assert bool(_metric(lambda x, y: x[..., 0]).values(LOGITS + math.nan, LABELS).isnan().all())


@pytest.mark.parametrize(("make", "said"), [(_raises, "failed"), (lambda setup: None, "made NoneType")])
def test_a_sampler_that_makes_none_is_named(install: Install, make: Callable[..., Any], said: str) -> None:
    Planted.made = Sampler("a sampler", make)
    install(("planted", f"{HERE}:Planted.made"), group=SAMPLER_PLUGINS)
    with pytest.raises(PluginError, match=f"the sampler 'planted' of an installed package {said}"):
        make_sampler("planted", None)


def test_a_source_that_fails_is_named(install: Install) -> None:
    install(("failing", f"{HERE}:Failing"), group=SOURCE_PLUGINS)
    found = find_source("resnet18")
    assert found.name == "torchvision"
    assert [one.name for one in catalogue("torchvision/resnet18")] == ["resnet18"]  # no other is asked
    for ask in (lambda: find_source("no_such_network"), catalogue, lambda: find_source("anything", "failing")):
        with pytest.raises(PluginError, match=r"the source 'failing' of an installed package failed \(ZeroDivision"):
            ask()


def test_a_changed_measure_of_a_package_is_computed_again(tmp_path: Path, install: Install) -> None:
    install(("spread", f"{HERE}:spread"))
    images = [
        ImageRecord(FilePlace.at(""), str(i), f"{i:02}", int(label), "train") for i, label in enumerate(FEATURES.labels)
    ]
    looked: list[int] = []

    def read(chosen: Any) -> Any:
        looked.append(len(chosen))
        return FEATURES.features

    figures = [measure_separability(images, [{}], read, tmp_path).figures for _ in range(2)]
    assert figures[0] == figures[1] and figures[0]["spread"] == spread.score(FEATURES)
    assert len(looked) == 2
    install()
    assert "spread" not in measure_separability(images, [{}], read, tmp_path).figures
    assert len(looked) == 2


@pytest.mark.parametrize(
    ("group", "taken", "kind"),
    [(PLUGINS, MEASURES, Measure), (METRIC_PLUGINS, METRICS, Metric)],
    ids=["measures", "metrics"],
)
def test_a_name_that_featcache_has_is_refused(install: Install, group: str, taken: Any, kind: Any) -> None:
    name = next(iter(taken))
    install((name, f"{HERE}:spread"), group=group)
    for refused in (
        lambda: plugin_names(group, taken),
        lambda: with_plugins(group, taken, kind),
        lambda: load_plugin(group, name, kind, taken),
    ):
        with pytest.raises(PluginError, match=rf"entry point {name!r} in .*: the name is taken"):
            refused()


def test_its_own_name_is_that_of_the_entry_point(install: Install) -> None:
    install(("spread", f"{HERE}:misnamed"))
    with pytest.raises(PluginError, match=r"'spread'.*calls itself 'another_name'; expected the entry point's name"):
        with_plugins(PLUGINS, MEASURES, Measure)


def test_a_package_that_cannot_be_used_is_bad_input() -> None:
    assert issubclass(PluginError, InputError) and PluginError("").exit_code == 2
