"""Runs on a table with a column of weights: what is trained anew, what is kept, and what weight 0 means."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY

from featcache.errors import RunError
from featcache.options import Options
from featcache.options.loading import parse_options
from heads import train_model
from heads.learning_curves import learning_curves
from heads.runs.run import Run
from heads.search import SweepOptions, run_sweep
from heads.tuned_heads import tune_model

Config = Callable[..., dict[str, Any]]


def table(digits: Path, weigh: Callable[[str], float | None] | None) -> Path:
    """All images with their splits, and with what `weigh` says of each name in train; None leaves one out."""
    lines: list[Mapping[str, Any]] = []
    for file in sorted(digits.rglob("*.png")):
        name = file.relative_to(digits).as_posix()
        weight = 1.0 if weigh is None or not name.startswith("train") else weigh(name)
        if weight is not None:
            own = {"path": name, "label": file.parent.name, "split": name.split("/")[0]}
            lines.append(own if weigh is None else {**own, "weight": weight})
    with (digits / "table.csv").open("w", newline="") as stream:
        out = csv.DictWriter(stream, list(lines[0]))
        out.writeheader()
        out.writerows(lines)
    return digits / "table.csv"


@pytest.fixture
def options(config: Config, digits: Path) -> Options:
    model = {"backbone": TINY, "classifier_dims": ["auto", 8, 4]}
    return parse_options(config(model=model, data={"path": str(digits / "table.csv")}, training={"epochs": 3}))


def run(options: Options, tmp_path: Path) -> Run:
    return train_model(options, results_dir=tmp_path / "results", allow_custom=True, reuse=True)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit by bit; recipes may differ in their widths."""
    return all(one[name].shape == other[name].shape and torch.equal(one[name], other[name]) for name in one)


def head(run: Run) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run.folder / "best_model.pth", weights_only=True)["head"]
    return found


def by_number(name: str) -> float:
    return 0.5 + int(Path(name).stem) % 4


def test_other_weights_are_another_run_on_the_same_rows(options: Options, digits: Path, tmp_path: Path) -> None:
    table(digits, None)
    plain = run(options, tmp_path)
    first = head(plain)
    assert "weights" not in plain.summary["inputs"]
    table(digits, lambda name: 2.0)
    assert run(options, tmp_path).reused  # what all images weigh is no weight: finished runs stay
    table(digits, by_number)
    weighted = run(options, tmp_path)
    assert not weighted.reused
    assert "84 rows reused, 0 new" in (weighted.folder / "log.txt").read_text()
    assert weighted.summary["data"]["fingerprint"] == plain.summary["data"]["fingerprint"]
    assert not same(head(weighted), first)
    assert run(options, tmp_path).reused
    table(digits, lambda name: by_number(name) + 1)
    assert not run(options, tmp_path).reused


def without_some(name: str) -> float:
    return 0.0 if name.endswith("003.png") else by_number(name)


@pytest.mark.parametrize("train", [train_model, tune_model])
def test_an_image_of_weight_0_is_as_if_it_were_not_there(
    options: Options, digits: Path, tmp_path: Path, train: Callable[..., Run]
) -> None:
    found = []
    for weigh in (without_some, lambda name: without_some(name) or None, lambda name: without_some(name) and 1.0):
        table(digits, weigh)
        found.append(head(train(options, results_dir=tmp_path / "results", allow_custom=True)))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


@pytest.mark.slow
def test_curves_are_those_of_the_images_that_weigh_something(options: Options, digits: Path, tmp_path: Path) -> None:
    found = []
    for weigh in (without_some, lambda name: without_some(name) or None, lambda name: without_some(name) and 1.0):
        table(digits, weigh)
        study = learning_curves([options], draws=2, noise=True, results_dir=tmp_path / "results", allow_custom=True)
        (curve,) = study.document("x")["curves"]
        found.append({key: value for key, value in curve.items() if key != "seconds"})
    assert found[0]["points"][-1]["images"] == 44
    assert found[0] == found[1] != found[2]


def test_folds_are_weighted_and_judge_every_image(options: Options, digits: Path, tmp_path: Path) -> None:
    data = options.data.model_copy(update={"folds": 3})
    table(digits, without_some)
    weighted = run(options.model_copy(update={"data": data}), tmp_path)
    assert sum(map(sum, weighted.summary["confusion"]["val"])) == 48 + 20
    first = head(weighted)
    table(digits, lambda name: without_some(name) and 1.0)
    assert not same(first, head(run(options.model_copy(update={"data": data}), tmp_path)))


@pytest.mark.slow
def test_a_sweep_does_not_go_on_with_other_weights(options: Options, digits: Path, tmp_path: Path) -> None:
    space = {"training.learning_rate": [0.001, 0.003]}

    def sweep(trials: int) -> int:
        written = {"name": "s", "base": "base.json", "space": space, "sampler": "grid", "trials": trials}
        asked = SweepOptions.model_validate(written)
        return run_sweep(asked, options.as_dict(), results_dir=tmp_path / "results", allow_custom=True).new

    table(digits, by_number)
    assert sweep(1) == 1
    assert sweep(1) == 0
    table(digits, lambda name: by_number(name) + 1)
    with pytest.raises(RunError, match="fresh"):
        sweep(2)
