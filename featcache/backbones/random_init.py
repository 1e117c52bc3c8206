"""An untrained network in, the same one out with seeded random weights that stay useful, however deep it is.

A network's own initialisation is kept wherever its signal survives it. Where it does not (batch norms with the
statistics 0 and 1 normalise nothing, so an untrained ResNet-152 multiplies its features up to millions and
MobileNets divide theirs down to 1e-9), each batch norm is given the mean and variance of its layer's input, so that
every layer starts with unit variance: the layer-sequential unit-variance initialisation (LSUV) of Mishkin and Matas
2016, "All you need is a good init", section 3. The input is seeded synthetic images with the 1/f spectrum of
photographs: the user's images play no part, so the weights, and with them the cached rows, are the same for every
data set.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

PROBE_IMAGES = 32
RMS_RANGE = (1e-2, 1e2)  # of the pooled features: outside, AdamW's steps and float16 both do badly
RESCALINGS = 3  # of the last layer: an activation behind it bends the scale a little
MIN_SPREAD = 1e-2  # deviation between images over RMS: below, every image gives nearly the same features


def synthetic_images(size: int, seed: int) -> Tensor:
    """`PROBE_IMAGES` normalised images `[N, 3, size, size]`: a 1/f amplitude spectrum (Field 1987), colour channels
    that agree with each other as those of photographs do, flat and contrasty, dark and bright ones."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(PROBE_IMAGES, 3, size, size, generator=generator)
    fy, fx = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    amplitude = 1 / torch.sqrt(fy**2 + fx**2).clamp_min(1 / size)
    images = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(size, size))
    mixing = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.44, 0.0], [0.85, 0.3, 0.43]])  # unit rows: correlation about 0.9
    images = torch.einsum("ij,njhw->nihw", mixing, images)
    contrast = 0.25 + torch.rand(PROBE_IMAGES, 1, 1, 1, generator=generator)
    brightness = torch.randn(PROBE_IMAGES, 1, 1, 1, generator=generator)
    return contrast * images / images.std() + brightness


def signal_survives(features: Tensor) -> bool:
    """Whether pooled features `[N, F]` are finite, of moderate size, and differ between images."""
    if not torch.isfinite(features).all():
        return False
    features = features.double()
    rms = features.pow(2).mean().sqrt()
    spread = features.var(dim=0).mean().sqrt() / rms
    return bool(RMS_RANGE[0] <= rms <= RMS_RANGE[1] and spread >= MIN_SPREAD)


def settle(backbone: nn.Module, size: int, seed: int) -> bool:
    """Scale the batch norms of the untrained `backbone` when its signal does not survive; returns whether it did."""
    norms = [m for m in backbone.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return False  # nothing to scale: the pass, a minute for a large transformer, can be spared
    images = synthetic_images(size, seed)
    with torch.inference_mode():
        survives = signal_survives(backbone(images))
    if survives:
        return False
    # In the order of the pass: each layer sees its input as the layers before it, already scaled, leave it.
    order: list[_BatchNorm] = []
    hooks = [norm.register_forward_pre_hook(_unit_variance) for norm in norms]
    hooks += [norm.register_forward_pre_hook(lambda n, _: order.append(n)) for norm in norms]
    try:
        with torch.no_grad():
            backbone(images)
    finally:
        for hook in hooks:
            hook.remove()
    # The extreme images decide a layer's variance and leave the typical one small; the last layer makes up for it.
    for _ in range(RESCALINGS):
        with torch.inference_mode():
            typical = backbone(images).pow(2).mean(dim=1).sqrt().median()
        if not (typical > 0 and torch.isfinite(typical)):
            break
        assert isinstance(order[-1].running_var, Tensor)
        order[-1].running_var.mul_(typical**2)
    return True


def _unit_variance(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """One mean and one variance for the whole layer. Those of single channels would whiten what little differs
    between images together with the noise: measured on the embedded digits, that costs 5 to 30 points of accuracy."""
    assert isinstance(norm.running_mean, Tensor) and isinstance(norm.running_var, Tensor)
    norm.running_mean.fill_(inputs[0].mean())
    norm.running_var.fill_(inputs[0].var())
