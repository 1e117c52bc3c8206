"""`head.normalise` from options to a run folder whose model takes images, alone, joined, in folds and end to end."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featcache import load_model, load_run
from featcache.errors import RunError
from featcache.extraction import extract_all
from featcache.options import Options, parse_options
from featcache.session import Session
from heads import train_model
from heads.finetune import fine_tune, plan_from_run
from heads.runs import Run
from heads.search import SweepOptions, run_sweep
from heads.training import load_features, run_heads, train_heads

Config = Callable[..., dict[str, Any]]
EVERY = ("none", "standard", "l2", "layernorm", "scale")
ALONE, BOTH = "squeezenet1_1", "squeezenet1_1+shufflenet_v2_x0_5"
SLOW = pytest.mark.slow  # the two kinds, fitted and of each image, are in the default suite
KINDS = ["standard", "l2", *(pytest.param(n, marks=SLOW) for n in ("none", "layernorm", "scale"))]


def options(config: Config, normalise: str, **sections: dict[str, Any]) -> Options:
    return parse_options(config(normalise, head={"normalise": normalise}, **sections))


def check_parity(run: Run, folder: Path) -> None:
    """The model on images gives the logits that predictions.npz has from cached features, within what float16 takes off
    features on their way through the head's weights."""
    loaded = load_run(run.folder)
    with np.load(run.folder / "predictions.npz") as file:
        kept, names = torch.from_numpy(file["val_logits"]), file["val_images"]
    number = [s["seed"] for s in run.summary["seeds"]].index(run.summary["best_seed"])
    with torch.inference_mode():
        images = [[t(folder / str(name)) for name in names] for t in loaded.transforms]
        batches = [torch.stack(one) for one in images]
        found = loaded.model(batches if len(batches) > 1 else batches[0])
    assert torch.allclose(found, kept[number], atol=2e-2 * float(kept[number].abs().max()))
    assert found.std(dim=0).min() > 0.1  # images differ by more than that
    assert (found.argmax(1) == kept[number].argmax(1)).float().mean() >= 0.9


@pytest.mark.parametrize(
    ("normalise", "backbone"), [*((n, ALONE) for n in EVERY), ("standard", BOTH), pytest.param("l2", BOTH, marks=SLOW)]
)
def test_the_model_of_a_run_gives_the_logits_of_its_cached_features(
    config: Config, tmp_path: Path, digits: Path, normalise: str, backbone: str
) -> None:
    training = {"epochs": 30, "seeds": 2}
    run = train_model(
        options(config, normalise, model={"backbone": backbone}, training=training), results_dir=tmp_path / "r"
    )
    check_parity(run, digits)
    kept = torch.load(run.folder / "best_model.pth", weights_only=True)
    assert kept["normalise"] == normalise
    assert list(kept["head"]) == ["0.weight", "0.bias", "3.weight", "3.bias"]


@pytest.mark.parametrize("normalise", ["standard", "l2"])
def test_folds_each_have_their_own(config: Config, tmp_path: Path, normalise: str) -> None:
    chosen = options(config, normalise, data={"folds": 2}, training={"epochs": 10})
    run = train_model(chosen, results_dir=tmp_path / "r")
    cached = extract_all(chosen, Session.begin())
    features = load_features(cached, torch.device("cpu"), folds=2, limit_bytes=math.inf)
    trained = train_heads(features, run_heads(chosen, cached.dims, 2), batch_size=chosen.data.batch_size)
    right = sum(t.best.val_top1 * len(f.val) for t, f in zip(trained, features.folds, strict=True))
    assert run.metrics["val_top1"] == pytest.approx(right / len(features.labels))


@pytest.mark.parametrize("normalise", EVERY)
def test_a_fresh_model_normalises_each_image(config: Config, normalise: str) -> None:
    """standard and scale are fitted on images, of which a fresh model knows nothing."""
    model = load_model(options(config, normalise)).eval()
    plain = load_model(options(config, "none")).eval()
    x = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        f = plain.backbone(x)
        f = f / f.square().mean(1, keepdim=True).sqrt() if normalise == "l2" else f
        f = (f - f.mean(1, keepdim=True)) / f.std(1, keepdim=True, correction=0) if normalise == "layernorm" else f
        assert torch.allclose(model(x), plain.head(f), atol=1e-5)


def losses(run: Run) -> np.ndarray:
    with (run.folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if int(row["epoch"]) >= 0]  # without the start
    return np.array([[float(row["train_loss"]), float(row["val_loss"])] for row in rows])


LATE = [{"epoch": 3, "unfreeze": "last_block"}]


