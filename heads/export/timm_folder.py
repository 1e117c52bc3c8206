"""A run as a folder that `timm.create_model("local-dir:..", pretrained=True)` loads: with its classifier where timm's
network can hold the run's head, else the backbone, and the head beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcache.backbones import put_weights
from featcache.errors import InputError, WorkError
from heads.export.library_recipe import LibraryRecipe, own_network, recipe_of
from heads.export.made_export import MadeExport
from heads.export.model_inputs import Batch, ModelInputs
from heads.export.opened_run import OpenedRun
from heads.export.weights_folder import (
    FILE,
    config_of,
    copy_module,
    normalisation,
    runner,
    runtime,
    save_tensors,
    widths,
)

CLOSE = 1e-4  # a classifier that is the run's head gives its logits up to rounding: as a share of the largest
HEAD_FILE = "head.safetensors"

WHOLE = """
import timm
from PIL import Image

model = timm.create_model("local-dir:.", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
probabilities = model(transform(Image.open("a.jpg").convert("RGB"))[None]).softmax(1)
"""
WITH_HEAD = """
import torch
from model import load  # timm's network of this folder, with head.safetensors behind it
from preprocess import batch_of

model = load()
probabilities = model(*map(torch.from_numpy, batch_of(["a.jpg", "b.jpg"]))).softmax(1)
"""


def write_timm(run: OpenedRun, inputs: ModelInputs, folder: Path) -> MadeExport:
    """timm's `config.json` and `model.safetensors` in `folder`, loaded back. Raises InputError where the run has
    another library's network, or several."""
    name = run.model.options.model.backbone
    if len(run.parts) > 1:
        raise InputError(f"--to timm: {name} joins {len(run.parts)} networks, and timm's folder holds one.")
    recipe = recipe_of(run.parts[0], name, "timm")
    if recipe.library != "timm":
        raise InputError(
            f"--to timm: {name} is {recipe.library}'s network, which timm does not build. Choose --to safetensors."
        )
    reason = cannot_hold(run)
    network = None if reason else _with_classifier(run, recipe)
    if network is not None:
        return _write_whole(run, recipe, network, folder)
    return _write_beside(run, inputs, recipe, folder, reason or NOT_LINEAR)


NOT_LINEAR = "timm's network does more between its pooling and its classifier than this run's head was trained behind"


def cannot_hold(run: OpenedRun) -> str:
    """Why timm's classifier, one linear layer, cannot be the run's head; empty where it may."""
    hidden = widths(run.model.head)[:-1]
    if hidden:
        return f"the head has hidden layers ({', '.join(map(str, hidden))} wide), and timm's classifier is one layer"
    normalised = normalisation(run.model.head)
    if normalised != "none":
        return f"the head stands behind head.normalise {normalised}, which no weights can hold"
    return ""


def _with_classifier(run: OpenedRun, recipe: LibraryRecipe) -> nn.Module | None:
    """timm's network with the head as its classifier; None where that gives something else than the run."""
    network = _build(recipe, len(run.model.classes))
    trunk = own_network(run.parts[0])
    try:
        network.load_state_dict(trunk.state_dict(), strict=False)
        classifier: Any = network.get_classifier()  # type: ignore[operator]  # timm's own method
        (linear,) = (layer for layer in run.model.head.modules() if isinstance(layer, nn.Linear))
        put_weights(classifier, {k: v / run.temperature for k, v in linear.state_dict().items()})
        same = _same(run, network)
    except (AttributeError, RuntimeError, TypeError, ValueError):  # of shapes, or of a classifier that is no layer
        return None
    return network if same else None


def _same(run: OpenedRun, network: nn.Module) -> bool:
    side = run.parts[0].preprocessing.input_size
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = run.model.head(run.parts[0](images)) / run.temperature
        found: Tensor = network(images)
    return bool((found - expected).abs().max() <= CLOSE * expected.abs().max().clamp_min(1))


def _write_whole(run: OpenedRun, recipe: LibraryRecipe, network: nn.Module, folder: Path) -> MadeExport:
    _write_folder(run, recipe, network, len(run.model.classes), folder)
    model = _load(folder)

    def logits(batch: Batch) -> NDArray[np.generic]:
        with torch.inference_mode():
            found: NDArray[np.generic] = model(torch.from_numpy(batch[0])).numpy()
        return found

    return MadeExport(logits, runtime(["timm"]), {"classifier": True}, usage=WHOLE)


def _write_beside(run: OpenedRun, inputs: ModelInputs, recipe: LibraryRecipe, folder: Path, reason: str) -> MadeExport:
    network = _build(recipe, 0)
    network.load_state_dict(own_network(run.parts[0]).state_dict(), strict=False)
    _write_folder(run, recipe, network, 0, folder)
    kept = _load(folder).state_dict()
    if not all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items()):
        raise WorkError(f"{run.record.folder.name}: timm loads other weights than were written to {folder}.")
    save_tensors(run.model.head.state_dict(), folder / HEAD_FILE)
    config = config_of(run, inputs, [recipe], {FILE: "backbones.0.network.", HEAD_FILE: "head."})
    (folder / "model.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    copy_module(folder)
    note = (
        f"timm.create_model loads the backbone alone: {reason}. The head is in {HEAD_FILE}; model.py puts both together"
    )
    return MadeExport(runner(folder), runtime(["timm"]), {"classifier": False}, (note,), WITH_HEAD)


def _build(recipe: LibraryRecipe, classes: int) -> nn.Module:
    """The network; layers that no run has weights of (behind the place where features are taken) are seeded."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network: nn.Module = timm.create_model(
            recipe.architecture,
            pretrained=False,
            pretrained_cfg=dict(recipe.record or {}),
            num_classes=classes,
            **recipe.arguments,
        )
    return network.eval()


def _write_folder(run: OpenedRun, recipe: LibraryRecipe, network: nn.Module, classes: int, folder: Path) -> None:
    save_tensors(network.state_dict(), folder / FILE)
    config = {
        "architecture": recipe.architecture,
        "num_classes": classes,
        "num_features": run.features,
        **({"label_names": list(run.model.classes)} if classes else {}),
        "model_args": dict(recipe.arguments),
        "pretrained_cfg": {**(recipe.record or {}), "num_classes": classes, "custom_load": False},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _load(folder: Path) -> nn.Module:
    import timm

    network: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return network.eval()
