"""Backbones by name: `load_backbone` gives images -> pooled features, `load_model` images -> logits."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import PIL
import torch
import torchvision
from torch import Tensor, nn

from featcache import __version__
from featcache.atomic import write_text
from featcache.backbones.classifier_removal import FeaturesThenPool, drop_unused, remove_classifier, run_once
from featcache.backbones.libraries import Custom, Published, Source, Timm, Torchvision
from featcache.backbones.modules import Backbone, JoinedBackbone, Model, build_head, resolve_dims
from featcache.backbones.network_blocks import blocks
from featcache.backbones.random_init import settle
from featcache.backbones.weights import load_file_into, put_weights, resolve, tensor_digest
from featcache.errors import (
    FeatcacheError,
    InputSizeError,
    OptionsError,
    UnknownBackboneError,
    WeightsError,
    WorkError,
)
from featcache.options import ModelOptions, Options
from featcache.records import BackboneInfo, Identity, Preprocessing, WeightsOrigin, digest

SIZES_TO_TRY = (32, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 299, 320, 384, 448, 512)  # pixels


def sources(allow_custom: bool = False) -> dict[str, Source]:
    """Every source by name, in the order that `auto` asks them."""
    return {s.name: s for s in (Torchvision(), Timm(), Custom(allow_custom))}


def find_source(name: str, source: str = "auto", allow_custom: bool = False) -> Source:
    """The source that has `name`; raises UnknownBackboneError with the nearest names."""
    every = sources(allow_custom)
    asked = list(every.values()) if source == "auto" else [every[source]]
    for candidate in asked:
        if candidate.has(name):
            return candidate
    known = [n for s in asked for n in s.names()]
    close = list(dict.fromkeys(difflib.get_close_matches(name, known, n=4, cutoff=0.5)))
    nearest = f" Nearest: {', '.join(close)}." if close else ""
    raise UnknownBackboneError(
        f"model.backbone: {name!r} is no classifier of {' or '.join(s.name for s in asked)}.{nearest} "
        "`featcache backbones` lists what can be named."
    )


def load_backbone(
    model: ModelOptions | str,
    *,
    precision: str = "float32",
    dtype: str = "auto",
    device: str | torch.device = "cpu",
    allow_custom: bool = False,
) -> Backbone:
    """The frozen backbone that `model` names (options, or just a name): images `[N, 3, S, S]` -> features `[N, F]`.

    Raises UnknownBackboneError, WeightsError, InputSizeError.
    """
    options = ModelOptions(backbone=model) if isinstance(model, str) else model
    source = find_source(options.backbone, options.source, allow_custom)
    origin, published = resolve(options, source, options.backbone)
    hub_file = Path(origin.location) if origin.kind == "hub" else None
    built = _build(options, source, published, hub_file)
    trunk, preprocessing = built.trunk, built.preprocessing
    if origin.kind == "file":
        load_file_into(built.named, built.whole - set(built.named.state_dict()), Path(origin.location))
    if origin.kind == "random" and settle(trunk, preprocessing.input_size, options.weights_seed):
        origin = WeightsOrigin("random", f"random({options.weights_seed})+lsuv", fell_back=origin.fell_back)
    identity = Identity(options.backbone, source.name, tensor_digest(trunk), preprocessing, built.tap, precision, dtype)
    params = sum(p.numel() for p in trunk.parameters())
    return Backbone(trunk, BackboneInfo(identity, built.features, params, origin)).to(device)


def rebuild_backbone(
    model: ModelOptions, identity: Identity, weights: Mapping[str, Tensor], *, allow_custom: bool = False
) -> Backbone:
    """The backbone of `identity` with other `weights` than it was published with: those that fine-tuning left.

    The published ones need not be at hand. Raises WeightsError where `weights` are not those of the network.
    """
    options = model.model_copy(update={"input_size": identity.preprocessing.input_size, "weights": None})
    source = find_source(options.backbone, options.source, allow_custom)
    published = next((p for p in source.published(options.backbone) if p.label == model.weights), None)
    built = _build(options, source, published, None)
    try:
        put_weights(built.trunk, weights)
    except ValueError as error:
        raise WeightsError(
            f"{options.backbone}: the weights are not those of this network ({error}). "
            f"They were made with other versions of {source.name} or of the code behind it: use those, or train again."
        ) from None
    tuned = replace(identity, weights=tensor_digest(built.trunk))
    params = sum(p.numel() for p in built.trunk.parameters())
    return Backbone(built.trunk, BackboneInfo(tuned, built.features, params, WeightsOrigin("file", "fine-tuned")))


def list_blocks(model: ModelOptions, *, allow_custom: bool = False) -> tuple[str, ...]:
    """The names of a backbone's blocks, stem first; its weights need not be at hand."""
    source = find_source(model.backbone, model.source, allow_custom)
    return tuple(block.name for block in blocks(_build(model, source, None, None).named))


@dataclass(frozen=True)
class _Built:
    """A network without its classifier."""

    trunk: nn.Module
    named: nn.Module  # the trunk under the network's own names
    whole: set[str]  # names of the weights with the classifier
    preprocessing: Preprocessing
    tap: str
    features: int