@pytest.mark.parametrize("normalise", KINDS)
def test_end_to_end_training_is_that_of_heads_until_a_block_unfreezes(
    config: Config, tmp_path: Path, digits: Path, normalise: str
) -> None:
    model = {"backbone": "shufflenet_v2_x0_5"}
    heads = train_model(options(config, normalise, model=model, training={"epochs": 3}), results_dir=tmp_path / "heads")
    tuned = train_model(
        options(config, normalise, model=model, training={"epochs": 5, "unfreeze_schedule": LATE}),
        results_dir=tmp_path / "tuned",
    )
    assert np.allclose(losses(tuned)[:3], losses(heads), rtol=1e-3)
    assert not np.allclose(losses(tuned)[3:], losses(tuned)[2], rtol=1e-3)
    check_parity(tuned, digits)


@pytest.mark.parametrize("normalise", KINDS)
def test_end_to_end_training_begins_with_the_head_of_a_run(config: Config, tmp_path: Path, normalise: str) -> None:
    heads = train_model(options(config, normalise, training={"epochs": 20}), results_dir=tmp_path / "heads")
    at_once = 'training.unfreeze_schedule=[{"epoch": 0, "unfreeze": "last_block"}]'
    still = ["training.epochs=1", "training.learning_rate=1e-12", at_once]
    plan = plan_from_run(heads.folder, config=None, overrides=still)
    assert plan.options.head.normalise == normalise
    tuned = fine_tune(plan.options, from_run=heads.folder, results_dir=tmp_path / "tuned")
    before, after = (torch.load(r.folder / "best_model.pth", weights_only=True)["head"] for r in (heads, tuned))
    assert all(torch.allclose(before[n], after[n], rtol=1e-3, atol=1e-4) for n in before)
    assert tuned.metrics["val_loss"] == pytest.approx(heads.metrics["val_loss"], rel=1e-3)


def test_a_head_of_another_form_is_not_begun_with(config: Config, tmp_path: Path) -> None:
    heads = train_model(options(config, "l2"), results_dir=tmp_path / "heads")
    plan = plan_from_run(heads.folder, config=None, overrides=["head.normalise=none"])
    with pytest.raises(RunError, match=r"behind head.normalise l2, and here it is none"):
        fine_tune(plan.options, from_run=heads.folder, results_dir=tmp_path / "tuned")


def test_a_sweep_searches_it_on_one_extraction(config: Config, tmp_path: Path, caplog: Any) -> None:
    base = config(training={"epochs": 5})
    sweep = SweepOptions.model_validate(
        {"name": "s", "space": {"head.normalise": list(EVERY)}, "sampler": "grid", "batch": 5, "base": base}
    )
    result = run_sweep(sweep, base, results_dir=tmp_path / "results", device="cpu")
    with (result.folder / "trials.csv").open() as file:
        rows = {r["head.normalise"]: r for r in csv.DictReader(file)}
    assert set(rows) == set(EVERY)
    assert caplog.text.count("84 new") == 1  # one extraction, and one measurement of latency
    assert caplog.text.count("measuring latency") == 1
    for normalise in EVERY:
        alone = train_model(options(config, normalise, training={"epochs": 5}), results_dir=tmp_path / "alone")
        assert float(rows[normalise]["val_loss"]) == pytest.approx(alone.metrics["val_loss"], rel=1e-4), normalise


def test_heads_that_were_still_learning_say_so_once_and_what_to_do(config: Config, tmp_path: Path, caplog: Any) -> None:
    """At a rate far too low every epoch is better than the one before."""
    slow = train_model(
        config("slow", training={"epochs": 20, "learning_rate": 5e-4, "seeds": 2, "selection_metric": "val_loss"}),
        results_dir=tmp_path / "r",
    )
    (doubt,) = slow.summary["doubts"]
    assert doubt.startswith("the heads were still getting better when their epochs were over (best epochs 19, 19, and")
    assert "raise training.epochs (now 20) or training.learning_rate (now 0.0005), or try head.normalise" in doubt
    assert doubt.endswith('"layernorm" or "standard"')  # a board says which command tries these, where none did
    said = [r.message for r in caplog.records if "still getting better" in r.message]
    assert said == [f"squeezenet1_1: {doubt}"]
    assert doubt in (slow.folder / "log.txt").read_text()
    cached = extract_all(parse_options(config()), Session.begin())
    train = load_features(cached, torch.device("cpu"), folds=None, limit_bytes=math.inf)
    (block,) = train.blocks(0)
    assert slow.summary["features_rms"] == pytest.approx(float(block.x.double().square().mean().sqrt()))
    done = train_model(config("done", training={"epochs": 60, "scheduler": "cosine"}), results_dir=tmp_path / "r")
    assert done.summary["doubts"] == []
