"""Backbones by name: `load_backbone` gives images -> pooled features, `load_model` images -> logits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from featcache.backbones.backbone import Backbone, JoinedBackbone
from featcache.backbones.checkpoint_loading import load_file_into
from featcache.backbones.configured_network import network_name
from featcache.backbones.model_with_head import Model, build_head, resolve_dims
from featcache.backbones.module_tensors import put_weights, tensor_digest
from featcache.backbones.network_blocks import blocks
from featcache.backbones.network_building import build_trunk
from featcache.backbones.random_init import settle
from featcache.backbones.source_lookup import find_source
from featcache.backbones.weight_packages import put_package_weights
from featcache.backbones.weights import resolve
from featcache.backbones.weights_doubts import doubts
from featcache.devices import pick_device
from featcache.errors import OptionsError, WeightsError
from featcache.options import CacheOptions, ModelOptions, Options, TrainingOptions, as_options
from featcache.records import BackboneInfo, Identity, WeightsOrigin

log = logging.getLogger("featcache")

STAND_IN = "%s: NO PRETRAINED WEIGHTS could be had: seeded random weights stand in (log level DEBUG says why)"


def load_backbone(
    model: Options | ModelOptions | Mapping[str, Any] | str | Path,
    *,
    precision: str | None = None,
    dtype: str | None = None,
    device: str | torch.device = "cpu",
    allow_custom: bool = False,
) -> Backbone:
    """The frozen backbone that `model` names: images `[N, 3, S, S]` -> features `[N, F]`.

    `model` is the options of a run (an Options, a plain dict, or the path of a file: a Path, or a str that ends in
    .json), a ModelOptions, or just a backbone's name. `precision` and `dtype` are those of the run's training.precision
    and cache.dtype unless given. Warns where random weights stand in for pretrained ones. Raises OptionsError,
    UnknownBackboneError, WeightsError, InputSizeError.
    """
    place = pick_device(device) if isinstance(device, str) else device
    run = _run_of(model)
    options = run.model
    if len(options.names) > 1:
        raise OptionsError(
            f"model.backbone: {options.backbone!r} names {len(options.names)} backbones, and load_backbone gives one. "
            "Name one of them, or join them with load_model."
        )
    backbone = make_backbone(
        options,
        run.precision if precision is None else precision,
        run.dtype if dtype is None else dtype,
        allow_custom=allow_custom,
    )
    _warn_of_stand_ins([backbone])
    return backbone.to(place)


def make_backbone(
    options: ModelOptions, precision: str, dtype: str, *, allow_custom: bool = False, settled: bool = True
) -> Backbone:
    """`load_backbone` on the CPU, for callers who say themselves where random weights stand in. Where only its costs
    are asked for, random weights need not be `settled`, which takes deep networks a while.
    """
    source = find_source(options.backbone, options.source, allow_custom)
    origin, published = resolve(options, source, options.backbone)
    hub_file = Path(origin.location) if origin.kind == "hub" else None
    built = build_trunk(options, source, published, hub_file)
    trunk, preprocessing = built.trunk, built.preprocessing
    beside = None
    if origin.kind == "file":
        beside = load_file_into(built.named, built.whole - set(built.named.state_dict()), origin.location)
    if origin.kind == "package":
        put_package_weights(built.named, Path(origin.location))
    if origin.kind == "random" and settled and settle(trunk, preprocessing.input_size, options.weights_seed):
        origin = WeightsOrigin("random", f"random({options.weights_seed})+lsuv", fell_back=origin.fell_back)
    name = network_name(options.backbone)
    identity = Identity(name, source.name, tensor_digest(trunk), preprocessing, built.tap, precision, dtype)
    if beside is not None:
        origin = replace(origin, doubts=_doubts_of(trunk, identity, origin.location, beside))
    say_doubts(identity, origin)
    params = sum(p.numel() for p in trunk.parameters())
    return Backbone(trunk, BackboneInfo(identity, built.features, params, origin))


def _warn_of_stand_ins(backbones: Sequence[Backbone]) -> None:
    for one in backbones:
        if one.info.origin.fell_back:
            log.warning(STAND_IN, one.info.identity.backbone)


# That were looked for in this process, which takes a second, of each file: another may hold the same tensors and note
# another architecture.
_doubts: dict[tuple[Identity, str], tuple[str, ...]] = {}
_said: set[tuple[str, Identity]] = set()


def _doubts_of(trunk: nn.Module, identity: Identity, location: str, beside: Mapping[str, Any]) -> tuple[str, ...]:
    if (identity, location) not in _doubts:
        _doubts[identity, location] = tuple(doubts(trunk, identity.backbone, identity.preprocessing, beside))
    return _doubts[identity, location]


def say_doubts(identity: Identity, origin: WeightsOrigin) -> None:
    """Warn where a file's weights seem to mean something else than they load as; once in a process."""
    if origin.doubts and (origin.label, identity) not in _said:
        _said.add((origin.label, identity))
        log.warning(
            "%s: are these weights of %s? It seems that %s", origin.label, identity.backbone, "; ".join(origin.doubts)
        )


