"""Images a second of the network alone, by precision and batch: what extraction is measured against.

Images are resident on the device; the network is as extraction runs it, its batch norms folded, in its memory format.
"""

from __future__ import annotations

import argparse
import time

import torch
from figures import figure
from photographs import machine

from featcache.backbones import load_backbone
from featcache.devices import pick_device
from featcache.extraction.inference import Inference
from featcache.options.model_options import ModelOptions

SIDE, SECONDS = 224, 0.25  # of an image, in pixels; of a repeat, at least


def main() -> None:
    """A table of backbones, precisions and batches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="*", default=["resnet50", "swin_t"], metavar="BACKBONE")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16", "float16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[8, 32, 128])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device")
    arguments = parser.parse_args()
    print(machine())
    for name in arguments.backbones:
        for precision in arguments.precisions:
            model = ModelOptions(backbone=name, input_size=SIDE, pretrained=False)
            backbone = load_backbone(model, precision=precision)
            infer = Inference(backbone, pick_device(arguments.device), max(arguments.batches))
            for size in arguments.batches:
                found = rates(infer, size, arguments.repeats)
                figure(f"{name}, {precision}, batch {size}, forward passes alone", found, "images/s")
                print(f"{name:20s} {precision:9s} batch {size:4d}: {max(found):9.1f} images/s", flush=True)


def rates(infer: Inference, size: int, repeats: int) -> list[float]:
    """Images a second of each repeat."""
    images = torch.randint(0, 256, (size, 3, SIDE, SIDE), dtype=torch.uint8, device=infer.device)

    def seconds(passes: int) -> float:
        begin = time.perf_counter()
        for _ in range(passes):
            features = infer.one_pass(images)
        features.sum().item()  # waits for the device
        return time.perf_counter() - begin

    seconds(2)
    passes = max(1, round(SECONDS / seconds(1)))
    return [passes * size / seconds(passes) for _ in range(repeats)]


if __name__ == "__main__":
    main()
