"""Backbones, head and temperature as one module that knows nothing of featcache's classes: what graphs are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featcache.records import Preprocessing
from heads.export.model_inputs import ModelInputs
from heads.export.opened_run import OpenedRun

OUTPUTS = ("logits", "probabilities")


class Scale(nn.Module):
    """Uint8 `[N, S, S, 3]` becomes a network's float32 input `[N, 3, S, S]`, as `featcache.data.normalise` does it."""

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        for name, value in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            self.register_buffer(name, torch.tensor(value).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images."""
        return (images.permute(0, 3, 1, 2).to(torch.float32) / 255 - self.mean) / self.std


class DeployedModel(nn.Module):
    """Images of every input to logits `[N, C]`, divided by the run's temperature, and probabilities `[N, C]`."""

    def __init__(self, run: OpenedRun, inputs: ModelInputs) -> None:
        super().__init__()
        self.networks = nn.ModuleList(part.network for part in run.parts)
        recipes = [part.preprocessing for part in run.parts]
        self.scales = nn.ModuleList(Scale(p) if inputs.kind == "uint8" else nn.Identity() for p in recipes)
        self.head = run.model.head
        self.temperature = run.temperature
        self.of_part = inputs.of_part
        self.requires_grad_(False)
        self.eval()

    def forward(self, *images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and probabilities."""
        features = [
            network(scale(images[place]))
            for network, scale, place in zip(self.networks, self.scales, self.of_part, strict=True)
        ]
        logits: Tensor = self.head(torch.cat(features, dim=1)) / self.temperature
        return logits, logits.softmax(dim=1)
