"""A network with a file's weights in, what its batch norms say of how those were trained out; measured, not asked.

A batch norm keeps the mean and variance of what it was given in training. On images of a known kind the network gives
it something too, and the two disagree when the images are scaled otherwise than in training, or padded otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from featcache.backbones.random_init import synthetic_images
from featcache.records import Preprocessing

SEED = 2
SCALE_IMAGES, PADDING_IMAGES = 32, 4
FEW_IMAGES, LARGE_SIDE = 12, 288  # above that many pixels, fewer images do as well
PADDING_SIDE = 224  # pixels, whatever the run's images have: smaller maps have too few rows that are no edge
LIVE = 1e-3  # of the largest variance: channels below it are switched off
# Logarithms of ratios of variances. Measured on real weights (docs/backbones.md): 0.2 at most where the scaling is
# right, 1.3 at least where it is another of the known ones.
MAX_LOG_RATIO, SUITED_LOG_RATIO = 0.8, 0.5
# Of `edge_asymmetry`: 0.04 at most where the padding is right, 0.29 at least where it is not.
MAX_EDGES, MIN_EDGE_GAIN = 0.22, 0.1

Scaling = tuple[
    tuple[float, float, float], tuple[float, float, float]
]  # mean and std of each channel, of pixels from 0 to 1
IMAGENET: Scaling = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KNOWN_SCALINGS: Mapping[str, Scaling] = {
    "ImageNet's mean and std": IMAGENET,
    "mean and std 0.5 (pixels from -1 to 1)": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "pixels from 0 to 1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "pixels from 0 to 255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
}


@dataclass(frozen=True)
class ScalingDoubt:
    """The images' scaling does not suit the first batch norm, and another would."""

    ratio: float  # of the variance that it is given to the one that it was trained with
    better: str  # one of KNOWN_SCALINGS

    def applied_to(self, preprocessing: Preprocessing) -> Preprocessing:
        """The preprocessing with the scaling that suits better."""
        mean, std = KNOWN_SCALINGS[self.better]
        return replace(preprocessing, mean=mean, std=std)


def doubt_scaling(network: nn.Module, preprocessing: Preprocessing) -> ScalingDoubt | None:
    """Whether the first batch norm was trained on images scaled otherwise than `preprocessing` does; None where it
    agrees, where no known scaling explains the difference, or where the network has no trained batch norm."""
    side = preprocessing.input_size
    pixels = _pixels(SCALE_IMAGES if side <= LARGE_SIDE else FEW_IMAGES, side)
    asked = _first_log_ratio(network, _scaled(pixels, (preprocessing.mean, preprocessing.std)))
    if asked is None or abs(asked) <= MAX_LOG_RATIO:
        return None
    others = {name: _first_log_ratio(network, _scaled(pixels, known)) for name, known in KNOWN_SCALINGS.items()}
    name, best = min(((n, abs(r)) for n, r in others.items() if r is not None), key=lambda pair: pair[1])
    if best > SUITED_LOG_RATIO:
        return None
    return ScalingDoubt(float(torch.tensor(asked).exp()), name)


def padded_better(network: nn.Module, other: nn.Module, preprocessing: Preprocessing) -> bool:
    """Whether `other`, which holds the same tensors and pads otherwise, suits their batch norms better."""
    if not any(_is_trained(norm) for norm in network.modules()):
        return False
    images = _scaled(_pixels(PADDING_IMAGES, PADDING_SIDE), (preprocessing.mean, preprocessing.std))
    asked = edge_asymmetry(network, images)
    return asked > MAX_EDGES and asked - edge_asymmetry(other, images) > MIN_EDGE_GAIN


def edge_asymmetry(network: nn.Module, images: Tensor) -> float:
    """How differently a network's maps stand out at their left and top edges and at their right and bottom ones.

    A network that pads as in training treats all edges alike. Each batch norm's input is standardised with the
    statistics that it keeps; at each edge the mean square over that of the middle is taken, in logarithms, and the
    median over all batch norms. Returns the difference between the two pairs of edges.
    """
    edges: list[Tensor] = []

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0]
        if values.ndim != 4 or min(values.shape[-2:]) < 4:
            return
        assert isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None
        mean, deviation = norm.running_mean[:, None, None], norm.running_var[:, None, None].sqrt().clamp_min(1e-3)
        square = ((values - mean) / deviation).square().mean(dim=(0, 1))
        sides = torch.stack([square[:, 0].mean(), square[0].mean(), square[:, -1].mean(), square[-1].mean()])
        edges.append((sides / square[1:-1, 1:-1].mean()).log().abs())

    _watch(network, images, look)
    if not edges:
        return 0.0
    left, top, right, bottom = torch.stack(edges).median(dim=0).values.tolist()
    return float(abs(left + top - right - bottom) / 2)


def _first_log_ratio(network: nn.Module, images: Tensor) -> float | None:
    """The median over the first batch norm's live channels of log(variance given / variance kept)."""
    found: list[float] = []

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _BatchNorm) and norm.running_mean is not None and norm.running_var is not None
        kept = norm.running_var
        if not _is_trained(norm):
            raise _EnoughError
        given = inputs[0].var(dim=[d for d in range(inputs[0].ndim) if d != 1])
        live = (kept > LIVE * kept.max()) & (given > 0)
        if bool(live.any()):
            found.append(float((given[live] / kept[live]).log().median()))
        raise _EnoughError

    _watch(network, images, look)
    return found[0] if found else None


def _is_trained(module: nn.Module) -> bool:
    """Whether it is a batch norm with other variances than it was made with."""
    kept = module.running_var if isinstance(module, _BatchNorm) else None
    return kept is not None and not bool((kept == 1).all())


class _EnoughError(Exception):
    """The rest of the pass is not needed."""


def _watch(network: nn.Module, images: Tensor, look: Callable[[nn.Module, tuple[Tensor, ...]], None]) -> None:
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_var is not None]
    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        with torch.inference_mode():
            if norms:
                network(images)
    except _EnoughError:
        pass
    finally:
        for hook in hooks:
            hook.remove()


def _pixels(count: int, side: int) -> Tensor:
    """Synthetic photographs `[N, 3, side, side]` from 0 to 1."""
    images = synthetic_images(side, SEED)[:count]
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    return (images * std + mean).clamp(0, 1)


def _scaled(pixels: Tensor, scaling: Scaling) -> Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in scaling)
    return (pixels - mean) / std
