"""Half precision and TensorFloat-32: images a second in float32, in tf32, with weights cast in every pass, cast once,
and all of it in half.

Ways take turns, so that whatever else the machine does meets all of them; a rate is the median of the repeats. Beside
each stands how far its features are from float32's, as a fraction of a row's norm: the largest of the images.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from statistics import median

import torch
from figures import figure
from photographs import machine
from torch import Tensor

from featcache.backbones import Backbone, fold_batch_norms, load_backbone, narrow_weights, run_network
from featcache.data import normalise
from featcache.devices import has_tf32, pick_device, products_in
from featcache.options.model_options import ModelOptions

Pass = Callable[[], Tensor]
WAYS = ("float32", "tf32", "cast in every pass", "cast once", "all of it")


def main() -> None:
    """A table of backbones and batches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="*", default=["resnet18", "swin_t"], metavar="BACKBONE")
    parser.add_argument("--precision", default="bfloat16", choices=["bfloat16", "float16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device")
    arguments = parser.parse_args()
    device = pick_device(arguments.device)
    print(machine(), f"{arguments.precision}; images/s, and the largest error", sep="\n")
    print(f"{'backbone':24s} batch " + " ".join(f"{way:>27s}" for way in WAYS))
    for name in arguments.backbones:
        backbone = load_backbone(ModelOptions(backbone=name, pretrained=False))
        for size in arguments.batches:
            line = measure(backbone, arguments.precision, size, arguments.repeats, device)
            print(f"{name:24s} {size:5d} " + " ".join(f"{cell:>27s}" for cell in line), flush=True)


def measure(backbone: Backbone, precision: str, size: int, repeats: int, device: torch.device) -> list[str]:
    """A cell for each way: images a second, over float32's, the largest relative error of a row."""
    passes = ways(backbone, precision, size, device)
    expected = passes["float32"]()
    errors = {way: float(((run() - expected).norm(dim=1) / expected.norm(dim=1)).max()) for way, run in passes.items()}
    rates: dict[str, list[float]] = {way: [] for way in passes}
    for _ in range(repeats):
        for way, run in passes.items():
            rates[way].append(size / seconds(run))
    name = backbone.info.identity.backbone
    for way, found in rates.items():
        figure(f"{name}, {precision}, batch {size}, {way}", found, "images/s")
        figure(f"{name}, {precision}, batch {size}, {way}, largest error of a row", [errors[way]], "of its norm")
    middle = {way: median(found) for way, found in rates.items()}
    return [
        f"{middle[way]:.1f} ({middle[way] / middle['float32']:.2f}) {errors[way]:.4f}" if way in middle else "-"
        for way in WAYS
    ]


def ways(backbone: Backbone, precision: str, size: int, device: torch.device) -> dict[str, Pass]:
    """One pass of each way over the same images; a network that fails wholly in half precision is left out."""
    side = backbone.preprocessing.input_size
    pixels = torch.randint(0, 256, (size, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = normalise(pixels.to(device), backbone.preprocessing).contiguous(memory_format=torch.channels_last)
    network, _ = fold_batch_norms(backbone.network.cpu(), torch.randn(2, 3, side, side))
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    narrow, _ = narrow_weights(network, images[:2], precision)
    dtype = getattr(torch, precision)
    whole = copy.deepcopy(network).to(dtype)
    found: dict[str, Pass] = {
        "float32": lambda: run_network(network, images, "float32"),
        "tf32": lambda: run_network(network, images, "tf32"),
        "cast in every pass": lambda: run_network(network, images, precision),
        "cast once": lambda: run_network(narrow, images, precision),
        "all of it": lambda: whole(images.to(dtype)).float(),
    }
    if not has_tf32(device):
        del found["tf32"]
    found = {way: _without_gradients(run, device, way) for way, run in found.items()}
    try:
        found["all of it"]()
    except RuntimeError:  # a table or a buffer that stays float32
        del found["all of it"]
    return found


def _without_gradients(run: Pass, device: torch.device, way: str) -> Pass:
    def once() -> Tensor:
        with torch.inference_mode(), products_in("tf32" if way == "tf32" else "float32", device):
            return run()

    return once


def seconds(run: Pass, least: float = 0.3) -> float:
    """Of one pass: the mean of as many as take `least` seconds."""
    run().sum().item()
    done, begin = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - begin < least:
        last = run()
        done += 1
    last.sum().item()  # waits for the device
    return (time.perf_counter() - begin) / done


if __name__ == "__main__":
    main()
