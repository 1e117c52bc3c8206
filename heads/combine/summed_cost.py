"""What a combination costs: the sum of its members' measured costs, each feature map computed once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from featcache.errors import RunError
from heads.combine.members import Member

ADDED = ("mean", "p50", "p95", "p99")


def summed_cost(members: Sequence[Member]) -> dict[str, Any]:
    """performance.json of the members that count, which run one after the other.

    Of those that share a feature map (the same stores, frozen) its backbone counts once, and each head beside it. Means
    add up; so do variances, since the passes are independent; percentiles are added too, an upper bound. Raises
    RunError where latencies are of different batch sizes: they have no sum.
    """
    every = [one.run.performance for one in members]
    sizes = {one.run.folder.name: one.run.performance["latency_ms"]["batch_size"] for one in members}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} at {size}" for name, size in sizes.items())
        raise RunError(
            f"combine: latencies were measured at different batch sizes, which have no sum: {listed}. Train them with "
            "the same profile.batch_sizes."
        )
    maps: dict[tuple[str, ...], Member] = {}
    for one in members:
        maps.setdefault(feature_map(one), one)
    firsts = [one.run.performance for one in maps.values()]
    others = [one for one in members if one not in maps.values()]
    heads = [one.run.performance["head_ms"] for one in others]
    batch = max(one.get("throughput_batch_size", 0) for one in every)
    return {
        **_conditions(every),
        "latency_ms": _added([*(one["latency_ms"] for one in firsts), *heads]),
        "backbone_ms": _added([one["backbone_ms"] for one in firsts]),
        "head_ms": _added([one["head_ms"] for one in every]),
        "throughput_batch_size": batch,
        "images_per_second": 1 / sum(1 / one["images_per_second"] for one in firsts),
        "macs": sum(one["macs"] for one in firsts) + sum(_head_macs(one) for one in others),
        "flops": 2 * (sum(one["macs"] for one in firsts) + sum(_head_macs(one) for one in others)),
        "params_backbone": sum(one["params_backbone"] for one in firsts),
        "params_head": sum(one["params_head"] for one in every),
        "peak_memory_bytes": max(one["peak_memory_bytes"] for one in every),
        "peak_memory_kind": every[0]["peak_memory_kind"],
        "busy": any(one["busy"] for one in every),
        "features": sum(one.run.summary["features"] for one in maps.values()),
        "head_seconds": sum(one["head_seconds"] for one in every),
    }


def _conditions(every: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Under which latencies were measured; where that is not one answer the device says so, so that the sum stands
    beside no other as if it were of the same."""
    told = sorted({(one["device"], one["precision"], one["threads"]) for one in every})
    devices, precisions, threads = (sorted(set(of)) for of in zip(*told, strict=True))
    mixed = ", mixed conditions" if len(told) > 1 else ""
    return {"device": " + ".join(devices) + mixed, "precision": " + ".join(precisions), "threads": threads[-1]}


def feature_map(member: Member) -> tuple[str, ...]:
    """What tells its feature map from others: the stores that its head was trained on; of a fine-tuned one its run."""
    if member.run.summary["phase"] == 2:
        return ("tuned", member.place)
    return tuple(member.run.summary["stores"])


def _head_macs(member: Member) -> int:
    """A head's are its weights, less the biases."""
    return int(member.run.performance["params_head"] - sum(member.run.summary["classifier_dims"][1:]))


def _added(latencies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        **latencies[0],
        **{name: sum(one[name] for one in latencies) for name in ADDED},
        "std": math.hypot(*(one["std"] for one in latencies)),
    }
