"""A finished run's network timed in the ways that PyTorch can run it, and kept beside the run."""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featcache.atomic import make_folder, write_text
from featcache.backbones import Backbone, fold_batch_norms, narrow_weights, run_network
from featcache.devices import HALF_PRECISIONS, device_name, has_tf32
from featcache.errors import RunError
from featcache.profiling import ReadCard, Run, Way, WayMeasurement, WaysAsked, card_reader, measure_ways
from heads.export.opened_run import open_run
from heads.runs import load_run_record

log = logging.getLogger("featcache")

DEPLOYED = "performance_deployed.json"


def time_deployed(
    folder: Path,
    asked: WaysAsked,
    device: torch.device,
    *,
    allow_custom: bool = False,
    read_card: ReadCard | None = None,
) -> list[WayMeasurement]:
    """Measure the run in `folder` in every way that is asked for, and write DEPLOYED into it.

    Raises RunError where it is no finished run, or one of several backbones, OutputError where it cannot be written.
    """
    record = load_run_record(folder)
    make_folder(folder)  # which refuses one that cannot be written, before minutes of work and not after
    run = open_run(record, allow_custom=allow_custom)
    if len(run.parts) != 1:
        raise RunError(
            f"{folder}: joins {len(run.parts)} backbones, and ways are timed of one. Name a run of one backbone."
        )
    (backbone,) = run.parts
    network = NetworkWays(backbone, run.model.head, device)
    own, side = backbone.info.identity.precision, backbone.preprocessing.input_size
    if own == "tf32" and not has_tf32(device):
        log.warning("%s: was trained in tf32, which %s has not: the plain way is in float32", folder, device)
        own = "float32"
    read_card = read_card or card_reader(device)
    found = measure_ways(network.prepared, asked, own, side, device, read_card)
    write_text(folder / DEPLOYED, json.dumps(_record(found, side, device), indent=2) + "\n")
    return found


class NetworkWays:
    """A backbone with a head, arranged for each way anew: what one way did to weights is nothing to the next."""

    def __init__(self, backbone: Backbone, head: nn.Module, device: torch.device) -> None:
        self._backbone, self._head, self._device = backbone, head.to(device).eval(), device
        side = backbone.preprocessing.input_size
        self._example = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
        self._kept: tuple[tuple[bool, str, bool], nn.Module] | None = None

    def prepared(self, way: Way) -> Run:
        """Normalised images `[N, 3, S, S]` to logits `[N, C]`, in that way."""
        network = self._arranged(way.folded, way.precision, way.channels_last)
        if way.compiled:
            torch.compiler.reset()  # or another batch would be compiled for any size
            network = torch.compile(network, dynamic=False)  # type: ignore[assignment]

        def run(images: Tensor) -> Tensor:
            logits: Tensor = self._head(run_network(network, images, way.precision))
            return logits

        return run

    def _arranged(self, folded: bool, precision: str, channels_last: bool) -> nn.Module:
        """The network on the device; the last one is kept, for its other batches."""
        key = (folded, precision, channels_last)
        if self._kept is not None and self._kept[0] == key:
            return self._kept[1]
        self._kept = None  # makes room
        layout = torch.channels_last if channels_last else torch.contiguous_format
        network: nn.Module = self._backbone.network.cpu()
        if folded:
            network, _ = fold_batch_norms(network, self._example)
        network = network.to(self._device, memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it
        if folded and precision in HALF_PRECISIONS:
            example = self._example.to(self._device, memory_format=layout)
            network, _ = narrow_weights(network, example, precision)
        self._kept = key, network
        return network


def _record(found: Sequence[WayMeasurement], side: int, device: torch.device) -> dict[str, Any]:
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "input_size": side,
        "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "measurements": [
            {"name": one.way.name, **asdict(one), "images_per_second": one.images_per_second} for one in found
        ],
    }
