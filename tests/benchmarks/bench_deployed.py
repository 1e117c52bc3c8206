"""Latency as deployed: a table of each way that PyTorch can run a network here, and the fastest at each batch.

Random weights, which cost the same. `featcache profile RUN` does this for a run of yours and keeps it there.
"""

from __future__ import annotations

import argparse

import torch
from figures import figure
from photographs import machine

from featcache.app.deployed_table import ways_table
from featcache.app.progress import consoles
from featcache.backbones import build_head, load_backbone
from featcache.devices import pick_device
from featcache.options.model_options import ModelOptions
from featcache.profiling import WayMeasurement, WaysAsked, card_reader, measure_ways
from heads.export import NetworkWays


def main() -> None:
    """A table for each backbone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="*", default=["resnet18", "mobilenet_v3_large"], metavar="BACKBONE")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--precisions", nargs="+")
    parser.add_argument("--threads", nargs="+", type=int, default=[])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--device")
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    asked = WaysAsked(
        arguments.batches, arguments.precisions, arguments.compile, arguments.threads, arguments.iterations
    )
    print(machine())
    for name in arguments.backbones:
        backbone = load_backbone(ModelOptions(backbone=name, pretrained=False))
        head = build_head((backbone.features, 1024, 4), 0.2)
        side = backbone.preprocessing.input_size
        prepare = NetworkWays(backbone, head, device).prepared
        found = measure_ways(prepare, asked, "float32", side, device, card_reader(device))
        print(f"\n{name}", flush=True)
        consoles()[0].print(ways_table(found))
        for size in arguments.batches:
            tell(name, [one for one in found if one.way.batch_size == size])
        if device.type == "cuda":
            torch.cuda.empty_cache()


def tell(name: str, found: list[WayMeasurement]) -> None:
    """The plain figure of a batch, the fastest, and its energy."""
    size = found[0].way.batch_size
    best = min(found, key=lambda one: one.latency_ms.mean)
    figure(f"{name}, batch {size}, plain", [found[0].latency_ms.mean], "ms")
    figure(f"{name}, batch {size}, {best.way.name}", [best.latency_ms.mean], "ms")
    if best.joules_per_image is not None:
        figure(f"{name}, batch {size}, {best.way.name}, energy", [best.joules_per_image], "J/image")


if __name__ == "__main__":
    main()
