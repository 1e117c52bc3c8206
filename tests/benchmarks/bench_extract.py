"""What extraction costs against what it must cost, and against the loop that anyone writes.

Every ratio is of two times from this run, alternating, the best of the repeats. Building a network is no part of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from figures import figure
from photographs import machine, write_photographs
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from featcache.backbones import Backbone, load_backbone
from featcache.data.decoded_image import Task
from featcache.data.decoded_scratch import Scratch
from featcache.data.decoder import Decoder
from featcache.data.transforms import normalise
from featcache.devices import pick_device
from featcache.extraction.inference import Inference
from featcache.extraction.one_backbone import extract
from featcache.options.loading import parse_options
from featcache.options.model_options import ModelOptions
from featcache.options.run_options import Options
from featcache.places import FilePlace

SIX = ["resnet18", "resnet50", "efficientnet_b0", "mobilenet_v3_large", "densenet121", "swin_t"]
TWELVE = [
    *("resnet18", "resnet34", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
    *("efficientnet_b0", "densenet121", "squeezenet1_1", "shufflenet_v2_x1_0", "regnet_y_400mf", "mnasnet1_0"),
]
BATCH = 32


def main() -> None:
    """Run the sections that are asked for."""
    sections = {
        "overhead": overhead,
        "plain": plain,
        "twelve": twelve,
        "compile": compiling,
        "idle": idle,
        "memory": memory,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(sections))
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device")
    arguments = parser.parse_args()
    logging.getLogger("featcache").setLevel(logging.ERROR)
    print(machine())
    for name in arguments.sections or sections:
        if name not in sections:
            parser.error(f"{name}: no such section; there are {', '.join(sections)}")
        with tempfile.TemporaryDirectory() as folder:
            sections[name](Path(folder), arguments.images, arguments.repeats, arguments.device)


def weights(backbone: str, work: Path) -> Path:
    """Seeded random weights as a file: loading them is quick, unlike finding their scale again each time."""
    file = work / f"{backbone}.pth"
    if not file.exists():
        model = ModelOptions(backbone=backbone, input_size=224, pretrained=False)
        torch.save(load_backbone(model).network.state_dict(), file)
    return file


def options(backbone: str, data: Path, work: Path) -> Options:
    """One run; the profile is cut short, since it is not what is measured here."""
    return parse_options(
        {
            "experiment_name": backbone,
            "model": {"backbone": backbone, "input_size": 224, "weights": str(weights(backbone, work))},
            "data": {"path": str(data), "batch_size": 1},
            "cache": {"dir": str(work / "cache"), "batch_size": BATCH},
            "profile": {"iterations": 1, "warmup": 0},
        }
    )


def timed(run: Callable[[], object]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


class Bench:
    """One backbone's parts, ready to be timed apart."""

    def __init__(self, name: str, data: Path, work: Path, device: str | None) -> None:
        self.name, self.data, self.work = name, data, work
        self.device = pick_device(device)
        self.model = options(name, data, work).model
        self.backbone: Backbone = load_backbone(self.model)
        self.infer = Inference(load_backbone(self.model), self.device, BATCH)
        self.files = sorted(data.rglob("*.jpg"))
        self.tasks = [Task(_sha256(f), FilePlace.at(f), (0,)) for f in self.files]
        self.number = 0
        # Describes the backbone and measures its profile once, on another data set: what is timed finds both known.
        self.few = write_photographs(work / "few", 16)
        extract(options(name, self.few, work), device=str(self.device))

    def decode(self) -> None:
        """Files to uint8 tensors, with every core."""
        for _ in Decoder(self.backbone.preprocessing, [], None).blocks(self.tasks, 64, self.infer.batch_size, False):
            pass

    def forward(self) -> Callable[[], None]:
        """The network alone, on tensors that are ready on the device."""
        batch, size = self.infer.batch_size, self.backbone.preprocessing.input_size
        images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
        x = normalise(images.to(self.device), self.backbone.preprocessing)
        x = x.contiguous(memory_format=torch.channels_last)
        network = self.infer._network

        def run() -> None:
            with torch.inference_mode():
                for _ in range(math.ceil(len(self.files) / batch)):
                    features = network(x)
                features.sum().item()

        return run

    def build(self) -> None:
        """What extraction does once, whatever the number of images."""
        Inference(load_backbone(self.model), self.device, BATCH)

    def whole(self, scratch: Scratch | None = None) -> None:
        """Files to committed rows, by the public function, on an emptied store."""
        for file in (self.work / "cache").glob("*.h5"):
            if file.name.startswith(self.name + "-"):
                file.unlink()
        extract(options(self.name, self.few, self.work), device=str(self.device))
        self.seconds = timed(
            lambda: extract(options(self.name, self.data, self.work), device=str(self.device), scratch=scratch)
        )

    def plain_loop(self, workers: int) -> Callable[[], None]:
        """What anyone writes: DataLoader(ImageFolder), eager, contiguous."""
        p = self.backbone.preprocessing
        transform = transforms.Compose(
            [
                transforms.Resize(p.resize_size),
                transforms.CenterCrop(p.input_size),
                transforms.ToTensor(),
                transforms.Normalize(p.mean, p.std),
            ]
        )
        loader = DataLoader(ImageFolder(str(self.data), transform), batch_size=BATCH, num_workers=workers)
        network = self.backbone.network.to(self.device)

        def run() -> None:
            with torch.no_grad():
                torch.cat([network(x.to(self.device)).cpu() for x, _ in loader])

        return run


