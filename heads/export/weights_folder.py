"""A run as safetensors, config.json and a model.py that builds the network with its library alone."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from featcache.records import Preprocessing
from heads.export.export_parity import Runner
from heads.export.library_recipe import LibraryRecipe, own_network, recipe_of
from heads.export.made_export import MadeExport
from heads.export.model_inputs import Batch, ModelInputs
from heads.export.opened_run import OpenedRun

FILE, CONFIG, MODULE = "model.safetensors", "config.json", "model.py"

USAGE = """
import torch
from model import load
from preprocess import batch_of

model = load()
images = [torch.from_numpy(one) for one in batch_of(["a.jpg", "b.jpg"])]
probabilities = model(*images).softmax(1)
"""


def write_weights(run: OpenedRun, inputs: ModelInputs, folder: Path) -> MadeExport:
    """`model.safetensors`, `config.json` and `model.py` in `folder`, loaded back; raises InputError where the network
    is of no library."""
    names = run.model.options.model.names
    recipes = [recipe_of(part, name, "safetensors") for part, name in zip(run.parts, names, strict=True)]
    weights = {f"head.{k}": v for k, v in run.model.head.state_dict().items()}
    for n, part in enumerate(run.parts):
        weights |= {f"backbones.{n}.network.{k}": v for k, v in own_network(part).state_dict().items()}
    save_tensors(weights, folder / FILE)
    config = config_of(run, inputs, recipes, {FILE: ""})
    copy_module(folder)
    # What lies behind the place where features are taken is built and never run: there are no weights of it.
    built = load_module(folder / MODULE).Model(config)
    config["not_used"] = sorted(set(built.state_dict()) - set(weights))
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    libraries = sorted({recipe.library for recipe in recipes})
    return MadeExport(runner(folder), runtime(libraries), {"libraries": libraries}, usage=USAGE)


def config_of(
    run: OpenedRun, inputs: ModelInputs, recipes: list[LibraryRecipe], weights: Mapping[str, str]
) -> dict[str, Any]:
    """What model.py reads; `weights` are the files and what stands before the names in them."""
    return {
        "backbones": [
            {
                "library": recipe.library,
                "architecture": recipe.architecture,
                "arguments": recipe.arguments,
                "pretrained_cfg": recipe.record,
                "tap": part.info.identity.tap,
                "features": part.features,
                "input": inputs.of_part[n],
                **_scale(part.preprocessing),
            }
            for n, (part, recipe) in enumerate(zip(run.parts, recipes, strict=True))
        ],
        "head": {
            "dims": [run.features, *widths(run.model.head)],
            "normalise": normalisation(run.model.head),
        },
        "temperature": run.temperature,
        "classes": list(run.model.classes),
        "input": inputs.kind,
        "preprocessing": [asdict(part.preprocessing) for part in run.parts],
        "weights": dict(weights),
        "not_used": [],
    }


def widths(head: nn.Module) -> list[int]:
    """What each linear layer of a head gives."""
    return [layer.out_features for layer in head.modules() if isinstance(layer, nn.Linear)]


def normalisation(head: nn.Module) -> str:
    """How a head normalises each image's features by themselves: what is fitted on images is in its weights."""
    kinds = {nn.RMSNorm: "l2", nn.LayerNorm: "layernorm"}
    return next((kinds[type(layer)] for layer in head.modules() if type(layer) in kinds), "none")


def save_tensors(weights: Mapping[str, Tensor], file: Path) -> None:
    """As safetensors, each with memory of its own: networks share some of theirs, which the format refuses."""
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}, file)


def copy_module(folder: Path) -> None:
    """model.py, which is the file beside this one."""
    shutil.copyfile(Path(__file__).with_name("standalone_model.py"), folder / MODULE)


def load_module(file: Path) -> ModuleType:
    """An exported module, from its own file."""
    spec = importlib.util.spec_from_file_location("featcache_exported_model", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def runner(folder: Path) -> Runner:
    """Logits by the model.py in `folder`."""
    model = load_module(folder / MODULE).load(folder)

    def logits(batch: Batch) -> NDArray[np.generic]:
        with torch.inference_mode():
            found: NDArray[np.generic] = model(*map(torch.from_numpy, batch)).numpy()
        return found

    return logits


def runtime(libraries: list[str]) -> str:
    """The versions of torch and the libraries."""
    from importlib.metadata import version

    return ", ".join(f"{name} {version(name)}" for name in ("torch", "safetensors", *libraries))


def _scale(recipe: Preprocessing) -> dict[str, list[float]]:
    return {"mean": list(recipe.mean), "std": list(recipe.std)}
