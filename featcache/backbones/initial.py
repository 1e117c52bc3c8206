"""Seeded random weights that stay useful in deep networks.

A network's own initialisation is kept wherever its signal survives it. Where it does not (batch norms with the
statistics 0 and 1 normalise nothing, so an untrained ResNet-152 multiplies its features up to millions and
MobileNets divide theirs down to 1e-9), the batch norms' statistics are estimated on seeded synthetic images with the
1/f spectrum of photographs. That is what training would do first (Ioffe and Szegedy 2015, section 3.1), as
data-dependent initialisation (Mishkin and Matas 2016, "All you need is a good init"). The user's images play no part,
so the weights, and with them the cached rows, are the same for every data set.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

PROBE_IMAGES = 32
RMS_RANGE = (1e-2, 1e2)  # of the pooled features: outside, AdamW's steps and float16 both do badly
MIN_SPREAD = 1e-2  # deviation between images over RMS: below, every image gives nearly the same features


def synthetic_images(size: int, seed: int) -> Tensor:
    """`PROBE_IMAGES` normalised images `[N, 3, size, size]` with a 1/f amplitude spectrum (Field 1987) and colour
    channels that agree with each other as those of photographs do."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(PROBE_IMAGES, 3, size, size, generator=generator)
    fy, fx = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    amplitude = 1 / torch.sqrt(fy**2 + fx**2).clamp_min(1 / size)
    images = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(size, size))
    mixing = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.44, 0.0], [0.85, 0.3, 0.43]])  # unit rows: correlation about 0.9
    images = torch.einsum("ij,njhw->nihw", mixing, images)
    return images / images.std()


def signal_survives(features: Tensor) -> bool:
    """Whether pooled features `[N, F]` are finite, of moderate size, and differ between images."""
    if not torch.isfinite(features).all():
        return False
    features = features.double()
    rms = features.pow(2).mean().sqrt()
    spread = features.var(dim=0).mean().sqrt() / rms
    return bool(RMS_RANGE[0] <= rms <= RMS_RANGE[1] and spread >= MIN_SPREAD)


def settle(backbone: nn.Module, size: int, seed: int) -> bool:
    """Estimate the batch norms' statistics when the untrained `backbone` needs it; returns whether it did."""
    images = synthetic_images(size, seed)
    norms = [m for m in backbone.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    with torch.inference_mode():
        survives = signal_survives(backbone(images))
    if survives or not norms:
        return False
    momentum = [n.momentum for n in norms]
    for norm in norms:  # only they: dropout and stochastic depth stay as in evaluation
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average: the statistics of this one batch
    with torch.no_grad():
        backbone(images)
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
        norm.eval()
    return True
