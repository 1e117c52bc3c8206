"""What is known of features on the training images, and how a head takes it into its first layer, and out again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Fit:
    """What every feature is taken less, and over: float64 `[F]` each."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]

    def module(self, device: torch.device) -> nn.Module:
        """`(x - mean) / spread` of features `[N, F]`, without weights, on a device."""
        return _Standardisation(self, device)

    def folded(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A head of normalised features as one of plain ones: W / spread, and b - W (mean / spread)."""
        weight, bias = state["0.weight"].cpu().double(), state["0.bias"].cpu().double()
        weight = weight / torch.from_numpy(self.spread)
        return _with_first(state, weight, bias - weight @ torch.from_numpy(self.mean))

    def unfolded(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A head of plain features as one of normalised ones, the other way round."""
        weight, bias = state["0.weight"].cpu().double(), state["0.bias"].cpu().double()
        bias = bias + weight @ torch.from_numpy(self.mean)
        return _with_first(state, weight * torch.from_numpy(self.spread), bias)


class _Standardisation(nn.Module):
    """Not part of any state: a head is kept with it folded in."""

    mean: Tensor
    spread: Tensor

    def __init__(self, fit: Fit, device: torch.device) -> None:
        super().__init__()
        kind = torch.float32 if device.type == "mps" else torch.float64  # which has no other
        for name, values in (("mean", fit.mean), ("spread", fit.spread)):
            self.register_buffer(name, torch.from_numpy(values).to(device, kind), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Float32, whatever comes."""
        return ((x.to(self.mean.dtype) - self.mean) / self.spread).float()


def _with_first(state: dict[str, Tensor], weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """A head's state with another first layer, of the type and on the device of its own."""
    first = {"0.weight": weight, "0.bias": bias}
    return {n: first[n].to(dtype=v.dtype).to(v.device) if n in first else v for n, v in state.items()}
