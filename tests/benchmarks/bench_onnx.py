"""What an export gains: latency of the same model in PyTorch and, as ONNX, in onnxruntime: `bin/bench onnx`.

Backbone, head and softmax on one batch of bytes on the CPU, seeded random weights, the same number of threads. Ways
take turns, so that whatever else the machine does meets all of them; a latency is the median of all passes. What it
costs in accuracy is another matter: docs/export.md has the agreement of real runs.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bench_export import noise, random_run
from figures import figure
from photographs import machine

from heads.export.compared_images import ComparedImages
from heads.export.deployed_model import DeployedModel
from heads.export.model_inputs import ModelInputs
from heads.export.onnx_file import open_session, write_float32
from heads.export.onnx_precision import to_float16, to_int8
from heads.export.opened_run import OpenedRun

NETWORKS = ["resnet18", "mobilenet_v3_large", "timm/tf_efficientnet_lite0"]
WAYS = ("PyTorch", "float32", "float16", "int8")
WARMUP = 3  # passes of each way
Pass = Callable[[], object]


def main() -> None:
    """A line for each network and batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS, metavar="NETWORK")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--passes", type=int, default=10, help="of each way in a repeat")
    arguments = parser.parse_args()
    print(f"{machine()}\nmilliseconds of a batch, medians of {arguments.repeats} x {arguments.passes} passes\n")
    print("| network | batch | PyTorch | ONNX float32 | float16 | int8 |\n|---|--:|--:|--:|--:|--:|", flush=True)
    for name in arguments.networks:
        with tempfile.TemporaryDirectory() as folder:
            run, inputs, files = exported(name, Path(folder))
            for images in arguments.batches:
                passes = ways(run, inputs, files, images)
                tell(name, images, timed(passes, arguments.repeats, arguments.passes))


def exported(name: str, folder: Path) -> tuple[OpenedRun, ModelInputs, dict[str, Path]]:
    """A network on random weights, and its files by precision."""
    source, _, plain = name.rpartition("/")
    run = random_run(source or "torchvision", plain)
    inputs = ModelInputs.of([part.preprocessing for part in run.parts], "uint8")
    files = {way: folder / f"{way}.onnx" for way in WAYS[1:]}
    write_float32(run, inputs, None, files["float32"])
    for way in ("float16", "int8"):
        shutil.copy(files["float32"], files[way])
    to_float16(files["float16"])
    to_int8(files["int8"], inputs, ComparedImages((noise(run),), "noise"))
    return run, inputs, files


def ways(run: OpenedRun, inputs: ModelInputs, files: dict[str, Path], images: int) -> dict[str, Pass]:
    """One pass of each, over the same bytes."""
    (batch,) = inputs.batch([noise(run, images)], 0, images)
    model, pixels = DeployedModel(run, inputs), torch.from_numpy(batch)

    def in_torch() -> object:
        with torch.inference_mode():
            return model(pixels)

    sessions = {way: open_session(file) for way, file in files.items()}
    return {
        "PyTorch": in_torch,
        **{way: lambda s=session: s.run(None, {inputs.names[0]: batch}) for way, session in sessions.items()},
    }


def timed(passes: dict[str, Pass], repeats: int, count: int) -> dict[str, list[float]]:
    """Milliseconds of every pass."""
    for one in passes.values():
        for _ in range(WARMUP):
            one()
    found: dict[str, list[float]] = {way: [] for way in passes}
    for _ in range(repeats):
        for way, one in passes.items():
            for _ in range(count):
                begin = time.perf_counter()
                one()
                found[way].append((time.perf_counter() - begin) * 1000)
    return found


def tell(name: str, images: int, found: dict[str, list[float]]) -> None:
    """One row."""
    for way, values in found.items():
        figure(f"{name}, batch {images}, {way}", values, "ms")
    print(f"| {name} | {images} | {' | '.join(f'{np.median(found[way]):.1f}' for way in WAYS)} |", flush=True)


if __name__ == "__main__":
    main()
