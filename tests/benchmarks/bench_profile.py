"""Can the profile be believed: MACs beside the published ones, latency beside itself, a prediction's time by its parts.

Latency is measured in alternating rounds; the last column is the largest median over the smallest.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from figures import figure
from photographs import machine, write_photographs
from torchvision import models

from featcache.backbones import build_head, load_backbone
from featcache.data.transforms import EvalTransform
from featcache.devices import pick_device
from featcache.options.model_options import ModelOptions
from featcache.options.profile_options import ProfileOptions
from featcache.profiling.macs import count_macs
from featcache.profiling.model_profile import profile_model
from featcache.records import Profile

NAMES = ["resnet18", "resnet50", "efficientnet_b0", "mobilenet_v3_large", "densenet121", "swin_t", "vit_b_16"]


def main() -> None:
    """A table of backbones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="*", default=NAMES, metavar="BACKBONE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--device")
    arguments = parser.parse_args()
    print(f"{machine()}\n")
    print(
        f"{'backbone':20s} {'GMACs':>8s} {'published':>9s} {'fvcore':>8s}  {'latency ms (p95)':>18s} "
        f"{'preprocess':>10s} {'backbone':>9s} {'head':>6s} {'spread':>7s}"
    )
    with TemporaryDirectory() as folder:
        files = sorted(write_photographs(Path(folder), 16).rglob("*.jpg"))
        rounds: dict[str, list[Profile]] = {name: [] for name in arguments.backbones}
        for _ in range(arguments.rounds):
            for name, measured in rounds.items():
                measured.append(measure(name, arguments.iterations, files, arguments.device))
    for name, measured in rounds.items():
        best = min(measured, key=lambda p: p.latency_ms.p50)
        medians = [p.latency_ms.p50 for p in measured]
        figure(f"{name}, latency of an image, mean", [p.latency_ms.mean for p in measured], "ms")
        figure(f"{name}, throughput of batches of 8", [p.images_per_second for p in measured], "images/s")
        ours, published, plain = counts(name)
        assert best.preprocess_ms is not None
        print(
            f"{name:20s} {ours / 1e9:8.3f} {published:9.3f} {plain / 1e9:8.3f}  "
            f"{best.latency_ms.mean:10.1f} ({best.latency_ms.p95:5.1f}) {best.preprocess_ms.p50:10.1f} "
            f"{best.backbone_ms.p50:9.1f} {best.head_ms.p50:6.2f} {max(medians) / min(medians):7.2f}"
        )
    print("\nGMACs, published (torchvision) and fvcore (as it comes): of the network with its own classifier.")


def measure(name: str, iterations: int, files: list[Path], device_name: str | None = None) -> Profile:
    """The profile of one backbone with a [F, 1024, 4] head, at 224 pixels."""
    device = pick_device(device_name)
    backbone = load_backbone(ModelOptions(backbone=name, input_size=224, pretrained=False))
    transform = EvalTransform(backbone.preprocessing)
    return profile_model(
        backbone,
        build_head((backbone.features, 1024, 4), 0.0),
        input_size=224,
        precision="float32",
        throughput_batch_size=8,
        options=ProfileOptions(iterations=iterations, warmup=5),
        device=device,
        preprocess=[partial(transform, file) for file in files],
    )


def counts(name: str) -> tuple[int, float, float]:
    """MACs of the whole network at its published size: ours, the published G, and fvcore's without our handlers."""
    from fvcore.nn import FlopCountAnalysis

    weights = models.get_model_weights(name).DEFAULT
    size = weights.transforms().crop_size[0]
    network = models.get_model(name, **({"image_size": size} if name.startswith("vit_") else {})).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        analysis = FlopCountAnalysis(network, torch.zeros(1, 3, size, size))
        plain = analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    return count_macs(network, size).macs, float(weights.meta["_ops"]), plain


if __name__ == "__main__":
    main()
