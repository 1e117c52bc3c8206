"""Backbones side by side: `model.backbone: "resnet50+swin_t"` means the features of both, one after the other.

Each part keeps its own weights, input size and store, so rows that are there for one backbone alone serve here too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

from featcache.backbones import describe_backbone, resolve_dims
from featcache.data import load_manifest
from featcache.data.scratch import Scratch
from featcache.extraction import Extraction, extract
from featcache.options import Options
from featcache.records import SILENT, BackboneInfo, BadImage, Latency, Manifest, Measurement, Profile, Progress

JOIN = " + "  # between what the parts are called


@dataclass(frozen=True, eq=False)
class Joined:
    """What stage one has at hand for one options file: the extraction of its backbone, or of each of several."""

    parts: tuple[Extraction, ...]
    dims: tuple[int, ...]  # the head's widths, from all features to the classes

    @property
    def infos(self) -> tuple[BackboneInfo, ...]:
        """What is known of each backbone."""
        return tuple(p.info for p in self.parts)

    @property
    def manifest(self) -> Manifest:
        """The images; those of every part are the same."""
        return self.parts[0].manifest

    @property
    def bad(self) -> tuple[BadImage, ...]:
        """What could not be read."""
        return self.parts[0].bad

    @property
    def features(self) -> int:
        """F, of all parts together."""
        return sum(i.features for i in self.infos)

    @property
    def weights(self) -> str:
        """What the leaderboard shows."""
        return JOIN.join(dict.fromkeys(i.origin.label for i in self.infos))

    @property
    def source(self) -> str:
        """The libraries the backbones come from."""
        return JOIN.join(dict.fromkeys(i.identity.source for i in self.infos))

    @property
    def fell_back(self) -> bool:
        """Whether random weights stand in for pretrained ones in any part."""
        return any(i.origin.fell_back for i in self.infos)

    @property
    def stores(self) -> list[str]:
        """The names of the stores' files."""
        return [p.store.path.name for p in self.parts]

    @cached_property
    def profile(self) -> Profile:
        """What the full model costs; of several parts the sum, as if they ran one after the other."""
        return summed([p.profile for p in self.parts], self.dims)

    def identities(self) -> list[dict[str, Any]]:
        """The identity of each part as JSON values."""
        return [i.identity.as_dict() for i in self.infos]


def extract_joined(
    options: Options,
    *,
    device: str | None = None,
    allow_custom: bool = False,
    progress: Progress = SILENT,
    scratch: Scratch | None = None,
) -> Joined:
    """`extract` for each backbone that `options` name, and what comes out of it side by side.

    Raises what `extract` does, and OptionsError when `classifier_dims` disagrees with the features of all together;
    whatever is wrong with any of several backbones is found before the first of them does any work.
    """
    if len(options.parts) > 1:
        manifest, _ = load_manifest(options.data, options.cache.dir)
        infos = [describe_backbone(part, allow_custom=allow_custom)[0] for part in options.parts]
        _dims(options, [i.features for i in infos], manifest)
    fill = partial(extract, device=device, allow_custom=allow_custom, progress=progress, scratch=scratch)
    parts = tuple(fill(part) for part in options.parts)
    return Joined(parts, _dims(options, [p.info.features for p in parts], parts[0].manifest))


def _dims(options: Options, features: Sequence[int], manifest: Manifest) -> tuple[int, ...]:
    model = options.model
    return resolve_dims(model.classifier_dims, model.backbone, sum(features), len(manifest.classes))


def summed(profiles: Sequence[Profile], dims: Sequence[int]) -> Profile:
    """Latency, MACs and parameters of backbones that run one after the other, with one head on top.

    Means add up; so do variances, since the passes are independent; percentiles are added too, an upper bound. The
    heads of the parts are narrower than the one on top: the difference in latency is not measured.
    """
    first, *others = profiles
    if not others:
        return first
    head, biases = sum(a * b for a, b in pairwise(dims)), sum(dims[1:])
    macs = sum(p.macs - (p.params_head - biases) for p in profiles) + head  # a head's MACs are its weights
    return replace(
        first,
        latency_ms=_add([p.latency_ms for p in profiles]),
        preprocess_ms=_add([p.preprocess_ms for p in profiles if p.preprocess_ms]) if first.preprocess_ms else None,
        backbone_ms=_add([p.backbone_ms for p in profiles]),
        head_ms=_add([p.head_ms for p in profiles]),
        measurements=tuple(
            Measurement(m.precision, _add([p.measurements[i].latency_ms for p in profiles]))
            for i, m in enumerate(first.measurements)
            if all(len(p.measurements) == len(first.measurements) for p in profiles)
        ),
        images_per_second=1 / sum(1 / p.images_per_second for p in profiles),
        macs=macs,
        flops=2 * macs,
        macs_by_operator=_merge([p.macs_by_operator for p in profiles]),
        other_flops_by_operator=_merge([p.other_flops_by_operator for p in profiles]),
        unmapped_operators=_merge([p.unmapped_operators for p in profiles]),
        params_backbone=sum(p.params_backbone for p in profiles),
        params_head=head + biases,
        peak_memory_bytes=max(p.peak_memory_bytes for p in profiles),
        busy=any(p.busy for p in profiles),
    )


def _add(latencies: Sequence[Latency]) -> Latency:
    return replace(
        latencies[0],
        **{n: sum(getattr(one, n) for one in latencies) for n in ("mean", "p50", "p95", "p99")},
        std=math.hypot(*(one.std for one in latencies)),
    )


def _merge(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return {n: sum(c.get(n, 0) for c in counts) for n in dict.fromkeys(n for c in counts for n in c)}