@dataclass(frozen=True)
class _BackboneRun:
    """What of a run's options a backbone depends on."""

    model: ModelOptions
    precision: str = TrainingOptions().precision
    dtype: str = CacheOptions().dtype


def _run_of(value: Options | ModelOptions | Mapping[str, Any] | str | Path) -> _BackboneRun:
    if isinstance(value, ModelOptions):
        return _BackboneRun(value)
    if isinstance(value, str) and not value.lower().endswith(".json"):
        try:
            return _BackboneRun(ModelOptions(backbone=value))
        except ValidationError:
            raise OptionsError(
                f"model.backbone: {value!r} is no name. `featcache backbones` lists what can be named."
            ) from None
    options = as_options(value)
    return _BackboneRun(options.model, options.training.precision, options.cache.dtype)


def rebuild_backbone(
    model: ModelOptions, identity: Identity, weights: Mapping[str, Tensor], *, allow_custom: bool = False
) -> Backbone:
    """The backbone of `identity` with other `weights` than it was published with: those that fine-tuning left.

    The published ones need not be at hand. Raises WeightsError where `weights` are not those of the network.
    """
    options = model.model_copy(update={"input_size": identity.preprocessing.input_size, "weights": None})
    source = find_source(options.backbone, options.source, allow_custom)
    published = next((p for p in source.published(options.backbone) if p.label == model.weights), None)
    built = build_trunk(options, source, published, None)
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
    return tuple(block.name for block in blocks(build_trunk(model, source, None, None).named))


def load_parts(options: Options, *, allow_custom: bool = False) -> tuple[Backbone, ...]:
    """The frozen backbone that `options` name, or each of several that are joined."""
    return tuple(
        make_backbone(model, options.training.precision, options.cache.dtype, allow_custom=allow_custom)
        for model in options.model.parts
    )


def load_model(
    options: Options | Mapping[str, Any] | str | Path,
    *,
    classes: int | None = None,
    device: str | torch.device = "cpu",
    allow_custom: bool = False,
) -> Model:
    """Images `[N, 3, S, S]` -> logits `[N, C]`: the backbone with a fresh `classifier_dims` head, seeded by
    `training.seed`. `classes` is needed where `classifier_dims` ends in "auto". What `head.normalise` says of l2 or
    layernorm is in front of the head; standard and scale are fitted on images, so they come with `load_run` only.

    Accepts an Options, a plain dict or the path of an options file. Warns where random weights stand in for pretrained
    ones. Raises OptionsError, UnknownBackboneError, WeightsError, InputSizeError.
    """
    place = pick_device(device) if isinstance(device, str) else device
    run = as_options(options)
    last = run.model.classifier_dims[-1]
    if classes is None:
        if last == "auto":
            raise OptionsError('model.classifier_dims ends in "auto": pass classes=, or write the number of classes.')
        classes = int(last)
    parts = load_parts(run, allow_custom=allow_custom)
    _warn_of_stand_ins(parts)
    backbone = parts[0] if len(parts) == 1 else JoinedBackbone(parts)
    dims = resolve_dims(run.model.classifier_dims, run.model.backbone, backbone.features, classes)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(run.training.seed)
        head = build_head(dims, run.model.dropout, run.head.normalise)
    return Model(backbone, head).to(place)
