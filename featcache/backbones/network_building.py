"""A source and options in, the network without its classifier out, tried once so that its features are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from featcache.backbones.classifier_removal import FeaturesThenPool, drop_unused, remove_classifier, run_once
from featcache.backbones.patches import (
    COMMON_STRIDE,
    multiples_around,
    patch_side,
    sizes_that_fit,
    takes,
    watched_patches,
)
from featcache.backbones.shape_only import shapes
from featcache.backbones.source import Published, Source
from featcache.errors import FeatcacheError, InputSizeError, WeightsError, WorkError
from featcache.options import ModelOptions
from featcache.records import Preprocessing

SIZES_TO_TRY = (32, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384, 448, 512)  # pixels


@dataclass(frozen=True)
class Trunk:
    """A network without its classifier."""

    trunk: nn.Module
    named: nn.Module  # the trunk under the network's own names
    whole: set[str]  # names of the weights with the classifier
    preprocessing: Preprocessing
    tap: str
    features: int


def build_trunk(options: ModelOptions, source: Source, published: Published | None, hub_file: Path | None) -> Trunk:
    """The network that `options` name, in evaluation mode, with the published weights of `hub_file` or its own random
    ones; raises InputSizeError, WeightsError, or WorkError where it cannot be built or run.
    """
    # Building draws random numbers: from the weights' own seed, and leaving the caller's generator as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(options.weights_seed)
        try:
            network, preprocessing = source.build(options.backbone, published, hub_file, options.input_size)
        except FeatcacheError:
            raise
        except Exception as error:
            _raise_for_size(options, source, error)
            if hub_file is not None:
                own = published is not None and published.path is not None  # the user's: nothing brings it back
                remedy = "Are they of this network?" if own else "Remove the file so that it is downloaded again."
                raise WeightsError(
                    f"{options.backbone}: the weights in {hub_file} cannot be loaded ({error}). {remedy}"
                ) from error
            raise WorkError(f"{options.backbone}: cannot be built: {error}.") from error
    network.eval()
    whole = set(network.state_dict())
    trunk, tap = remove_classifier(network)
    trunk.eval()
    features = _probe(trunk, preprocessing, options, source)
    # timm's networks keep their own names although they are wrapped to stop at the pooling.
    named = trunk.network if isinstance(trunk, FeaturesThenPool) else trunk
    return Trunk(trunk, named, whole, preprocessing, tap, features)


def _probe(trunk: nn.Module, preprocessing: Preprocessing, options: ModelOptions, source: Source) -> int:
    """Run the network once on noise: discovers F and drops what lies behind the tap."""
    side = preprocessing.input_size
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        with watched_patches(trunk, side) as patches:
            output, ran = run_once(trunk, images)
    except WorkError as error:
        raise WorkError(f"{options.backbone}: {error}") from None
    except Exception as error:  # networks assert, divide by zero or run out of pixels, each in its own way
        patch = patch_side(trunk)
        can = sizes_that_fit(source, options.backbone, side, patch) if patch else ()
        can = can or tuple(s for s in SIZES_TO_TRY if s != side and _takes(trunk, s))
        can = can or sizes_that_fit(source, options.backbone, side, COMMON_STRIDE)
        # A network that is built for one size takes no other afterwards: name the one it is published for.
        can = can or (source.build(options.backbone, None, None, None)[1].input_size,)
        raise _wrong_size(options, side, error, can) from None
    if patches.missed and options.input_size is not None and side != _published_side(options, source):
        nearest = " and ".join(map(str, multiples_around(side, patches.unit)))
        raise InputSizeError(
            f"model.input_size: {options.backbone} cuts images into patches, and {side} is no multiple of their "
            f"{patches.unit} pixels: the last {side % patches.unit} of every row and column would be dropped. The "
            f"nearest sizes are {nearest}."
        )
    drop_unused(trunk, ran, images)
    return output.shape[1]


def _raise_for_size(options: ModelOptions, source: Source, error: Exception) -> None:
    """Raise InputSizeError where a network cannot be built for the wanted size, and can for the published one."""
    side = options.input_size
    if side is None or takes(source, options.backbone, side) or not takes(source, options.backbone):
        return
    can = sizes_that_fit(source, options.backbone, side, COMMON_STRIDE)
    raise _wrong_size(options, side, error, can or (_published_side(options, source),)) from None


def _wrong_size(options: ModelOptions, side: int, error: Exception, can: Sequence[int]) -> InputSizeError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return InputSizeError(
        f"model.input_size: {options.backbone} cannot take images of {side} x {side} pixels ({reason}). "
        f"It can take {', '.join(map(str, can))}."
    )


def _published_side(options: ModelOptions, source: Source) -> int:
    known = shapes(source, options.backbone)
    return known[1] if known else source.build(options.backbone, None, None, None)[1].input_size


def _takes(trunk: nn.Module, side: int) -> bool:
    try:
        run_once(trunk, torch.zeros(1, 3, side, side))
    except Exception:  # whatever it raises, it does not take this size
        return False
    return True
