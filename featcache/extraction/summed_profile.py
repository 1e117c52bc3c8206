"""What several backbones cost that run one after the other: the sum of their profiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from featcache.records import Latency, Measurement, Profile


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
