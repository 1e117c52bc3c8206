"""A checkpoint's file in, the tensors in it out, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from featcache.errors import WeightsError

CONTAINERS = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model",
)  # of training checkpoints
WRAPPERS = ("module.", "_orig_mod.")  # DataParallel's and torch.compile's


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors in a .pth or .safetensors file, by name, unwrapped from a checkpoint; raises WeightsError."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each raise their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(
            f"model.weights: {path} cannot be read ({reason}). Expected a state dict saved by torch.save, loadable "
            "with weights_only=True, or a .safetensors file."
        ) from None
    for key in CONTAINERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsError(
            f"model.weights: {path} holds no state dict (names to tensors) but a {type(loaded).__name__}."
        )
    return {_plain(str(k)): v for k, v in loaded.items()}


def _plain(key: str) -> str:
    for wrapper in WRAPPERS:
        key = key.removeprefix(wrapper)
    # The names of DenseNet's layers in the hub's files ("norm.1"), which PyTorch has not allowed since 0.4.
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key)
