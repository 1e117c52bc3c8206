"""`train_model`: from options to a run folder that is whole, and gives the model back."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featcache import load_base_config, load_model, load_options, load_run
from featcache.errors import DataError, NonFiniteError, OptionsError, OutputError, RunError, WeightsError
from featcache.extraction.one_backbone import extract
from featcache.options.loading import parse_options
from heads import train_model, trainModel
from heads.runs.run_files import METRIC_COLUMNS

Config = Callable[..., dict[str, Any]]

FILES = {
    "options.json",
    "metrics.csv",
    "performance.json",
    "summary.json",
    "best_model.pth",
    "predictions.npz",
    "val_outcomes.npz",
    "environment.json",
    "log.txt",
}


def test_a_run_folder_is_complete(config: Config, tmp_path: Path) -> None:
    run = train_model(config(training={"seeds": 2}), results_dir=tmp_path / "results")
    assert run.folder == tmp_path / "results" / "run"
    assert {p.name for p in run.folder.iterdir()} == FILES
    assert [p.name for p in run.folder.parent.iterdir()] == ["run"]  # nothing partial is left beside it
    summary = json.loads((run.folder / "summary.json").read_text())
    assert summary["classes"] == ["digit 0", "digit 1", "digit 2", "digit 3"]
    assert [s["seed"] for s in summary["seeds"]] == [42, 43]
    for split, count in (("val", 20), ("test", 16)):
        for metric in ("top1", "top3", "loss"):
            figure = summary[split][metric]
            assert set(figure) == {"mean", "std", "ci95", "n"}
            assert figure["ci95"][0] <= figure["mean"] <= figure["ci95"][1]
            assert figure["n"] == count
            seeds = [s[f"{split}_{metric}"] for s in summary["seeds"]]
            assert figure["mean"] == pytest.approx(sum(seeds) / 2)
        assert sum(map(sum, summary["confusion"][split])) == count
        assert [c["class"] for c in summary["per_class"][split]] == summary["classes"]
    with (run.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == METRIC_COLUMNS
    assert len(rows) == 2 * 4
    best = [r for r in rows if r["seed"] == str(summary["best_seed"])][run.best_epoch]
    assert float(best["val_top1"]) == pytest.approx(
        next(s["val_top1"] for s in summary["seeds"] if s["seed"] == summary["best_seed"])
    )
    performance = json.loads((run.folder / "performance.json").read_text())
    assert performance["device"]
    assert performance["latency_ms"]["iterations"] == 3
    assert performance["flops"] == 2 * performance["macs"] > 0
    assert performance["params_head"] == 512 * 16 + 16 + 16 * 4 + 4
    assert performance["extractions"][0]["images"] == 84
    assert "extracted" not in (run.folder / "log.txt").read_text()
    assert "84 new" in (run.folder / "log.txt").read_text()
    assert load_options(run.folder / "options.json").as_dict() == json.loads((run.folder / "options.json").read_text())


def test_it_learns_real_digits(config: Config, tmp_path: Path) -> None:
    run = train_model(config(training={"epochs": 40}), results_dir=tmp_path / "results")
    assert run.metrics["val_top1"] > 0.6  # 4 classes; measured 0.85
    assert run.metrics["val_top3"] >= run.metrics["val_top1"]


def test_the_same_options_give_the_same_bits(config: Config, tmp_path: Path) -> None:
    runs = [train_model(config(), results_dir=tmp_path / r) for r in ("a", "b")]
    states = [torch.load(r.folder / "best_model.pth", weights_only=True)["head"] for r in runs]
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert runs[0].metrics == runs[1].metrics


def test_the_users_search_loop(tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DESIGN, section 3: each call is a fresh experiment in its own folder."""
    monkeypatch.chdir(tmp_path)
    folders = []
    for backbone in ("squeezenet1_1", "shufflenet_v2_x0_5", "mobilenetv4_conv_small"):
        for rate in (1e-3, 1e-4):
            config = load_base_config()
            config["model"].update(pretrained=False, input_size=32)
            config["data"]["path"] = str(digits)
            config["training"].update(epochs=2, seeds=1)
            config["profile"] = {"iterations": 2, "warmup": 0}
            config["model"]["backbone"] = backbone
            config["training"]["learning_rate"] = rate
            folders.append(trainModel(config).folder)
    assert len(set(folders)) == 6
    assert all({p.name for p in (tmp_path / f).iterdir()} == FILES for f in folders)
    assert len(list((tmp_path / "cache").glob("*.h5"))) == 3  # one store for each backbone, whatever the rate


