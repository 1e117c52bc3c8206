"""The options of end-to-end training, each against what it promises."""

from __future__ import annotations

import csv
import hashlib
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import torch
from networks import FOUR
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import update_bn

from featcache.backbones import build_head, load_backbone
from featcache.data.transforms import EvalTransform
from featcache.errors import NonFiniteError, WorkError
from featcache.options.loading import parse_options
from featcache.options.run_options import Options
from heads.finetune import fine_tune
from heads.finetune.epoch_choice import EpochChoice
from heads.finetune.forward_path import ForwardPath
from heads.finetune.seed_trainer import Trainer
from heads.runs.run import Run
from heads.training.head_stack import initial_state

Config = Callable[..., dict[str, Any]]

ALL = [{"epoch": 0, "unfreeze": "all"}]
LAST = [{"epoch": 0, "unfreeze": "last_block"}]
WHOLE = 48  # images that train: one step an epoch


def options(
    config: Config, backbone: str = "without_norms", *, dropout: float = 0.0, batch: int = 16, **training: Any
) -> Options:
    training = {"epochs": 3, "unfreeze_schedule": ALL, "selection_metric": "val_loss", **training}
    model = {"backbone": f"networks:{backbone}", "dropout": dropout}
    return parse_options(config("run", model=model, data={"batch_size": batch}, training=training))


def tune(chosen: Options, results: Path, **how: Any) -> Run:
    return fine_tune(chosen, results_dir=results, allow_custom=True, **how)


