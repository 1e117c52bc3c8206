"""Backbone and head to a Profile: latency, throughput, MACs, parameters, peak memory on this device."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version

import torch
from torch import nn

from featcache.counted_nouns import counted
from featcache.devices import device_name, out_of_memory, products_in
from featcache.options import ProfileOptions
from featcache.profiling.latency import BUSY_RATIO, TimedModel, calmest_latency, latency_of, time_preprocessing
from featcache.profiling.macs import count_macs
from featcache.profiling.throughput import throughput
from featcache.records import Measurement, Profile

log = logging.getLogger("featcache")


def profile_model(
    backbone: nn.Module,
    head: nn.Module,
    *,
    input_size: int,
    precision: str,
    throughput_batch_size: int,
    options: ProfileOptions,
    device: torch.device,
    variants: Mapping[str, nn.Module] | None = None,
    preprocess: Sequence[Callable[[], object]] = (),
) -> Profile:
    """Measure backbone and head together on `device`, on random images of `input_size` pixels.

    `variants` holds the backbone at other precisions, by name, to be timed too; each of `preprocess` makes one image
    file into the network's input, and is timed on the CPU.
    """
    backbone, head = backbone.to(device).eval(), head.to(device).eval()
    batch_size, *more = options.batch_sizes
    model = TimedModel(backbone, head, input_size, device, precision)
    stages, peak, peak_kind = calmest_latency(model, batch_size, options)
    latency = latency_of(stages.sum(axis=1), options.warmup, batch_size)
    others = [(precision, model, n) for n in more]
    for name, network in (variants or {}).items():
        others += [
            (name, replace(model, backbone=network.to(device).eval(), precision=name), n) for n in options.batch_sizes
        ]
    tried = [_measure(*other, options) for other in others]
    with products_in(precision, device):
        rate, fitted = throughput(nn.Sequential(backbone, head), input_size, throughput_batch_size, device)
    count = count_macs(nn.Sequential(backbone, head), input_size)
    return Profile(
        device=device_name(device),
        precision=precision,
        threads=torch.get_num_threads(),
        input_size=input_size,
        latency_ms=latency,
        preprocess_ms=time_preprocessing(preprocess),
        backbone_ms=latency_of(stages[:, 0], options.warmup, batch_size),
        head_ms=latency_of(stages[:, 1], options.warmup, batch_size),
        measurements=(Measurement(precision, latency), *(m for m in tried if m is not None)),
        throughput_batch_size=fitted,
        images_per_second=rate,
        macs=count.macs,
        flops=2 * count.macs,
        macs_by_operator=count.by_operator,
        other_flops_by_operator=count.other_flops,
        unmapped_operators=count.unmapped,
        counter=f"fvcore {version('fvcore')} with featcache's handlers",
        params_backbone=sum(p.numel() for p in backbone.parameters()),
        params_head=sum(p.numel() for p in head.parameters()),
        peak_memory_bytes=peak,
        peak_memory_kind=peak_kind,
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        busy=latency.p95 > BUSY_RATIO * latency.p50,
    )


def _measure(name: str, model: TimedModel, images: int, options: ProfileOptions) -> Measurement | None:
    """The latency at another batch size or precision; None, and a warning, where that does not fit the memory."""
    try:
        times, _, _ = calmest_latency(model, images, options)
    except RuntimeError as error:
        if images == 1 or not out_of_memory(error):
            raise
        batch = counted(images, "image")
        log.warning("a batch of %s (%s) does not fit the memory of %s: not measured", batch, name, model.device)
        return None
    return Measurement(name, latency_of(times.sum(axis=1), options.warmup, images))