def test_a_name_taken_by_other_options_is_left_alone(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = tmp_path / "results"
    first = train_model(config(), results_dir=results)
    second = train_model(config(training={"epochs": 5}), results_dir=results)
    assert second.folder.name.startswith("run-")
    assert "is taken by other options" in caplog.text
    assert load_options(first.folder / "options.json").training.epochs == 4
    assert train_model(config(training={"epochs": 5}), results_dir=results).folder == second.folder


def test_a_folder_of_something_else_is_left_alone(config: Config, tmp_path: Path) -> None:
    mine = tmp_path / "results" / "run"
    mine.mkdir(parents=True)
    (mine / "notes.txt").write_text("mine")
    assert train_model(config(), results_dir=tmp_path / "results").folder != mine
    assert (mine / "notes.txt").read_text() == "mine"


def test_a_finished_run_is_reused_when_asked(config: Config, tmp_path: Path, digits: Path) -> None:
    results = tmp_path / "results"
    first = train_model(config(), results_dir=results)
    stamp = (first.folder / "summary.json").stat().st_mtime_ns
    again = train_model(config(), results_dir=results, reuse=True)
    assert again.reused
    assert {p.name for p in again.folder.iterdir()} == FILES
    assert (again.folder / "summary.json").stat().st_mtime_ns == stamp
    next((digits / "train" / "digit 0").iterdir()).rename(digits / "train" / "digit 1" / "moved.png")
    relabelled = train_model(config(), results_dir=results, reuse=True)
    assert not relabelled.reused


def test_a_failure_leaves_nothing_half_written(config: Config, tmp_path: Path) -> None:
    results = tmp_path / "results"
    with pytest.raises(NonFiniteError, match=r"learning_rate"):
        train_model(config(training={"learning_rate": 1e38, "optimizer": "sgd"}), results_dir=results)
    assert list(results.iterdir()) == []


def test_load_run_gives_the_model_back(config: Config, tmp_path: Path, digits: Path) -> None:
    run = train_model(config(training={"epochs": 30}), results_dir=tmp_path / "results")
    loaded = load_run(run.folder)
    files = sorted((digits / "val").rglob("*.png"))
    probabilities = loaded.predict(files)
    assert probabilities.shape == (20, 4)
    assert torch.allclose(probabilities.sum(1), torch.ones(20), atol=1e-5)
    labels = torch.tensor([loaded.classes.index(f.parent.name) for f in files])
    accuracy = (probabilities.argmax(1) == labels).double().mean().item()
    seed = next(s for s in run.summary["seeds"] if s["seed"] == run.summary["best_seed"])
    assert accuracy == pytest.approx(seed["val_top1"])
    single = loaded.model(loaded.transform(files[0])[None])
    assert torch.allclose(single.softmax(1), probabilities[:1], atol=1e-5)
    assert not loaded.model.training


def test_load_run_refuses_other_weights(config: Config, tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"

    def save(seed: int) -> None:
        model = load_model(parse_options(config(model={"weights_seed": seed})))
        torch.save(model.backbone.network.state_dict(), weights)

    save(0)
    run = train_model(config(model={"weights": str(weights), "pretrained": True}), results_dir=tmp_path / "results")
    load_run(run.folder)
    save(1)
    with pytest.raises(WeightsError, match="trained on other features"):
        load_run(run.folder)


def test_a_run_that_lost_a_file_is_trained_again(config: Config, tmp_path: Path) -> None:
    run = train_model(config(), results_dir=tmp_path / "results")
    (run.folder / "best_model.pth").unlink()
    again = train_model(config(), results_dir=tmp_path / "results", reuse=True)
    assert not again.reused
    assert (run.folder / "best_model.pth").is_file()


def test_numpy_numbers_from_a_search_are_numbers(config: Config, tmp_path: Path) -> None:
    run = train_model(
        config(training={"epochs": np.int64(2), "learning_rate": np.float32(0.01)}), results_dir=tmp_path / "results"
    )
    assert load_options(run.folder / "options.json").training.epochs == 2


def test_load_run_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no best_model.pth"):
        load_run(tmp_path)


def test_views_train_and_are_extracted_for_training_images_only(config: Config, tmp_path: Path) -> None:
    options = parse_options(config(data={"augmentations": ["horizontal_flip", "random_crop"], "views": 3}))
    extraction = extract(options)
    assert extraction.spec is not None
    hashes = {i.sha256 for i in extraction.manifest.of("train")}
    assert set(extraction.store.rows(extraction.spec)) == hashes
    assert extraction.store.read(sorted(hashes), extraction.spec).shape == (len(hashes), 2, 512)
    run = train_model(options, results_dir=tmp_path / "results")
    assert run.summary["data"]["views"] == 3
    assert extract(options).new == 0


def test_more_than_one_seed_is_not_one(config: Config, tmp_path: Path) -> None:
    run = train_model(config(training={"seeds": [3, 9]}), results_dir=tmp_path / "results")
    assert run.summary["val"]["loss"]["std"] > 0


@pytest.mark.parametrize(
    ("sections", "error", "words"),
    [
        ({"model": {"classifier_dims": [99, 16, 4]}}, OptionsError, r"gives 512 features.*\[512, 16, 4\]"),
        ({"model": {"classifier_dims": ["auto", 16, 7]}}, OptionsError, r"has 4 classes.*\[512, 16, 4\]"),
        ({"data": {"path": "/no/such/folder"}}, DataError, "does not exist"),
        ({"training": {"unfreeze_schedule": [{"epoch": 1, "unfreeze": "layer9"}]}}, OptionsError, "no block 'layer9'"),
        ({"model": {"pretrained": True}}, WeightsError, r"squeezenet1_1-.*\.pth"),
    ],
)
def test_bad_input_is_one_error_and_writes_nothing(
    config: Config, tmp_path: Path, sections: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        train_model(config(**sections), results_dir=tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_an_unwritable_results_folder(config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        train_model(config(), results_dir=tmp_path / "file" / "results")
    if os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(OutputError, match="not writable"):
            train_model(config(), results_dir=tmp_path / "locked")
