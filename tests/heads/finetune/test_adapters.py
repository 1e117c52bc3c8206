"""Few parameters that train where blocks are unfrozen: which ones, what stays, and LoRA merged into the weights."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_digits
from torch import Tensor, nn

from featcache import load_run
from featcache.errors import InputError, OptionsError
from featcache.options import load_options, parse_options
from featcache.session import Session
from heads.finetune import fine_tune, recipe_trials
from heads.finetune.tuned_network import load_network
from heads.runs import Run, load_run_model, predictions_of

ALL = [{"epoch": 0, "unfreeze": "all"}]
LAST = [{"epoch": 0, "unfreeze": "last_block"}]
CNN, TRANSFORMER = "networks:four_stages", "vit_tiny_patch16_224"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapters")
    write_digits(root / "digits", {"train": 6, "val": 4, "test": 3})
    return root


def options(root: Path, kind: str, backbone: str = CNN, schedule: Any = ALL, **adapter: Any) -> Any:
    model: dict[str, Any] = {"backbone": backbone, "classifier_dims": ["auto", 8, 4], "pretrained": False}
    if backbone == TRANSFORMER:
        model |= {"input_size": 32}
    return parse_options(
        {
            "experiment_name": f"{kind}-{backbone.rpartition(':')[2]}-{len(schedule)}-{schedule[0]['unfreeze']}",
            "model": model,
            "data": {"path": str(root / "digits"), "batch_size": 12, "workers": 1},
            "training": {
                "epochs": 3,
                "learning_rate": 0.01,
                "selection_metric": "val_loss",
                "unfreeze_schedule": schedule,
                "adapter": {"kind": kind, **adapter},
            },
            "cache": {"dir": str(root / "cache"), "batch_size": 8},
            "profile": {"iterations": 1, "warmup": 0},
        }
    )


def tuned(root: Path, asked: Any) -> tuple[Run, dict[str, Tensor], dict[str, Tensor]]:
    """The run, its backbone's weights, and those that it began with."""
    run = fine_tune(asked, results_dir=root / "results", device="cpu", allow_custom=True, reuse=True)
    kept = load_run_model(run.folder).tuned
    assert kept is not None
    plain = asked.model_copy(update={"training": asked.training.model_copy(update={"adapter": None})})
    before = load_network(plain, True).backbone.network.state_dict()
    assert kept.keys() == before.keys()
    return run, dict(kept), before


@pytest.mark.parametrize("kind", ["bitfit", "norm"])
def test_only_those_train(root: Path, kind: str) -> None:
    _, kept, before = tuned(root, options(root, kind))
    moved = {n for n in kept if kept[n].is_floating_point() and not torch.equal(kept[n], before[n])}
    trained = {n for n in moved if "running" not in n}
    network = load_network(options(root, kind), True).backbone.network
    norms = {n for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    expected = {"bias"} if kind == "bitfit" else {"weight", "bias"}
    assert trained and all(n.rpartition(".")[2] in expected for n in trained)
    if kind == "norm":
        assert all(n.rpartition(".")[0] in norms for n in trained)


def test_what_the_schedule_leaves_frozen_stays(root: Path) -> None:
    _, kept, before = tuned(root, options(root, "bitfit", schedule=LAST))
    assert all(torch.equal(kept[n], before[n]) for n in kept if not n.startswith("layer4."))


def test_lora_merged_answers_as_it_did_unmerged(root: Path) -> None:
    """The run's answers on test are of the network with the thin matrices beside its weights, `load_run`'s of the
    plain network that they were merged into."""
    pytest.importorskip("peft")
    run, kept, before = tuned(root, options(root, "lora", TRANSFORMER, rank=4))
    moved = {n for n in kept if not torch.equal(kept[n], before[n])}
    assert moved and all(n.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight")) for n in moved)
    changed = kept["blocks.11.mlp.fc1.weight"] - before["blocks.11.mlp.fc1.weight"]
    assert 0 < torch.linalg.matrix_rank(changed, rtol=1e-3) <= 4
    seen = predictions_of(run.folder, "test")
    loaded = load_run(run.folder, device="cpu", allow_custom=True)
    with torch.inference_mode():
        images = torch.stack([loaded.transform(root / "digits" / name) for name in (seen.images if seen else ())])
        merged = loaded.model(images).numpy()
    assert seen is not None and np.allclose(merged, seen.logits[0], atol=1e-4)
    again = load_options(run.folder / "options.json").as_dict() | {"experiment_name": "again"}
    twin = fine_tune(again, results_dir=root / "results", device="cpu")
    assert all(torch.equal(t, kept[n]) for n, t in (load_run_model(twin.folder).tuned or {}).items())


@pytest.mark.slow  # a minute of compiling
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_lora_is_compiled_to_the_same_losses(root: Path) -> None:
    pytest.importorskip("peft")
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("there is no C++ compiler")
    plain = options(root, "lora", TRANSFORMER, LAST, rank=4).as_dict()
    found = []
    for how in (False, True):
        asked = {**plain, "experiment_name": f"compiled {how}", "training": {**plain["training"], "compile": how}}
        run = fine_tune(asked, results_dir=root / "results", device="cpu")
        with (run.folder / "metrics.csv").open() as file:
            found.append([float(row["val_loss"]) for row in csv.DictReader(file)])
    assert len(set(found[0])) == 4 and found[1] == pytest.approx(found[0], rel=1e-4)


def test_recipes_that_are_searched_have_room_for_their_adapter(root: Path) -> None:
    """Whatever recipe loaded the network first: a LoRA recipe's epochs are those of its run, bit for bit."""
    pytest.importorskip("peft")
    asked = options(root, "lora", TRANSFORMER, rank=4)
    run, _, _ = tuned(root, asked)
    first = options(root, "norm", TRANSFORMER)
    with recipe_trials(first, Session.begin(results_dir=root / "results", device="cpu"), None) as trials:
        trials.train(first, False, lambda head: True)
        found = trials.train(asked, False, lambda head: head.curve[-1].epoch == 0).head.curve
    with (run.folder / "metrics.csv").open() as file:
        assert [float(row["val_loss"]) for row in csv.DictReader(file)][:2] == [row.val_loss for row in found]


def test_what_cannot_be_adapted_is_said(root: Path) -> None:
    with pytest.raises(OptionsError, match=r"rank and alpha are of kind lora"):
        options(root, "norm", rank=4)
    with pytest.raises(OptionsError, match="unfreeze_schedule too"):
        parse_options({**options(root, "norm").as_dict(), "training": {"adapter": {"kind": "norm"}}})
    with pytest.raises(InputError, match=r"peft|for transformers"):
        load_network(options(root, "lora"), True)
    assert options(root, "norm").short != options(root, "bitfit").short
