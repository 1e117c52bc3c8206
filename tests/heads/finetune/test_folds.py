"""Phase 2 with `data.folds`: each image is answered once, by a network that never saw it, a copy or a relative."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import torch
from PIL import Image

from featcache import load_run
from featcache.errors import RunError
from heads import train_model
from heads.finetune import average_weights, fine_tune, fold_run
from heads.finetune.fold_run import FoldRun
from heads.finetune.fold_training import fold_weights
from heads.finetune.run_setup import RunSetup
from heads.finetune.seed_trainer import Trainer
from heads.leaderboard import leaderboard
from heads.runs.predictions import load_predictions
from heads.runs.run import Run, finished_runs
from heads.runs.val_outcomes import checked_outcomes
from heads.training import TrainedHead

Config = Callable[..., dict[str, Any]]
SCHEDULE = [{"epoch": 2, "unfreeze": "last_block"}, {"epoch": 3, "unfreeze": "all", "lr_scale": 0.3}]


def options(config: Config, name: str = "run", backbone: str = "four_stages", **sections: Any) -> dict[str, Any]:
    training = {"epochs": 5, "unfreeze_schedule": SCHEDULE, **sections.pop("training", {})}
    data = {"folds": 3, **sections.pop("data", {})}
    return config(name, model={"backbone": f"networks:{backbone}"}, training=training, data=data, **sections)


def tune(chosen: dict[str, Any], results: Path, **how: Any) -> Run:
    return fine_tune(chosen, results_dir=results, allow_custom=True, **how)


def rows_of(run: Run) -> list[dict[str, float]]:
    with (run.folder / "metrics.csv").open() as file:
        return [{n: float(v) for n, v in r.items() if n not in ("blocks", "rates")} for r in csv.DictReader(file)]


def kept(run: Run) -> dict[str, torch.Tensor]:
    found = torch.load(run.folder / "best_model.pth", weights_only=True)
    return {**found["network"], **{f"head.{n}": t for n, t in found["head"].items()}}


def seen_by_folds(monkeypatch: pytest.MonkeyPatch) -> list[RunSetup]:
    found: list[RunSetup] = []
    make = fold_run.fold_setups

    def noted(*arguments: Any) -> tuple[RunSetup, ...]:
        found.extend(made := make(*arguments))
        return made

    monkeypatch.setattr(fold_run, "fold_setups", noted)
    return found


def test_epochs_of_the_head_are_those_of_phase_1_out_of_fold(config: Config, tmp_path: Path) -> None:
    heads = config("heads", model={"backbone": "networks:four_stages"}, data={"folds": 3}, training={"epochs": 2})
    made = train_model(heads, results_dir=tmp_path, allow_custom=True)
    plain = tune(options(config, "tuned"), tmp_path, from_run=made.folder, keep_head=False)
    of_folds = rows_of(made)
    sizes = {0: 23, 1: 23, 2: 22}
    for epoch in (0, 1):
        each = {int(r["fold"]): r for r in of_folds if r["epoch"] == epoch}
        (found,) = (r for r in rows_of(plain) if r["epoch"] == epoch)
        for figure in ("val_loss", "val_top1"):
            assert found[figure] == pytest.approx(sum(each[f][figure] * n for f, n in sizes.items()) / 68, rel=1e-4)
    own, of_heads = (load_predictions(r.folder / "predictions.npz", "val") for r in (plain, made))
    assert own.keys == of_heads.keys and own.logits.shape == (1, 68, 4)
    assert load_predictions(plain.folder / "predictions.npz", "test").logits.shape == (1, 16, 4)
    row = next(r for r in leaderboard(finished_runs(tmp_path)).rows if r.phase == 2)
    assert row.from_run == "heads" and row.gain_top1 is not None and row.gain_top1_low <= row.gain_top1
    outcomes = checked_outcomes(plain.folder, own)  # one choice of the epoch, by all images
    assert outcomes.epochs.tolist() == [[[6]]] and outcomes.chosen.item() == plain.best_epoch + 1


def test_the_kept_network_is_trained_on_all_images_for_the_best_epochs(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folds, trained = seen_by_folds(monkeypatch), []
    train = Trainer._train

    def noted(self: Trainer, epoch: int) -> tuple[float, float]:
        trained.append((len(self.setup.dataset.train), len(self.setup.dataset.val), epoch))
        return train(self, epoch)

    monkeypatch.setattr(Trainer, "_train", noted)
    with caplog.at_level(logging.INFO, logger="featcache"):
        run = tune(options(config, training={"selection_metric": "val_loss"}), tmp_path)
    assert sorted(i for one in folds for i in one.dataset.val) == list(range(68))
    assert [one[:2] for one in trained[:15]] == [(len(f.dataset.train), len(f.dataset.val)) for f in folds] * 5
    best = min(rows_of(run), key=lambda row: row["val_loss"])["epoch"]
    assert run.best_epoch == best >= 0
    assert trained[15:] == [(68, 0, epoch) for epoch in range(run.best_epoch + 1)]
    # What test was answered by is what is kept.
    loaded = load_run(run.folder, allow_custom=True)
    seen = load_predictions(run.folder / "predictions.npz", "test")
    folder = Path(json.loads((run.folder / "options.json").read_text())["data"]["path"])
    with torch.inference_mode():
        found = loaded.model(torch.stack([loaded.transform(folder / name) for name in seen.images]))
    assert np.allclose(found.numpy(), seen.logits[0], atol=1e-4)


@pytest.mark.parametrize("normalise", ["none", pytest.param("standard", marks=pytest.mark.slow)])
def test_the_average_is_that_of_the_folds_weights(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, normalise: str
) -> None:
    saved: list[dict[str, torch.Tensor]] = []
    make = FoldRun._average

    def noted(self: FoldRun, seed: int, head: TrainedHead, best: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        saved.extend(fold_weights(best))
        return make(self, seed, head, best)

    monkeypatch.setattr(FoldRun, "_average", noted)
    training = {"kept_of_folds": "average", "learning_rate": 0.01, "selection_metric": "val_loss"}
    chosen = options(config, backbone="without_norms", training=training, head={"normalise": normalise})
    run = tune(chosen, tmp_path)
    assert len(saved) == 3 and not torch.equal(*(one["head.3.bias"] for one in saved[:2]))
    expected, found = average_weights(saved), kept(run)
    for name, value in expected.items():
        if (name != "head.0.weight" and name != "head.0.bias") or normalise == "none":
            own = found[name.removeprefix("backbone.network.")]
            assert torch.allclose(own, value, atol=1e-6), name
    assert all(torch.isfinite(value).all() for value in found.values())


def test_planted_copies_give_nothing_away(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of noise with labels of chance, each there twice under two names and splits: who has seen the copy knows
    the label, who has not is right by chance."""
    rng, folder = np.random.default_rng(0), tmp_path / "noise"
    for number in range(24):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        label = "ab"[int(rng.integers(2))]
        for split in ("train", "val"):
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / split / label / f"{split}{number}.png")
    for label in "ab":
        (folder / "test" / label).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / "test" / label / "x.png")
    setups = seen_by_folds(monkeypatch)
    training = {"epochs": 14, "learning_rate": 0.01, "unfreeze_schedule": [{"epoch": 1, "unfreeze": "all"}]}
    chosen = options(config, data={"path": str(folder)}, training=training)
    chosen["model"]["classifier_dims"] = ["auto", 16, 2]
    run = tune(chosen, tmp_path / "results")
    for setup in setups:
        hashes = [i.sha256 for i in setup.dataset.images]
        assert not {hashes[i] for i in setup.dataset.train} & {hashes[i] for i in setup.dataset.val}
    last = rows_of(run)[-1]
    assert last["train_top1"] > 0.9
    assert last["val_top1"] < 0.75


