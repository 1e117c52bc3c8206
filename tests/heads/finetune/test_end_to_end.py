"""`fine_tune`: the schedule moves what it says and nothing else, and what is kept changes no loss."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import torch
from networks import FOUR
from sklearn.metrics import f1_score
from torch import Tensor

from featcache import load_options, load_run
from featcache.backbones import load_backbone
from featcache.data.decoded_image import Task
from featcache.data.decoder import Decoder
from featcache.errors import RunError, WorkError
from featcache.extraction.one_backbone import extract
from featcache.extraction.side_by_side import extract_all
from featcache.options.loading import parse_options
from featcache.options.model_options import ModelOptions
from featcache.options.run_options import Options
from featcache.session import Session
from heads import train_model
from heads.finetune import fine_tune
from heads.finetune.seed_trainer import Trainer
from heads.leaderboard.ranking import leaderboard
from heads.runs.predictions import load_predictions
from heads.runs.run import RUN_FILES, Run, finished_runs
from heads.runs.run_files import METRIC_COLUMNS
from heads.runs.val_outcomes import checked_outcomes
from heads.training.features import load_features
from heads.training.head_spec import HeadSpec
from heads.training.stacked_training import train_heads

Config = Callable[..., dict[str, Any]]

SCHEDULE = [{"epoch": 2, "unfreeze": "last_block"}, {"epoch": 4, "unfreeze": "all", "lr_scale": 0.1}]
VIEWS = {"augmentations": ["horizontal_flip", "random_crop"], "views": 3}
SLOW = pytest.mark.slow
MORE = [
    "resnet18",
    "densenet121",
    "convnext_atto",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "swin_t",
    "shufflenet_v2_x0_5",
]


def options(config: Config, backbone: str = "four_stages", name: str = "run", **sections: dict[str, Any]) -> Options:
    """The user's schedule at small scale, on a network of tests/networks.py or a real one."""
    custom = hasattr(networks, backbone)
    training = {"epochs": 6, "unfreeze_schedule": SCHEDULE, **sections.pop("training", {})}
    model = {"backbone": f"networks:{backbone}" if custom else backbone, **sections.pop("model", {})}
    return parse_options(config(name, model=model, training=training, **sections))


def tune(chosen: Options, results: Path, **how: Any) -> Run:
    return fine_tune(chosen, results_dir=results, allow_custom=True, **how)


def metrics(run: Run) -> list[dict[str, str]]:
    """The epochs of training, which the start is none of."""
    with (run.folder / "metrics.csv").open() as file:
        return [row for row in csv.DictReader(file) if int(row["epoch"]) >= 0]


def curve(run: Run, epochs: int | None = None) -> np.ndarray:
    """Losses of train and val, epoch by epoch."""
    return np.array([[float(r["train_loss"]), float(r["val_loss"])] for r in metrics(run)][:epochs])


def checkpoint(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(run.folder / "best_model.pth", weights_only=True)
    return found


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[n], b[n]) for n in a)


