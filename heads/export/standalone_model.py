"""The model beside this file: `load()` builds it with torch, safetensors, and timm or torchvision, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d


class ToVector(nn.Module):
    """In the place of a classifier: what it was given, as [N, F]."""

    def forward(self, x: Tensor) -> Tensor:
        """Pool a map, flatten."""
        return adaptive_avg_pool2d(x, 1).flatten(1) if x.ndim == 4 else x.flatten(1)


class Backbone(nn.Module):
    """A library's network without its classifier: normalised images [N, 3, S, S] to features [N, F]."""

    def __init__(self, part: dict[str, Any]) -> None:
        super().__init__()
        self.network: Any = timm_network(part) if part["library"] == "timm" else torchvision_network(part)
        self.pool = part["tap"].removeprefix("output of ") if part["library"] == "timm" else part["tap"]

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features, before any layer of the classifier."""
        if not self.pool.endswith("global_pool"):
            features: Tensor = self.network(images)
            return features
        pool, maps = self.network.get_submodule(self.pool), self.network.forward_features(images)
        pooled: Tensor = pool(maps).flatten(1)
        return pooled


class Model(nn.Module):
    """Images, a batch for each input of preprocessing.json, to logits [N, C]; their softmax are the probabilities."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.backbones = nn.ModuleList(Backbone(part) for part in config["backbones"])
        self.head = head(config["head"])

    def forward(self, *images: Tensor) -> Tensor:
        """Logits, divided by the temperature."""
        features = []
        for backbone, part in zip(self.backbones, self.config["backbones"], strict=True):
            x = images[part["input"]]
            if self.config["input"] == "uint8":
                mean, std = (x.new_tensor(part[k], dtype=torch.float32).view(1, 3, 1, 1) for k in ("mean", "std"))
                x = (x.permute(0, 3, 1, 2).to(torch.float32) / 255 - mean) / std
            features.append(backbone(x))
        logits: Tensor = self.head(torch.cat(features, dim=1)) / self.config["temperature"]
        return logits


def timm_network(part: dict[str, Any]) -> Any:
    """By timm's own factory."""
    import timm

    network: Any = timm.create_model(
        part["architecture"], pretrained=False, pretrained_cfg=part["pretrained_cfg"], **part["arguments"]
    )
    network.reset_classifier(0)
    return network


def torchvision_network(part: dict[str, Any]) -> Any:
    """By torchvision's own factory; its auxiliary classifiers are of training alone."""
    from torchvision import models

    network: Any = models.get_model(part["architecture"], weights=None, **part["arguments"])
    for name, _ in list(network.named_children()):
        if name.lower().startswith("aux"):
            setattr(network, name, None)
            network.aux_logits = False
    setattr(network, part["tap"].removeprefix("input of "), ToVector())
    return network


def head(config: dict[str, Any]) -> nn.Sequential:
    """Linear - ReLU - .. - Linear, behind what each image's features are normalised by."""
    dims, width = config["dims"], config["dims"][0]
    layers: dict[str, nn.Module] = {}
    if config["normalise"] == "l2":
        layers["normalise"] = nn.RMSNorm(width, eps=1e-20, elementwise_affine=False)
    if config["normalise"] == "layernorm":
        layers["normalise"] = nn.LayerNorm(width, eps=1e-20, elementwise_affine=False)
    for n in range(len(dims) - 1):
        layers[str(3 * n)] = nn.Linear(dims[n], dims[n + 1])
        if n < len(dims) - 2:
            layers |= {str(3 * n + 1): nn.ReLU(), str(3 * n + 2): nn.Dropout(0.0)}
    module = nn.Sequential()
    for name, layer in layers.items():
        module.add_module(name, layer)
    return module


def load(folder: str | Path = Path(__file__).parent) -> Model:
    """The model in evaluation mode, with the weights in `folder`; raises ValueError where they are not its own."""
    folder = Path(folder)
    file = folder / "model.json"
    config = json.loads((file if file.exists() else folder / "config.json").read_text("utf-8"))
    model = Model(config)
    weights: dict[str, Tensor] = {}
    for name, prefix in config["weights"].items():
        weights |= {f"{prefix}{key}": tensor for key, tensor in load_file(folder / name).items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - set(config["not_used"]):
        raise ValueError(
            f"the weights are not of this network: {[*unexpected, *missing][:3]}; see the versions in README"
        )
    return model.eval()
