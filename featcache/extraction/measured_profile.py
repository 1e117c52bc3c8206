"""The profile of backbone and head on this device: read back from the store, or measured now."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from featcache.backbones import Backbone, build_head
from featcache.counted_nouns import counted
from featcache.data import EvalTransform, UnreadableImageError
from featcache.devices import device_name, one_image_too_many, out_of_memory
from featcache.errors import WorkError
from featcache.extraction.store_fill import StoreFill
from featcache.places import ImagePlace
from featcache.profiling import profile_model
from featcache.records import Profile, digest

log = logging.getLogger("featcache")

PREPROCESS_SAMPLE = 16  # images whose decoding is timed


def profile_key(fill: StoreFill, dims: Sequence[int], device: torch.device) -> str:
    """What a measurement depends on beside the network."""
    conditions: dict[str, Any] = {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "precision": fill.store.info.identity.precision,
        "dims": list(dims),
        "throughput_batch_size": fill.options.data.batch_size,
        **fill.options.profile.model_dump(),
    }
    return digest(conditions)[:16]


def known_profile(fill: StoreFill, key: str) -> Profile | None:
    """The profile, when it was measured under the same conditions before."""
    known = fill.store.profiles().get(key)
    return Profile.from_dict(known) if known is not None else None


def measure_profile(fill: StoreFill, dims: Sequence[int], backbone: Backbone, device: torch.device) -> Profile:
    """The full model's profile, measured now; raises WorkError where its images do not fit the device's memory."""
    options, identity = fill.options, fill.store.info.identity
    log.info("%s: measuring latency, %s", identity.backbone, counted(options.profile.iterations, "pass"))
    transform = EvalTransform(backbone.preprocessing)
    readable = fill.readable_places()
    sample = readable[:: max(1, len(readable) // PREPROCESS_SAMPLE)][:PREPROCESS_SAMPLE]
    own = identity.precision
    try:
        return profile_model(
            backbone,
            build_head(dims, options.model.dropout),
            input_size=identity.preprocessing.input_size,
            precision=own,
            throughput_batch_size=options.data.batch_size,
            options=options.profile,
            device=device,
            variants={p: backbone.at(p) for p in options.profile.precisions if p != own},
            preprocess=[partial(_prepare, transform, place) for place in sample],
        )
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        first = options.profile.batch_sizes[0]
        if first > 1:
            raise WorkError(
                f"{identity.backbone}: profile.batch_sizes starts with {first}, which does not fit the memory of "
                f"{device}. Put a smaller one first."
            ) from None
        raise one_image_too_many(identity.backbone, device) from None


def warn_if_busy(profile: Profile, backbone: str) -> None:
    """Say so, where something else ran beside the measurement."""
    if profile.busy:
        log.warning(
            "%s: latency p95 is %.1f ms against a median of %.1f ms: something else kept the machine busy when it was "
            "measured",
            backbone,
            profile.latency_ms.p95,
            profile.latency_ms.p50,
        )


def _prepare(transform: EvalTransform, place: ImagePlace) -> None:
    with contextlib.suppress(UnreadableImageError, OSError):  # the extraction finds and reports them
        transform(place.read())