def curve(run: Run) -> np.ndarray:
    with (run.folder / "metrics.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if int(r["epoch"]) >= 0]
        return np.array([[float(r["train_loss"]), float(r["val_loss"])] for r in rows])


def kept(run: Run) -> dict[str, Tensor]:
    """Weights of backbone and head."""
    found = torch.load(run.folder / "best_model.pth", weights_only=True)
    return {**found["network"], **{f"head.{n}": t for n, t in found["head"].items()}}


def close(a: dict[str, Tensor], b: dict[str, Tensor], atol: float) -> bool:
    return list(a) == list(b) and all(torch.allclose(a[n], b[n], atol=atol, rtol=0) for n in a)


@pytest.fixture
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What could be gone on from after each epoch; the weights of everything, frozen or not, beside it."""
    found: list[dict[str, Any]] = []
    save = EpochChoice.checkpoint

    def note(self: EpochChoice) -> dict[str, Any]:
        state, one = save(self), self.network
        assert isinstance(one, Trainer)
        every = {**one.backbone.network.state_dict(), **{f"head.{n}": t for n, t in one.head.state_dict().items()}}
        if self.result.curve[-1].epoch >= 0:
            found.append({**state, "every": {n: t.detach().clone() for n, t in every.items()}})
        return state

    monkeypatch.setattr(EpochChoice, "checkpoint", note)
    return found


def pristine(chosen: Options) -> dict[str, Tensor]:
    """What training begins with."""
    network = load_backbone(chosen.model, allow_custom=True).network.state_dict()
    head = initial_state((networks.WIDTHS[-1], 16, 4), chosen.training.seed)
    return {**network, **{f"head.{n}": t for n, t in head.items()}}


def class_and_content(file: Path) -> tuple[str, str]:
    """What images are in the order of."""
    return file.parent.name, hashlib.sha256(file.read_bytes()).hexdigest()


def whole_train_set(chosen: Options) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """Network and head as training begins, and all training images with their labels."""
    backbone = load_backbone(chosen.model, allow_custom=True)
    head = build_head((networks.WIDTHS[-1], 16, 4), 0.0)
    head.load_state_dict(initial_state((networks.WIDTHS[-1], 16, 4), chosen.training.seed))
    files = sorted((Path(chosen.data.path) / "train").rglob("*.png"), key=class_and_content)
    transform = EvalTransform(backbone.preprocessing)
    labels = torch.tensor([int(f.parent.name[-1]) for f in files])
    return backbone.network, head, torch.stack([transform(f) for f in files]), labels


# The update


@pytest.mark.parametrize(
    ("optimizer", "l2"), [("adamw", 0.0), pytest.param("adam", 0.0, marks=pytest.mark.slow), ("sgd", 0.0), ("sgd", 3.0)]
)
def test_training_is_that_of_the_plain_loop(
    config: Config, tmp_path: Path, checkpoints: list[dict[str, Any]], optimizer: str, l2: float
) -> None:
    chosen = options(
        config, batch=WHOLE, optimizer=optimizer, weight_decay=0.1, lr_decay_per_block=0.7, label_smoothing=0.1,
        warmup_epochs=1, scheduler="cosine", epochs=4, clip_norm=0.5, l2_to_start=l2,
        unfreeze_schedule=[{"epoch": 0, "unfreeze": "layer3"}, {"epoch": 2, "unfreeze": "all", "lr_scale": 0.5}],
    )  # fmt: skip
    run = tune(chosen, tmp_path / "results")
    network, head, x, y = whole_train_set(chosen)
    parts = [*(getattr(network, n) for n in FOUR), head]
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    extra = {"momentum": 0.9} if optimizer == "sgd" else {}
    updates = kind([{"params": list(p.parameters())} for p in parts], 0.003, weight_decay=0.1, **extra)
    factors = [1 / 2, 1.0, 0.75 * 0.5, 0.25 * 0.5]
    began = [p.detach().clone() for p in network.parameters()]
    losses = []
    for epoch, factor in enumerate(factors):
        for part in parts:
            part.requires_grad_(part not in parts[: 0 if epoch >= 2 else 2])
        for k, group in enumerate(updates.param_groups):
            group["lr"] = 0.003 * factor * 0.7 ** (4 - k)
        loss = cross_entropy(head(network(x)), y, label_smoothing=0.1)
        away = sum(((p - b) ** 2).sum() for p, b in zip(network.parameters(), began, strict=True))
        updates.zero_grad(set_to_none=True)
        (loss + l2 / 2 * away).backward()
        nn.utils.clip_grad_norm_([p for part in parts for p in part.parameters() if p.grad is not None], 0.5)
        updates.step()
        losses.append(loss.item())
        expected = {**network.state_dict(), **{f"head.{n}": t for n, t in head.state_dict().items()}}
        assert close(checkpoints[epoch]["every"], expected, atol=2e-4 if optimizer != "sgd" else 2e-5), epoch
    assert curve(run)[:, 0] == pytest.approx(losses, rel=1e-3)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_clip_norm_bounds_the_gradient_of_all_that_trains(
    config: Config, tmp_path: Path, checkpoints: list[dict[str, Any]], precision: str
) -> None:
    chosen = options(
        config, batch=WHOLE, epochs=1, optimizer="sgd", momentum=0.0, weight_decay=0.0, learning_rate=1.0,
        clip_norm=0.01, precision=precision,
    )  # fmt: skip
    tune(chosen, tmp_path / "results")
    before, after = pristine(chosen), checkpoints[0]["every"]
    moved = torch.cat([(after[n] - before[n]).double().flatten() for n in before]).norm().item()
    assert moved == pytest.approx(0.01, rel=1e-2)


def test_accumulated_batches_are_one_batch(config: Config, tmp_path: Path) -> None:
    runs = [
        tune(options(config, batch=b, accumulate=a, dropout=0.3, optimizer="sgd"), tmp_path / f"{b} x {a}")
        for b, a in ((20, 1), (10, 2), (5, 4), (3, 7))
    ]
    assert curve(runs[1]) == pytest.approx(curve(runs[0]), rel=1e-4)
    assert curve(runs[2]) == pytest.approx(curve(runs[0]), rel=1e-4)
    assert close(kept(runs[1]), kept(runs[0]), atol=1e-5)
    assert curve(runs[3]) != pytest.approx(curve(runs[0]), rel=1e-4)  # 21 images are not 20


def test_label_smoothing_is_torchs_own_and_of_training_alone(config: Config, tmp_path: Path) -> None:
    chosen = options(config, batch=WHOLE, epochs=1, learning_rate=1e-12, label_smoothing=0.2)
    found = curve(tune(chosen, tmp_path / "smooth"))
    network, head, x, y = whole_train_set(chosen)
    with torch.no_grad():
        expected = cross_entropy(head(network(x)), y, label_smoothing=0.2).item()
    assert found[0, 0] == pytest.approx(expected, rel=1e-4)
    plain = options(config, batch=WHOLE, epochs=1, learning_rate=1e-12)
    assert found[0, 1] == pytest.approx(curve(tune(plain, tmp_path / "plain"))[0, 1], rel=1e-5)


@pytest.mark.parametrize(
    "mix", [{"mixup": 0.4}, {"mixup": 0.4, "cutmix": 1.0}, pytest.param({"cutmix": 1.0}, marks=pytest.mark.slow)]
)
def test_mixed_images_go_through_the_whole_network(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture, mix: dict[str, float]
) -> None:
    schedule = [{"epoch": 1, "unfreeze": "last_block"}]
    with caplog.at_level("INFO", "featcache"):
        mixed = tune(options(config, unfreeze_schedule=schedule, label_smoothing=0.1, **mix), tmp_path / "mixed")
    trains = [r.message for r in caplog.records if " trains (from " in r.message]
    assert len(trains) == 2
    assert all("(from images)" in line for line in trains)
    again = tune(options(config, unfreeze_schedule=schedule, label_smoothing=0.1, **mix), tmp_path / "again")
    plain = tune(options(config, unfreeze_schedule=schedule, label_smoothing=0.1), tmp_path / "plain")
    assert (curve(mixed) == curve(again)).all()
    assert (curve(mixed)[:, 0] != curve(plain)[:, 0]).all()


@pytest.mark.parametrize("frozen", [True, False])
def test_batch_norms_keep_their_statistics_where_they_are_to(config: Config, tmp_path: Path, frozen: bool) -> None:
    schedule = [{"epoch": 0, "unfreeze": "all"}]
    training = {"selection_metric": "val_loss", "learning_rate": 1e-4, "frozen_batch_norms": frozen}
    chosen = options(config, "four_stages", epochs=2, unfreeze_schedule=schedule, **training)
    run = tune(chosen, tmp_path / "results")
    assert run.best_epoch >= 0
    before, after = pristine(chosen), kept(run)
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    statistics = {name for name in before if name.endswith(("running_mean", "running_var"))}
    assert statistics and moved & statistics == (set() if frozen else statistics)
    assert moved >= {name for name in before if name.endswith(".weight")}


def test_the_average_is_what_is_judged_and_kept(
    config: Config, tmp_path: Path, checkpoints: list[dict[str, Any]]
) -> None:
    schedule = [{"epoch": 2, "unfreeze": "last_block"}, {"epoch": 5, "unfreeze": "all"}]
    chosen = options(
        config, "four_stages", batch=WHOLE, epochs=12, unfreeze_schedule=schedule, ema_decay=0.6, learning_rate=0.01
    )
    run = tune(chosen, tmp_path / "results")
    average: dict[str, Tensor] = {}
    judged = []
    for epoch, one in enumerate(checkpoints):  # one step an epoch
        trains = ("head.", *(("layer4.",) if epoch >= 2 else ()), *(FOUR if epoch >= 5 else ()))
        weight = 1 - min(0.6, (2 + epoch) / (11 + epoch))
        for name, value in one["every"].items():
            if name.startswith(trains):
                begun = name in average and value.is_floating_point()
                average[name] = average[name] + weight * (value - average[name]) if begun else value
        judged.append({**one["every"], **average})
    assert run.best_epoch >= 2
    assert close(kept(run), judged[run.best_epoch], atol=1e-5)
    assert not close(kept(run), checkpoints[run.best_epoch]["every"], atol=1e-4)


def test_the_average_of_epochs_is_what_is_judged_and_kept_with_statistics_of_its_own(
    config: Config, tmp_path: Path, checkpoints: list[dict[str, Any]]
) -> None:
    schedule = [{"epoch": 1, "unfreeze": "last_block"}]
    chosen = options(
        config, "four_stages", batch=WHOLE, epochs=8, unfreeze_schedule=schedule, swa_from=3, learning_rate=0.01
    )
    run = tune(chosen, tmp_path / "results")
    assert run.best_epoch >= 4
    own, ends = kept(run), [c["every"] for c in checkpoints[3 : run.best_epoch + 1]]
    trained = [n for n in own if n.startswith(("layer4.conv", "head."))]
    for name in trained:
        assert torch.allclose(own[name], torch.stack([one[name] for one in ends]).mean(0), atol=1e-6)
        assert not torch.allclose(own[name], ends[-1][name], atol=1e-4)
    network, _, x, _ = whole_train_set(chosen)
    network.load_state_dict({n: t for n, t in own.items() if not n.startswith("head.")})
    network.eval()
    with torch.no_grad():
        before = network.layer3(network.layer2(network.layer1(x)))
        update_bn([before], network.layer4)
    anew = {n: t for n, t in network.state_dict().items() if n.startswith("layer4.") and "running" in n}
    assert anew and all(torch.allclose(own[n], t, rtol=1e-4, atol=1e-5) for n, t in anew.items())


def test_only_what_trained_has_optimiser_state(
    config: Config, tmp_path: Path, checkpoints: list[dict[str, Any]]
) -> None:
    schedule = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "layer3"}]
    tune(options(config, "four_stages", unfreeze_schedule=schedule), tmp_path / "results")
    assert [len(c["updates"]["optimizer"]["state"]) for c in checkpoints] == [4, 4 + 8, 4 + 8 + 8]


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("adam", marks=pytest.mark.slow), "sgd"])
def test_weight_decay_moves_nothing_that_is_frozen(config: Config, tmp_path: Path, optimizer: str) -> None:
    chosen = options(
        config, "with_dropout", unfreeze_schedule=LAST, weight_decay=1.0, optimizer=optimizer, ema_decay=0.5
    )
    before, after = pristine(chosen), kept(tune(chosen, tmp_path / "results", plain=True))
    frozen = [n for n in before if n.startswith(FOUR[:3])]
    assert frozen
    assert all(torch.equal(before[n], after[n]) for n in frozen)
    assert not any(torch.equal(before[n], after[n]) for n in before if n.startswith("layer4.conv"))


# What regularises frozen blocks is off


@pytest.mark.parametrize("plain", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_dropout_and_depth_are_those_of_trained_blocks_alone(config: Config, tmp_path: Path, plain: bool) -> None:
    schedule = [{"epoch": 2, "unfreeze": "last_block"}, {"epoch": 4, "unfreeze": "all"}]
    none, early, every = (
        curve(tune(options(config, n, epochs=6, unfreeze_schedule=schedule), tmp_path / n, plain=plain))
        for n in ("four_stages", "with_early_dropout", "with_dropout")
    )
    assert early[:4] == pytest.approx(none[:4], rel=1e-6)
    assert every[:2] == pytest.approx(none[:2], rel=1e-6)
    assert every[2, 0] != none[2, 0]
    assert early[4, 0] != none[4, 0]


# Precision, layout, compilation


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("extra", [{"ema_decay": 0.9, "accumulate": 2, "mixup": 0.2}])
def test_half_precision_follows_float32(config: Config, tmp_path: Path, precision: str, extra: dict[str, Any]) -> None:
    schedule = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all"}]
    full, half = (
        curve(tune(options(config, "four_stages", unfreeze_schedule=schedule, precision=p, **extra), tmp_path / p))
        for p in ("float32", precision)
    )
    assert half == pytest.approx(full, abs=0.05)
    assert half[2, 0] != full[2, 0]


def test_the_memory_layout_changes_rounding_only(config: Config, tmp_path: Path) -> None:
    schedule = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all"}]
    on, off = (
        curve(tune(options(config, unfreeze_schedule=schedule, channels_last=c), tmp_path / str(c)))
        for c in (True, False)
    )
    assert on == pytest.approx(off, rel=1e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compilation_changes_rounding_only(config: Config, tmp_path: Path) -> None:
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("there is no C++ compiler")
    schedule = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": "all"}]
    on, off = (
        curve(tune(options(config, "four_stages", dropout=0.3, unfreeze_schedule=schedule, compile=c, batch=20),
                   tmp_path / str(c)))
        for c in (True, False)
    )  # fmt: skip
    assert on == pytest.approx(off, rel=2e-3)


# Memory that does not suffice


def images_at_a_time(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.message for r in caplog.records if r.levelno == logging.WARNING and "out of memory" in r.message]


@pytest.mark.parametrize("plain", [False, True])
def test_a_batch_that_does_not_fit_is_halved_to_the_same_gradients(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, plain: bool
) -> None:
    chosen = options(config, "short_of_memory", dropout=0.3, optimizer="sgd")
    enough = tune(chosen, tmp_path / "enough", plain=plain)
    assert not images_at_a_time(caplog)
    monkeypatch.setattr(networks, "limit", 9)
    short = tune(chosen, tmp_path / "short", plain=plain)
    (said,) = images_at_a_time(caplog)
    assert "going on with 8 images at a time, whose gradients are accumulated" in said
    assert curve(short) == pytest.approx(curve(enough), rel=2e-4)
    assert close(kept(short), kept(enough), atol=1e-3)
    monkeypatch.setattr(networks, "limit", 10**9)
    halves = options(config, "short_of_memory", dropout=0.3, optimizer="sgd", batch=8, accumulate=2)
    assert (curve(short) == curve(tune(halves, tmp_path / "halves", plain=plain))).all()  # the very same sums


def test_judging_does_not_take_more_memory_than_training(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do the check of parity and the test images, whatever the batch that was asked for."""
    monkeypatch.setattr(networks, "limit_everywhere", 8)
    short = tune(options(config, "short_of_memory"), tmp_path / "short")
    monkeypatch.setattr(networks, "limit_everywhere", 10**9)
    assert curve(short) == pytest.approx(curve(tune(options(config, "short_of_memory"), tmp_path / "enough")), rel=1e-5)


def test_one_image_too_many(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "limit", 0)
    with pytest.raises(WorkError, match=r"one image does not fit the memory of cpu.*model\.input_size"):
        tune(options(config, "short_of_memory"), tmp_path / "results")


# Losses that are not finite


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_good_epoch(config: Config, tmp_path: Path) -> None:
    schedule = [{"epoch": 2, "unfreeze": "all", "lr_scale": 1e30}]
    chosen = options(config, "four_stages", optimizer="sgd", epochs=5, unfreeze_schedule=schedule)
    with pytest.raises(NonFiniteError, match=r"seed 42 is not finite in epoch 2, in batch [12] of 3\..*of epoch 1, is"):
        tune(chosen, tmp_path / "results")
    (folder,) = (tmp_path / "results").iterdir()
    assert folder.match(".run-*.checkpoint")
    last = torch.load(folder / "last.pth", weights_only=True)["current"]
    assert [row["epoch"] for row in last["head"]["curve"]] == [-1, 0, 1]
    best = torch.load(folder / last["best"], weights_only=True)
    assert all(torch.isfinite(t).all() for t in (*last["weights"].values(), *best["state"].values(), best["logits"]))


def test_a_validation_loss_that_is_not_finite_ends_it_too(config: Config, tmp_path: Path) -> None:
    schedule = [{"epoch": 1, "unfreeze": "all", "lr_scale": 1e30}]
    chosen = options(config, "without_norms", batch=WHOLE, optimizer="sgd", unfreeze_schedule=schedule)
    with pytest.raises(NonFiniteError, match=r"epoch 1, on the validation images"):
        tune(chosen, tmp_path / "results")
    (file,) = (tmp_path / "results").glob(".run-*.checkpoint/last.pth")
    last = torch.load(file, weights_only=True)
    assert [row["epoch"] for row in last["current"]["head"]["curve"]] == [-1, 0]


# Patience, and what is left behind


@pytest.mark.parametrize(("schedule", "epochs"), [([4], 7), pytest.param([0], 3, marks=pytest.mark.slow), ([2, 5], 8)])
def test_patience_counts_from_the_last_step(config: Config, tmp_path: Path, schedule: list[int], epochs: int) -> None:
    steps = [{"epoch": e, "unfreeze": u} for e, u in zip(schedule, ("last_block", "all"), strict=False)]
    chosen = options(config, epochs=12, patience=2, learning_rate=1e-30, weight_decay=0.0, unfreeze_schedule=steps)
    run = tune(chosen, tmp_path / "results")
    assert run.best_epoch <= 0 or run.best_epoch in schedule  # other ways to compute the same round differently
    assert len(curve(run)) == max(schedule[-1], run.best_epoch) + 2 + 1 == epochs


def test_the_callers_random_numbers_are_left_alone(config: Config, tmp_path: Path) -> None:
    def numbers() -> tuple[Any, ...]:
        return torch.rand(3).tolist(), np.random.random(3).tolist(), random.random()

    def seed() -> None:
        torch.manual_seed(1), np.random.seed(1), random.seed(1)

    seed()
    expected = numbers()
    seed()
    tune(options(config, "with_dropout", dropout=0.3, mixup=0.2, cutmix=0.2), tmp_path / "results")
    assert numbers() == expected


def test_the_callers_random_numbers_play_no_part(config: Config, tmp_path: Path) -> None:
    curves = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        curves.append(curve(tune(options(config, "with_dropout", dropout=0.3, mixup=0.2), tmp_path / str(seed))))
    assert (curves[0] == curves[1]).all()


def test_hidden_values_are_dropped_as_drawn() -> None:
    head = build_head((6, 5, 4, 3), 0.5)
    path = ForwardPath(None, head, networks.PREPROCESSING, "float32", True)
    x, keep = torch.randn(2, 6), torch.zeros(9, 2)
    keep[:5] = 2.0
    expected = head[6].bias.expand(2, 3)
    assert torch.equal(path(x, keep), expected)  # the second hidden layer is dropped whole
    keep[5:] = 1.0
    h = (2 * head[0](x).relu()) @ head[3].weight.T + head[3].bias
    assert torch.allclose(path(x, keep), head[6](h.relu()), atol=1e-6)


@pytest.mark.parametrize("backbone", ["four_stages", "with_dropout"])
def test_gradient_checkpointing_changes_no_bit(config: Config, tmp_path: Path, backbone: str) -> None:
    """While a part is frozen and its output is kept, and once everything trains from images."""
    schedule = [{"epoch": 0, "unfreeze": "last_block"}, {"epoch": 1, "unfreeze": "all"}]
    runs = [
        tune(options(config, backbone, unfreeze_schedule=schedule, gradient_checkpointing=again), tmp_path / str(again))
        for again in (False, True)
    ]
    plain, again = (kept(run) for run in runs)
    assert all(torch.equal(again[n], t) for n, t in plain.items())
    assert (curve(runs[0]) == curve(runs[1])).all()
    assert runs[0].summary["inputs"]["options"] != runs[1].summary["inputs"]["options"]