@pytest.mark.parametrize("average", [{"ema_decay": 0.5}, pytest.param({"swa_from": 3}, marks=pytest.mark.slow)])
def test_a_run_that_is_stopped_ends_as_if_it_was_not(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: dict[str, Any]
) -> None:
    training = {"selection_metric": "val_loss", **average}
    views = {"augmentations": ["horizontal_flip"], "views": 2}
    chosen = options(config, "run", "with_dropout", training=training, data=views)
    whole = tune(chosen, tmp_path / "whole")
    train, calls = Trainer._train, 0

    def stopped(self: Trainer, epoch: int) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        if calls in (5, 11, 20):  # in a fold, in another, in what is kept
            raise KeyboardInterrupt
        return train(self, epoch)

    monkeypatch.setattr(Trainer, "_train", stopped)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            tune(chosen, tmp_path / "stopped", reuse=True)
    run = tune(chosen, tmp_path / "stopped", reuse=True)
    assert all(torch.equal(a, b) for a, b in zip(kept(run).values(), kept(whole).values(), strict=True))
    for split in ("val", "test"):
        a, b = (load_predictions(r.folder / "predictions.npz", split).logits for r in (run, whole))
        assert (a == b).all(), split
    names = ("epoch", "train_loss", "val_loss", "seed")
    assert [[r[n] for n in names[1:]] for r in rows_of(run)[1:6]] == [
        [r[n] for n in names[1:]] for r in rows_of(whole)[1:6]
    ]


@pytest.mark.slow
def test_measured_keeps_what_networks_without_two_folds_speak_for(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[set[int], set[int]]] = []
    train = Trainer._train

    def noted(self: Trainer, epoch: int) -> tuple[float, float]:
        if epoch == 0:
            trained.append((set(self.setup.dataset.train.tolist()), set(self.setup.dataset.val.tolist())))
        return train(self, epoch)

    monkeypatch.setattr(Trainer, "_train", noted)
    training = {"kept_of_folds": "measured", "learning_rate": 0.01, "selection_metric": "val_loss"}
    run = tune(options(config, training=training), tmp_path)
    assert len(trained) == 6 or (len(trained) == 7 and len(trained[6][0]) == 68)
    for own, held_out in trained[3:6]:  # without two of three folds
        assert not own & held_out and len(own | held_out) == 68 and len(own) < 24
    (found,) = run.summary["of_folds"]
    assert found["without_one"] == pytest.approx(-run.metrics["val_loss"], rel=1e-4)
    assert found["kept"] == ("average" if found["averaged"] > found["without_one"] else "retrained")


def test_no_head_that_saw_what_is_held_out_is_a_start(config: Config, tmp_path: Path) -> None:
    made = train_model(
        config("heads", model={"backbone": "networks:four_stages"}), results_dir=tmp_path, allow_custom=True
    )
    with pytest.raises(RunError, match=r"trained on images that data\.folds holds out here.*fresh head"):
        tune(options(config), tmp_path, from_run=made.folder)


assert networks  # where the backbones of these tests are