def overhead(work: Path, images: int, repeats: int, device: str | None) -> None:
    """One backbone: wall time over (its forward passes + decoding alone)."""
    data = write_photographs(work / "data", images)
    print(f"\noverhead: {images} JPEG files to committed rows, over forward passes alone + decoding alone")
    for name in ("resnet18", "mobilenet_v3_large"):
        bench = Bench(name, data, work, device)
        forward = bench.forward()
        times = {"decode": math.inf, "forward": math.inf, "build": math.inf, "whole": math.inf}
        for _ in range(repeats):
            times["decode"] = min(times["decode"], timed(bench.decode))
            times["forward"] = min(times["forward"], timed(forward))
            times["build"] = min(times["build"], timed(bench.build))
            bench.whole()
            times["whole"] = min(times["whole"], bench.seconds)
        wall = times["whole"] - times["build"]
        for part, seconds in {**times, "whole, less building": wall}.items():
            figure(f"{name}, {images} JPEG files, {part}, best of {repeats}", [seconds], "s")
        print(
            f"  {name:20s} decode {times['decode']:.2f} s + forward {times['forward']:.2f} s; extraction {wall:.2f} s "
            f"(and {times['build']:.2f} s of building): {wall / (times['decode'] + times['forward']):.2f}"
        )


def plain(work: Path, images: int, repeats: int, device: str | None) -> None:
    """Against the plain loop, the faster of it with no workers and with one for each core."""
    data = write_photographs(work / "data", images)
    print(f"\nplain loop over extraction, {images} JPEG files, batch {BATCH}")
    ratios = []
    for name in SIX:
        bench = Bench(name, data, work, device)
        loops = {w: bench.plain_loop(w) for w in (0, os.cpu_count() or 1)}
        theirs = dict.fromkeys(loops, math.inf)
        ours = build = math.inf
        for _ in range(repeats):
            for w, loop in loops.items():
                theirs[w] = min(theirs[w], timed(loop))
            build = min(build, timed(bench.build))
            bench.whole()
            ours = min(ours, bench.seconds)
        ratios.append(min(theirs.values()) / (ours - build))
        said = ", ".join(f"{t:6.2f} s with {w} workers" for w, t in theirs.items())
        print(f"  {name:20s} plain {said}; featcache {ours - build:6.2f} s: {ratios[-1]:.2f} x")
    print(f"  geometric mean {math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f} x")


