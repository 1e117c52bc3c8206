"""The profile of backbone and head on this device: read back from the store, or measured now."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
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


@dataclass(frozen=True)
class ProfileKey:
    """What a measurement depends on beside the network: what it is stored by, and what it shares with those of heads
    that differ in the number of classes alone."""

    dims: tuple[int, ...]
    exact: str
    but_classes: str

    def entries(self, profile: Profile) -> dict[str, Any]:
        """What the store keeps of a profile that was measured now."""
        return {self.exact: asdict(profile), self.but_classes: self.exact}


def profile_key(fill: StoreFill, dims: Sequence[int], device: torch.device) -> ProfileKey:
    """That of a head of `dims` on top of the store's backbone."""
    conditions: dict[str, Any] = {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "precision": fill.store.info.identity.precision,
        "throughput_batch_size": fill.options.data.batch_size,
        **fill.options.profile.model_dump(),
    }
    exact = digest({**conditions, "dims": list(dims)})[:16]
    return ProfileKey(tuple(dims), exact, digest({**conditions, "dims": [*dims[:-1], "classes"]})[:16])


def known_profile(fill: StoreFill, key: ProfileKey) -> Profile | None:
    """The profile, when it was measured under the same conditions before, or with a head for another number of classes:
    of that its latency, and the counts of this one."""
    profiles = fill.store.profiles()
    if key.exact in profiles:
        return Profile.from_dict(profiles[key.exact])
    alike = profiles.get(profiles.get(key.but_classes, ""))
    return _of_classes(Profile.from_dict(alike), key.dims) if alike is not None else None


def _of_classes(profile: Profile, dims: Sequence[int]) -> Profile:
    """The profile of a head that differs in its last layer alone: some thousands of multiply-adds in many millions,
    which no clock tells."""
    params = sum(a * b + b for a, b in pairwise(dims))
    weights = (params - profile.params_head) * dims[-2] // (dims[-2] + 1)  # the others are biases, which cost no MACs
    linear = profile.macs_by_operator["linear"] + weights
    return replace(
        profile,
        params_head=params,
        macs=profile.macs + weights,
        flops=profile.flops + 2 * weights,
        macs_by_operator={**profile.macs_by_operator, "linear": linear},
    )


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