def logits_of(run: Run, folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Of the loaded model, and what predictions.npz says."""
    loaded = load_run(run.folder, allow_custom=True)
    assert not loaded.model.training
    with np.load(run.folder / "predictions.npz") as file:
        kept, names = file[f"{split}_logits"], file[f"{split}_images"]
    with torch.inference_mode():
        found = loaded.model(torch.stack([loaded.transform(folder / str(name)) for name in names]))
    number = [s["seed"] for s in run.summary["seeds"]].index(run.summary["best_seed"])
    return found, torch.from_numpy(kept[number])


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """Everything of backbone and head, before the first epoch and after each."""
    found: list[dict[str, Tensor]] = []
    save = Trainer.checkpoint

    def note(self: Trainer) -> None:
        every = {f"{p}.{n}": t for p in ("backbone", "head") for n, t in getattr(self, p).state_dict().items()}
        found.append({n: t.clone() for n, t in every.items()})

    def noted_save(self: Trainer) -> dict[str, Any]:
        note(self)
        return save(self)

    monkeypatch.setattr(Trainer, "checkpoint", noted_save)
    return found


# What moves when


@pytest.mark.parametrize("how", ["kept", "plain", "views"])
@pytest.mark.parametrize("backbone", ["with_dropout", pytest.param("four_stages", marks=SLOW)])
def test_each_block_moves_in_its_epochs_only(
    config: Config, tmp_path: Path, states: list[dict[str, Tensor]], backbone: str, how: str
) -> None:
    chosen = options(config, backbone, data=VIEWS if how == "views" else {}, training={"weight_decay": 0.5})
    tune(chosen, tmp_path / "results", plain=how == "plain")
    assert len(states) == 7
    for epoch in range(6):
        trains = {"head", *(FOUR[3:] if epoch >= 2 else ()), *(FOUR if epoch >= 4 else ())}
        for block in ("head", *FOUR):
            prefix = "head." if block == "head" else f"backbone.network.{block}."
            names = [n for n in states[0] if n.startswith(prefix)]
            moved = {n for n in names if not torch.equal(states[epoch][n], states[epoch + 1][n])}
            assert moved == (set(names) if block in trains else set()), (epoch, block)  # batch statistics too


def test_metrics_name_what_trained_and_at_which_rates(config: Config, tmp_path: Path) -> None:
    run = tune(options(config, training={"lr_decay_per_block": 0.5, "seeds": 2}), tmp_path / "results")
    rows = metrics(run)
    assert tuple(rows[0]) == (*METRIC_COLUMNS, "val_balanced_accuracy", "val_macro_f1", "val_auroc")
    assert [(int(r["seed"]), int(r["epoch"])) for r in rows] == [(s, e) for s in (42, 43) for e in range(6)]
    for seed in (rows[:6], rows[6:]):
        assert [r["blocks"].split() for r in seed] == [["head"]] * 2 + [["layer4", "head"]] * 2 + [[*FOUR, "head"]] * 2
        rates = [[float(x) for x in r["rates"].split()] for r in seed]
        assert rates[1] == pytest.approx([0.003])
        assert rates[3] == pytest.approx([0.0015, 0.003])
        assert rates[5] == pytest.approx([0.0003 * 0.5**k for k in (4, 3, 2, 1, 0)])
        assert [float(r["learning_rate"]) for r in seed] == pytest.approx([0.003] * 4 + [0.0003] * 2)
    stages = run.summary["stages"]
    assert [(s["epoch"], s["blocks"], s["lr_scale"]) for s in stages] == [
        (0, ["head"], 1.0),
        (2, ["layer4", "head"], 1.0),
        (4, [*FOUR, "head"], 0.1),
    ]


# What is kept changes nothing


@pytest.mark.parametrize("data", [{}, VIEWS], ids=["plain images", "views"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_frozen_epochs_are_those_of_a_head_on_cached_features(
    config: Config, tmp_path: Path, states: list[dict[str, Tensor]], data: dict[str, Any], optimizer: str
) -> None:
    chosen = options(
        config,
        data=data,
        model={"dropout": 0.3},
        training={"optimizer": optimizer, "unfreeze_schedule": [{"epoch": 4, "unfreeze": "all"}], "seed": 7},
    )
    run = tune(chosen, tmp_path / "results")
    joined = extract_all(chosen, Session.begin(allow_custom=True))
    features = load_features(joined, torch.device("cpu"), folds=None, limit_bytes=1e9)
    assert chosen.training.seed_list == (7,)
    training = chosen.training.model_copy(update={"epochs": 4, "unfreeze_schedule": None})
    (head,) = train_heads(features, [HeadSpec(joined.dims, training, 7, 0.3, 0)], batch_size=16)
    expected = np.array([[r.train_loss, r.val_loss] for r in head.curve])
    assert curve(run, 4) == pytest.approx(expected, rel=1e-5)
    assert [float(r["train_top1"]) for r in metrics(run)[:4]] == [r.train_top1 for r in head.curve]
    for name, value in head.state.items():
        assert torch.allclose(states[1 + head.best_epoch][f"head.{name}"], value, atol=1e-5), name


@pytest.mark.parametrize(
    ("backbone", "data"),
    [
        *(("with_dropout", d) for d in ({}, VIEWS)),
        ("drops_first", {}),
        ("nested", {}),
        *(pytest.param("four_stages", d, marks=SLOW) for d in ({}, VIEWS)),
        pytest.param("squeezenet1_1", VIEWS, marks=SLOW),
        pytest.param("vit_tiny_patch16_224", {}, marks=SLOW),
        *(pytest.param(n, d, marks=SLOW) for n in MORE for d in ({}, VIEWS)),
    ],
    ids=lambda value: value if isinstance(value, str) else "views" if value else "plain images",
)
def test_the_losses_are_the_same_whatever_is_kept(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture, backbone: str, data: dict[str, Any]
) -> None:
    # At 32 pixels shufflenet's last stages are a single pixel: another memory layout alone, the same network otherwise,
    # moves its third epoch by 5e-3 (by 2e-6 at 64).
    large = {"densenet121", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t"}
    model = {"input_size": 64 if backbone in large else 32}
    schedule = [{"epoch": 1, "unfreeze": "last_block"}, {"epoch": 2, "unfreeze": 0.75 if backbone == "nested" else 0.5}]
    # The first steps of Adam go by the signs of gradients, which rounding turns where they are nearly 0.
    training = {"epochs": 3, "optimizer": "sgd", "learning_rate": 3e-3, "unfreeze_schedule": schedule}
    cuts = 1 if backbone == "nested" else 2  # it does otherwise in training, between the blocks of the second stage
    curves = {}
    for way, cache, words in (
        ("memory", {}, "in memory"),
        ("store", {"max_features_gb": 1e-9}, ".h5)"),
        ("plain", {}, "(from images)"),
        ("nothing", {"max_trunk_gb": 0.0}, "(from images)"),
    ):
        if way == "nothing" and not hasattr(networks, backbone):
            continue
        caplog.clear()
        with caplog.at_level("INFO", "featcache"):
            chosen = options(config, backbone, way, model=model, data=data, cache=cache, training=training)
            curves[way] = curve(tune(chosen, tmp_path / "results", plain=way == "plain"))
        assert sum(words in r.message and "trains" in r.message for r in caplog.records) >= cuts
    for way, found in curves.items():
        assert found == pytest.approx(curves["memory"], rel=1e-4 if hasattr(networks, backbone) else 1e-3), way
    steps = np.abs(np.diff(curves["memory"][:, 0]))
    assert (steps > 4e-4).all()  # it learns, by more than the tolerance: the agreement says something


def test_a_network_that_cannot_be_cut_trains_all_the_same(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "featcache"):
        branching = tune(options(config, "branching"), tmp_path / "a")
    assert "cannot be cut before layer4" in caplog.text
    assert curve(branching) == pytest.approx(curve(tune(options(config), tmp_path / "b")), rel=1e-3)


# The same options, the same bits


@pytest.mark.parametrize("data", [{}, VIEWS], ids=["plain images", "views"])
def test_the_same_options_give_the_same_bits(config: Config, tmp_path: Path, data: dict[str, Any]) -> None:
    runs = [tune(options(config, "with_dropout", data=data), tmp_path / r) for r in ("a", "b")]
    one, other = (checkpoint(r) for r in runs)
    assert same_bits(one["network"], other["network"])
    assert same_bits(one["head"], other["head"])
    assert runs[0].metrics == runs[1].metrics
    assert (curve(runs[0]) == curve(runs[1])).all()


def test_a_seed_among_others_is_the_seed_alone(config: Config, tmp_path: Path) -> None:
    both = tune(options(config, "with_dropout", training={"seeds": [42, 9]}), tmp_path / "both")
    alone = [tune(options(config, "with_dropout", training={"seeds": [s]}), tmp_path / f"seed {s}") for s in (42, 9)]
    assert (curve(both) == np.concatenate([curve(r) for r in alone])).all()
    assert (curve(alone[0]) != curve(alone[1])).all()
    best = alone[[42, 9].index(both.summary["best_seed"])]
    assert same_bits(checkpoint(both)["network"], checkpoint(best)["network"])
    assert both.summary["val"]["loss"]["n"] == 20


def test_train_model_follows_a_schedule_too(config: Config, tmp_path: Path) -> None:
    direct = tune(options(config), tmp_path / "a")
    through = train_model(options(config), results_dir=tmp_path / "b", allow_custom=True)
    assert through.summary["phase"] == 2
    assert (curve(direct) == curve(through)).all()
    assert same_bits(checkpoint(direct)["network"], checkpoint(through)["network"])


# What comes out


def test_the_run_folder_is_complete(config: Config, tmp_path: Path) -> None:
    run = tune(options(config), tmp_path / "results")
    assert {p.name for p in run.folder.iterdir()} == RUN_FILES | {"val_outcomes.npz"}
    assert [p.name for p in run.folder.parent.iterdir()] == ["run"]  # no checkpoint is left
    assert json.loads((run.folder / "summary.json").read_text())["phase"] == 2
    found = checkpoint(run)
    assert {n.split(".")[0] for n in found["network"]} == set(FOUR)
    assert found["epoch"] == run.best_epoch
    assert load_options(run.folder / "options.json").training.unfreeze_schedule is not None
    assert "from epoch 4 on layer1, layer2, layer3, layer4, head trains" in (run.folder / "log.txt").read_text()


@pytest.mark.parametrize("metric", ["val_top1", "val_macro_f1"])
def test_what_was_answered_after_every_epoch_is_kept(config: Config, tmp_path: Path, metric: str) -> None:
    run = tune(options(config, training={"seeds": 2, "selection_metric": metric}), tmp_path / "results")
    seen = load_predictions(run.folder / "predictions.npz", "val")
    kept = checked_outcomes(run.folder, seen)
    assert kept.answers is not None
    assert np.array_equal(kept.answers == seen.labels, kept.top1)
    for row in metrics(run):
        seed, epoch = int(row["seed"]) - 42, int(row["epoch"]) + 1  # the first is the start
        answers = kept.answers[0, seed, epoch]
        assert kept.top1[0, seed, epoch].mean() == pytest.approx(float(row["val_top1"]))
        assert kept.top3[0, seed, epoch].mean() == pytest.approx(float(row["val_top3"]))
        assert f1_score(seen.labels, answers, average="macro") == pytest.approx(float(row["val_macro_f1"]))
        if metric == "val_macro_f1":
            assert kept.selected is not None
            assert kept.selected[0, seed, epoch].mean() == pytest.approx(float(row["val_macro_f1"]), abs=1e-6)
    best = kept.answers[0, np.arange(2), kept.chosen[0, :, 0]]
    assert np.array_equal(best, seen.logits.argmax(axis=-1))


@pytest.mark.parametrize(
    ("backbone", "precision"),
    [
        *((n, "float32") for n in ("four_stages", "with_dropout", "root_buffer", "squeezenet1_1")),
        ("four_stages", "bfloat16"),
        pytest.param("mnasnet0_5", "float32", marks=SLOW),
        pytest.param("squeezenet1_1", "bfloat16", marks=SLOW),
        pytest.param("resnet18", "float32", marks=SLOW),
        pytest.param("resnet18", "bfloat16", marks=SLOW),
        pytest.param("vit_tiny_patch16_224", "float32", marks=SLOW),
        pytest.param("convnext_atto", "float16", marks=SLOW),
    ],
)
def test_the_loaded_model_gives_the_logits_of_the_run(
    config: Config, tmp_path: Path, digits: Path, backbone: str, precision: str
) -> None:
    schedule = [{"epoch": 0, "unfreeze": "last_block"}, {"epoch": 1, "unfreeze": "all"}]
    training = {"epochs": 3, "unfreeze_schedule": schedule, "selection_metric": "val_loss", "precision": precision}
    model = {"input_size": 32}
    run = tune(options(config, backbone, model=model, training={**training, "seeds": 2}), tmp_path / "results")
    for split in ("val", "test"):
        found, kept = logits_of(run, digits, split)
        assert len(found) == {"val": 20, "test": 16}[split]
        spread = float((kept - kept.mean(0)).abs().max())
        assert float((found - kept).abs().max()) < (1e-3 if precision == "float32" else 5e-2) * max(spread, 0.1)


def test_a_best_epoch_with_a_frozen_backbone_loads_as_it_was(config: Config, tmp_path: Path, digits: Path) -> None:
    training = {"selection_metric": "val_loss", "unfreeze_schedule": [{"epoch": 5, "unfreeze": "all", "lr_scale": 1e3}]}
    run = tune(options(config, training=training), tmp_path / "results")
    assert run.best_epoch < 5
    pristine = load_backbone(options(config).model, allow_custom=True).network.state_dict()
    assert same_bits(checkpoint(run)["network"], dict(pristine))
    for split in ("val", "test"):
        found, kept = logits_of(run, digits, split)
        assert torch.allclose(found, kept, atol=1e-2)


def test_a_run_needs_no_published_weights_to_load(config: Config, tmp_path: Path, digits: Path) -> None:
    weights = tmp_path / "weights.pth"
    network = load_backbone(ModelOptions(backbone="squeezenet1_1", input_size=32, pretrained=False)).network
    torch.save(network.state_dict(), weights)
    model = {"weights": str(weights), "pretrained": True}
    run = tune(options(config, "squeezenet1_1", model=model, training={"epochs": 5}), tmp_path / "results")
    weights.unlink()
    found, kept = logits_of(run, digits, "test")
    assert torch.allclose(found, kept, atol=1e-3)


@pytest.mark.parametrize("seeds", [pytest.param(1, marks=SLOW), 2])
def test_test_images_are_seen_once_by_each_seed_and_last(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: int
) -> None:
    chosen = options(config, training={"seeds": seeds})
    extraction = extract(chosen, allow_custom=True)
    test = {i.sha256 for i in extraction.manifest.of("test")}
    decoded: list[str] = []
    decode = Decoder.decode

    def note(self: Decoder, task: Task) -> tuple[Tensor, ...]:
        decoded.append(task.sha256)
        return decode(self, task)

    monkeypatch.setattr(Decoder, "decode", note)
    tune(chosen, tmp_path / "results")
    seen = [s for s in decoded if s in test]
    assert sorted(seen) == sorted([*test] * seeds)
    assert set(decoded[-len(seen) :]) == test


# Parity


def test_a_network_that_draws_random_numbers_is_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"does not give what is in the cache.*differ by up to [\d.e-]+"):
        tune(options(config, "noisy"), tmp_path / "results")
    assert not list((tmp_path / "results").glob("*"))


@pytest.mark.parametrize("changed", [1.05, pytest.param(-1.0, marks=SLOW)])
def test_a_cache_of_another_network_is_refused(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: float
) -> None:
    chosen = options(config, "of_a_global")
    tune(chosen, tmp_path / "before")
    monkeypatch.setattr(networks, "gain", changed)
    with pytest.raises(WorkError, match="does not give what is in the cache"):
        tune(replace_name(chosen, "after"), tmp_path / "after")


def replace_name(chosen: Options, name: str) -> Options:
    return chosen.model_copy(update={"experiment_name": name})


def test_a_cross_validated_head_is_no_beginning(config: Config, tmp_path: Path) -> None:
    """It has trained on images that choose the epoch here."""
    made = train_model(config("folds", data={"folds": 3}), results_dir=tmp_path / "results")
    training = {"epochs": 2, "unfreeze_schedule": [{"epoch": 1, "unfreeze": "last_block"}]}
    chosen = config("tuned", training=training)
    with pytest.raises(RunError, match=r"was cross-validated.*fresh head"):
        fine_tune(chosen, results_dir=tmp_path / "results", from_run=made.folder)
    fine_tune(chosen, results_dir=tmp_path / "results", from_run=made.folder, keep_head=False)
    (row,) = (r for r in leaderboard(finished_runs(tmp_path / "results")).rows if r.phase == 2)
    assert (row.from_run, row.gain_top1) == ("folds", None)  # it answered other images


def test_a_gain_is_over_the_run_itself_and_not_over_its_name(config: Config, tmp_path: Path) -> None:
    results = tmp_path / "results"
    made = train_model(config(), results_dir=results)
    training = {"epochs": 2, "unfreeze_schedule": [{"epoch": 1, "unfreeze": "last_block"}]}
    fine_tune(config("tuned", training=training), results_dir=results, from_run=made.folder)

    def gain() -> float | None:
        return next(r.gain_top1 for r in leaderboard(finished_runs(results)).rows if r.phase == 2)

    assert gain() is not None
    shutil.rmtree(made.folder)
    train_model(config(training={"epochs": 1}), results_dir=results)
    assert gain() is None