def twelve(work: Path, images: int, repeats: int, device: str | None) -> None:
    """Twelve backbones in one command: wall time over (all forward passes + one decoding)."""
    data = write_photographs(work / "data", images)
    benches = [Bench(name, data, work, device) for name in TWELVE]
    forwards = [b.forward() for b in benches]
    decode, whole = math.inf, math.inf
    forward = [math.inf] * len(benches)
    build = [math.inf] * len(benches)
    for _ in range(repeats):
        decode = min(decode, timed(benches[0].decode))
        forward = [min(f, timed(run)) for f, run in zip(forward, forwards, strict=True)]
        build = [min(b, timed(bench.build)) for b, bench in zip(build, benches, strict=True)]
        scratch = Scratch(work / "cache", 1 << 34)
        for bench in benches:
            bench.whole(scratch)
        scratch.close()
        whole = min(whole, sum(b.seconds for b in benches))
    bound = sum(forward) + decode
    print(
        f"\n12 backbones in one command, {images} JPEG files: forward passes {sum(forward):.1f} s + one decoding "
        f"{decode:.1f} s; extraction {whole - sum(build):.1f} s: {(whole - sum(build)) / bound:.2f} "
        f"(decoding for each would be {(sum(forward) + len(benches) * decode) / bound:.2f})"
    )


def compiling(work: Path, images: int, repeats: int, device: str | None) -> None:
    """What cache.compile gives, and after how many images it has repaid its time."""
    del work, images
    print("\ntorch.compile: one forward pass without and with it, and the images after which it is repaid")
    for name in SIX:
        backbone = load_backbone(ModelOptions(backbone=name, input_size=224, pretrained=False))
        plain, compiled = (Inference(backbone, pick_device(device), BATCH, c) for c in (False, True))
        x = torch.randint(0, 256, (plain.batch_size, 3, 224, 224), dtype=torch.uint8)
        plain(x)
        cost = timed(partial(compiled, x))
        before, after = math.inf, math.inf
        for _ in range(10 * repeats):
            before = min(before, timed(partial(plain, x)))
            after = min(after, timed(partial(compiled, x)))
        gain = (before - after) / len(x)
        repaid = f"repaid after {cost / gain:,.0f} images" if gain > 0 else "never repaid"
        print(f"  {name:20s} {before * 1e3:6.0f} ms, compiled {after * 1e3:6.0f} ms; compiling {cost:5.1f} s: {repaid}")


def idle(work: Path, images: int, repeats: int, device: str | None) -> None:
    """Nothing new to extract from 10,000 images."""
    del images
    data = write_photographs(work / "data", 10_000, 48, 36)
    one = options("squeezenet1_1", data, work)
    one = one.model_copy(update={"model": one.model.model_copy(update={"input_size": 32})})
    first = timed(lambda: extract(one, device=device))
    again = min(timed(lambda: extract(one, device=device)) for _ in range(repeats))
    print(f"\nnothing new: 10,000 images, first {first:.1f} s, again {again:.2f} s on top of start-up")


def memory(work: Path, images: int, repeats: int, device: str | None) -> None:
    """Peak memory at 1,000 and at 10,000 images."""
    del images, repeats, device
    print("\npeak resident memory of an extraction (resnet18 at 64 pixels, float32)")
    peaks = []
    for count in (1_000, 10_000):
        data = write_photographs(work / f"data {count}", count, 96, 72)
        script = (
            "import resource, sys\nfrom featcache.extraction import extract\n"
            "from featcache.options import load_options\n"
            "extract(load_options(sys.argv[1])); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
        )
        one = options("resnet18", data, work).as_dict()
        one["cache"]["dir"] = str(work / f"cache {count}")
        one["model"]["input_size"] = 64
        one["cache"]["dtype"] = "float32"
        file = work / "options.json"
        file.write_text(json.dumps(one))
        done = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout.split()[-1]))
        print(f"  {count:6d} images: {peaks[-1]:.0f} MB")
    print(f"  {(peaks[1] - peaks[0]) / 9:.2f} MB for each 1,000 images more")


def _sha256(file: Path) -> str:
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
