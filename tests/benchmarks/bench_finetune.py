"""What end-to-end training costs when the frozen blocks run once, against running the whole network in every epoch.

The user's schedule is timed by phase on a few photographs: some epochs of each, in turns with the other way. The whole
run is 20 epochs of the head, 20 of the last block too, 10 of everything, and what is computed once.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from figures import figure
from photographs import machine, write_photographs

from featcache.data.decoded_scratch import Scratch
from featcache.extraction.side_by_side import extract_all
from featcache.options.loading import parse_options
from featcache.options.run_options import Options
from featcache.session import Session
from heads.finetune.distributed import Processes
from heads.finetune.end_to_end import Network, load_network, make_setup, make_trainer, prepare
from heads.finetune.run_setup import RunSetup

EPOCHS = (20, 20, 10)  # of the user's schedule: the head, the last block too, everything
PHASES = ("head", "last block", "all")
BATCH, SIZE = 32, 224


@dataclass(frozen=True)
class Times:
    """Seconds of one way: an epoch of each phase, and what comes once."""

    epochs: tuple[float, ...]
    once: float

    @property
    def whole(self) -> float:
        """Of the user's schedule."""
        return self.once + sum(count * seconds for count, seconds in zip(EPOCHS, self.epochs, strict=True))


def main() -> None:
    """Time the backbones that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="*", default=["resnet50", "resnet152"], metavar="BACKBONE")
    parser.add_argument("--images", type=int, default=80, help="train, val and test together")
    parser.add_argument("--epochs", type=int, default=2, help="timed of each phase")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device")
    peers = parser.add_argument_group("beside other tools (`--peers`), in place of the timings")
    peers.add_argument("--peers", nargs="+", type=Path, metavar="FOLDER", help="folders of images in classes")
    peers.add_argument("--backbone", default="tf_efficientnet_lite0", help="as timm calls it")
    peers.add_argument("--size", type=int, default=SIZE, help="pixels")
    peers.add_argument("--seeds", type=int, default=5, help="splits, each trained once by every tool")
    peers.add_argument("--seconds", type=float, default=120, help="of training, for every tool")
    peers.add_argument("--environments", type=Path, default=Path(tempfile.gettempdir()) / "featcache-peers")
    arguments = parser.parse_args()
    print(machine())
    if arguments.peers:
        sys.path.insert(0, str(Path(__file__).parent / "peers"))
        from peer_table import compare

        threads = torch.get_num_threads()
        budget = {"seeds": arguments.seeds, "seconds": arguments.seconds, "threads": threads}
        compare(arguments.peers, arguments.backbone, arguments.size, place=arguments.environments, **budget)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = write_photographs(Path(folder) / "images", arguments.images)
        for name in arguments.backbones:
            options = _options(name, root, Path(folder) / "cache", arguments.epochs)
            with closing(Scratch(Path(folder), 1 << 34)) as scratch:
                report(name, options, arguments.repeats, arguments.device, scratch)


def _options(backbone: str, root: Path, cache: Path, epochs: int) -> Options:
    document: dict[str, Any] = {
        "experiment_name": "bench",
        "model": {"backbone": backbone, "input_size": SIZE, "pretrained": False},
        "data": {"path": str(root), "batch_size": BATCH},
        "training": {
            "epochs": 3 * epochs,
            "unfreeze_schedule": [
                {"epoch": epochs, "unfreeze": "last_block"},
                {"epoch": 2 * epochs, "unfreeze": "all", "lr_scale": 0.1},
            ],
        },
        "cache": {"dir": str(cache)},
        "profile": {"iterations": 1, "warmup": 0},
    }
    return parse_options(document)


def report(name: str, options: Options, repeats: int, device: str | None, scratch: Scratch) -> None:
    """Both ways in turns, after one untimed round."""
    session = Session.begin(device, scratch=scratch)
    network = load_network(options, allow_custom=False)
    joined = extract_all(options, session)
    rate = joined.parts[0].store.extraction()["images_per_second"]
    found: dict[bool, list[Times]] = {True: [], False: []}
    setup = make_setup(options, joined, network, Processes(), session, plain=True)
    prepare(network.backbone, setup)
    for repeat in range(repeats + 1):
        for plain in (True, False):
            features = 0.0 if plain else len(setup.dataset.images) / rate
            times = _time(replace(setup, plain=plain), network, options, features)
            if repeat:
                found[plain].append(times)
    images = f"{len(setup.dataset.train)} + {len(setup.dataset.val)} images"
    print(f"\n{name}, {images} at {SIZE} pixels, batch {BATCH}; seconds of an epoch, median of {repeats}")
    for number, phase in enumerate(PHASES):
        ways = {plain: [t.epochs[number] for t in every] for plain, every in found.items()}
        figure(f"{name}, {phase}, plain, an epoch of {images}", ways[True], "s")
        figure(f"{name}, {phase}, featcache, the same", ways[False], "s")
        print(f"  {phase:<11} plain {_s(ways[True])}, featcache {_s(ways[False])}: {ratio(ways[True], ways[False])}")
    once = [t.once for t in found[False]]
    print(f"  once: features and what comes before the last block {_s(once)}")
    whole = {plain: [t.whole for t in every] for plain, every in found.items()}
    figure(f"{name}, whole run, plain", whole[True], "s")
    figure(f"{name}, whole run, featcache", whole[False], "s")
    print(f"  whole run   plain {_s(whole[True])}, featcache {_s(whole[False])}: {ratio(whole[True], whole[False])}")


def _time(setup: RunSetup, network: Network, options: Options, features: float) -> Times:
    """One training; `features` is what the extraction of these images takes."""
    trainer = make_trainer(setup, network, None, options.training.seed)
    begin = time.perf_counter()
    trainer.run(0, lambda *_: None)
    total = time.perf_counter() - begin
    seconds = [row.seconds for row in trainer.result.curve]
    each = len(seconds) // 3
    epochs = tuple(statistics.median(seconds[p * each : (p + 1) * each]) for p in range(3))
    return Times(epochs, total - sum(seconds) + features)


def ratio(plain: Sequence[float], kept: Sequence[float]) -> str:
    """Median of the rounds' own ratios, with the smallest and the largest."""
    ratios = sorted(a / b for a, b in zip(plain, kept, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def _s(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.3f} s"


if __name__ == "__main__":
    main()