def _build(options: ModelOptions, source: Source, published: Published | None, hub_file: Path | None) -> _Built:
    # Building draws random numbers: from the weights' own seed, and leaving the caller's generator as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.weights_seed)
        try:
            network, preprocessing = source.build(options.backbone, published, hub_file, options.input_size)
        except FeatcacheError:
            raise
        except Exception as error:
            if hub_file is not None:
                raise WeightsError(
                    f"{options.backbone}: the weights in {hub_file} cannot be loaded ({error}). Remove the file so "
                    "that it is downloaded again."
                ) from error
            raise WorkError(f"{options.backbone}: cannot be built: {error}.") from error
    network.eval()
    whole = set(network.state_dict())
    trunk, tap = remove_classifier(network)
    trunk.eval()
    features = _probe(trunk, preprocessing, options, source)
    # timm's networks keep their own names although they are wrapped to stop at the pooling.
    named = trunk.network if isinstance(trunk, FeaturesThenPool) else trunk
    return _Built(trunk, named, whole, preprocessing, tap, features)


def load_parts(options: Options, *, allow_custom: bool = False) -> tuple[Backbone, ...]:
    """The frozen backbone that `options` name, or each of several that are joined."""
    return tuple(
        load_backbone(model, precision=options.training.precision, dtype=options.cache.dtype, allow_custom=allow_custom)
        for model in options.model.parts
    )


def _probe(trunk: nn.Module, preprocessing: Preprocessing, options: ModelOptions, source: Source) -> int:
    """Run the network once on noise: discovers F and drops what lies behind the tap."""
    side = preprocessing.input_size
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        output, ran = run_once(trunk, images)
    except WorkError as error:
        raise WorkError(f"{options.backbone}: {error}") from None
    except Exception as error:  # networks assert, divide by zero or run out of pixels, each in its own way
        can = [s for s in SIZES_TO_TRY if s != side and _takes(trunk, s)]
        # A network that is built for one size takes no other afterwards: name the one it is published for.
        can = can or [source.build(options.backbone, None, None, None)[1].input_size]
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputSizeError(
            f"model.input_size: {options.backbone} cannot take images of {side} x {side} pixels ({reason}). "
            f"It can take {', '.join(map(str, can))}."
        ) from None
    drop_unused(trunk, ran, images)
    return output.shape[1]


def _takes(trunk: nn.Module, side: int) -> bool:
    try:
        run_once(trunk, torch.zeros(1, 3, side, side))
    except Exception:  # whatever it raises, it does not take this size
        return False
    return True


def describe_backbone(options: Options, *, allow_custom: bool = False) -> tuple[BackboneInfo, Backbone | None]:
    """What is known of the backbone that `options` names, without building it when it was built here before.

    Returns the built backbone too when it had to be built. The memo is keyed by all that the build depends on: name,
    size, the weights file's path, size and time or the seed, and the libraries' versions.
    """
    model = options.model
    source = find_source(model.backbone, model.source, allow_custom)
    origin, _ = resolve(model, source, model.backbone)
    memo = Path(options.cache.dir) / "memo" / "backbones.json"
    key = digest(_recipe(options, source, origin))
    known = _read_memo(memo)
    if key in known and source.name != "custom":
        value = known[key]
        return (
            BackboneInfo(
                Identity.from_dict(value["identity"]),
                value["features"],
                value["params"],
                WeightsOrigin(**{**value["origin"], "fell_back": origin.fell_back}),
            ),
            None,
        )
    backbone = load_backbone(
        model, precision=options.training.precision, dtype=options.cache.dtype, allow_custom=allow_custom
    )
    info = backbone.info
    value = {
        "identity": info.identity.as_dict(),
        "features": info.features,
        "params": info.params,
        "origin": {"kind": info.origin.kind, "label": info.origin.label, "location": info.origin.location},
    }
    write_text(memo, json.dumps({**_read_memo(memo), key: value}))
    return info, backbone


def _recipe(options: Options, source: Source, origin: WeightsOrigin) -> dict[str, Any]:
    import timm

    stat = Path(origin.location).stat() if origin.kind in {"hub", "file"} else None
    return {
        "backbone": [options.model.backbone, source.name, options.model.input_size],
        "weights": [origin.kind, origin.location, stat and [stat.st_size, stat.st_mtime_ns]],
        "seed": options.model.weights_seed if origin.kind == "random" else None,
        "stored": [options.training.precision, options.cache.dtype],
        "versions": [__version__, torch.__version__, torchvision.__version__, timm.__version__, PIL.__version__],
        "identity": [*sorted(Identity.__dataclass_fields__), Identity.format_version],
    }


def _read_memo(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def load_model(
    options: Options,
    *,
    classes: int | None = None,
    device: str | torch.device = "cpu",
    allow_custom: bool = False,
) -> Model:
    """Images `[N, 3, S, S]` -> logits `[N, C]`: the backbone with a fresh `classifier_dims` head, seeded by
    `training.seed`. `classes` is needed where `classifier_dims` ends in "auto"."""
    last = options.model.classifier_dims[-1]
    if classes is None:
        if last == "auto":
            raise OptionsError('model.classifier_dims ends in "auto": pass classes=, or write the number of classes.')
        classes = int(last)
    parts = load_parts(options, allow_custom=allow_custom)
    backbone = parts[0] if len(parts) == 1 else JoinedBackbone(parts)
    dims = resolve_dims(options.model.classifier_dims, options.model.backbone, backbone.features, classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.training.seed)
        head = build_head(dims, options.model.dropout)
    return Model(backbone, head).to(device)
