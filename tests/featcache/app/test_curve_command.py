"""`featcache curve` on real digits: of runs and of options, the files it leaves, the report that shows them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_runs import done, featcache
from conftest import TINY
from typer.testing import CliRunner

from featcache.app.main import app
from featcache.extraction import CachedFeatures
from featcache.options import parse_options
from heads.leaderboard import rank_results
from heads.learning_curves import curve_study, learning_curves
from heads.learning_curves.measured_heads import CurvePlan, MeasuredHeads, train_curve
from heads.report import charts_curves, report_contents
from heads.report.figure_files import save_figure

Config = Callable[..., dict[str, Any]]
OTHER = "networks:four_stages"


def write(file: Path, config: dict[str, Any]) -> Path:
    file.write_text(json.dumps(config))
    return file


def options(config: Config, name: str, backbone: str = TINY, **sections: dict[str, Any]) -> dict[str, Any]:
    return config(name, model={"backbone": backbone, "pretrained": True}, **sections)


def test_of_two_runs_it_leaves_files_that_agree_with_the_runs_and_the_report_draws_them(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    files = [
        write(tmp_path / f"{name}.json", options(config, name, backbone, training={"selection_metric": "val_macro_f1"}))
        for name, backbone in (("one", TINY), ("two", OTHER))
    ]
    flags = ("--results-dir", results, "--allow-custom", "-q")
    done("train", *files, *flags)
    shown = done("curve", "one", results / "two", "--noise", "--json", tmp_path / "own" / "study.json", *flags).output
    assert "8 per class" in shown
    assert "20%" in shown
    assert "one: doubling the training images would buy about" in shown
    document = json.loads((results / "curves" / "one+two.json").read_text())
    assert json.loads((tmp_path / "own" / "study.json").read_text()) == document
    assert [p["images"] for p in document["curves"][0]["points"]] == [4, 8, 16, 32, 48]
    assert [p["noise"] for p in document["curves"][1]["noise"]] == [0.0, 0.05, 0.1, 0.2]
    for curve in document["curves"]:
        summary = json.loads((results / curve["name"] / "summary.json").read_text())
        for metric in ("top1", "macro_f1"):  # the run's own head is the first of those on all images
            ours = curve["points"][-1][f"test_{metric}"]["draws"][0]
            assert ours == pytest.approx(summary["test"][metric]["mean"], abs=1e-6)
    with (results / "curves" / "one+two.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * (5 + 3) * 4  # curves, points, two metrics on two splits
    assert {row["split"] for row in rows} == {"val", "test"}
    monkeypatch.setattr(report_contents, "feature_maps", lambda stores, images: [None] * len(stores))  # they take long
    contents = report_contents.collect(rank_results(results))
    for figure, count in ((charts_curves.images, 10), (charts_curves.noise, 8)):
        spec = figure(contents)
        assert spec is not None
        assert len(spec["data"]["values"]) == count
        assert {point["run"] for point in spec["data"]["values"]} == {"one", "two"}
        assert all(file.stat().st_size > 1000 for file in save_figure(spec, tmp_path, figure.__name__))
    *said, of_noise = document["said"]  # the page says what the terminal does
    captions = charts_curves.images_caption(contents), charts_curves.noise_caption(contents)
    assert all(f"{line}." in captions[0] for line in said) and "CoOp" in captions[0]
    assert f"{of_noise}." in captions[1] and of_noise not in captions[0]
    shown = " ".join(shown.split())
    assert all(line in shown for line in document["said"])


def test_json_to_standard_output_is_json_alone_and_a_rank_is_a_run(tmp_path: Path, config: Config) -> None:
    file, results = write(tmp_path / "one.json", options(config, "one")), tmp_path / "results"
    flags = ("--results-dir", results, "--allow-custom", "-q")
    done("train", file, *flags)
    result = CliRunner().invoke(app, ["curve", "1", "one", "--json", "-", "--name", "mine", *map(str, flags)])
    document = json.loads(result.stdout)
    assert document["name"] == "mine"
    assert [curve["name"] for curve in document["curves"]] == ["one"]  # named twice, measured once
    assert document["said"][0].startswith("one: ")
    assert (results / "curves" / "mine.csv").is_file()
    again = CliRunner().invoke(app, ["curve", str(file), "--json", "-", "--name", "mine", *map(str, flags)])
    told = [[{**c, "seconds": 0} for c in d["curves"]] for d in (document, json.loads(again.stdout))]
    assert told[0] == told[1]  # the same options, the same figures


def test_every_backbone_trains_on_the_same_draws(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[CurvePlan] = []

    def watched(options: Any, cached: CachedFeatures, plan: CurvePlan, *rest: Any) -> MeasuredHeads:
        seen.append(plan)
        return train_curve(options, cached, plan, *rest)

    monkeypatch.setattr(curve_study, "train_curve", watched)
    every = [parse_options(options(config, name, one)) for name, one in (("one", TINY), ("two", OTHER))]
    study = learning_curves(every, draws=2, allow_custom=True, results_dir=tmp_path / "results", device="cpu")
    first, second = seen
    for ours, theirs in zip(first.draws, second.draws, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert len(study.leads) == 5
    assert [curve.name for curve in study.curves] == ["one", "two"]


@pytest.mark.parametrize(
    ("sections", "arguments", "said"),
    [
        ({"training": {"unfreeze_schedule": [{"epoch": 1, "unfreeze": "all"}]}}, [], "heads on frozen backbones only"),
        ({}, ["--name", "a/b"], "--name"),
        ({}, ["3"], "holds no finished run"),
    ],
)
def test_what_cannot_be_followed_is_said_before_any_work(
    tmp_path: Path, config: Config, sections: dict[str, Any], arguments: list[str], said: str
) -> None:
    file = write(tmp_path / "one.json", options(config, "one", **sections))
    result = featcache("curve", file, *arguments, "--results-dir", tmp_path / "results", "--allow-custom")
    assert result.exit_code == 2
    assert said in result.output
    assert not (tmp_path / "cache").exists()


def test_backbones_on_different_images_are_not_compared(tmp_path: Path, config: Config) -> None:
    one = write(tmp_path / "one.json", options(config, "one"))
    two = write(tmp_path / "two.json", options(config, "two", data={"exclude": str(tmp_path / "list.csv")}))
    (tmp_path / "list.csv").write_text("name\ntrain/digit 0/000.png\n")
    result = featcache("curve", one, two, "--results-dir", tmp_path / "results", "--allow-custom", "-q")
    assert result.exit_code == 2, result.output
    assert "two: is on other images than one" in result.output
    assert not list((tmp_path / "cache").rglob("*.h5"))  # before anything is extracted or trained
