"""Images a second decoded for a network's input by threads and by processes, which take turns: medians of repeats."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from figures import figure
from photographs import machine, write_photographs

from featcache.data import Decoder, Task, load_manifest
from featcache.options.data_options import DataOptions
from featcache.records import Preprocessing


def main() -> None:
    """A line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="A folder of images; default: photographs of 500 x 375 pixels, made.")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--workers", nargs="+", type=int, default=[os.cpu_count() or 1])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", help="Takes no part.")
    arguments = parser.parse_args()
    print(machine(), "images/s, and the median over that of threads", sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or str(write_photographs(Path(folder) / "photographs", arguments.images))
        manifest, _ = load_manifest(DataOptions(path=data), folder)
        tasks = [Task(i.sha256, i.place, (0,)) for i in manifest.images][: arguments.images]
        for workers in arguments.workers:
            ways = {
                "threads": Decoder(Preprocessing(224, 256), (), workers),
                "processes": Decoder(Preprocessing(224, 256), (), workers, processes=True),
            }
            rates: dict[str, list[float]] = {name: [] for name in ways}
            decode(ways["processes"], tasks[: 4 * workers])  # they begin
            for _ in range(arguments.repeats):
                for name, decoder in ways.items():
                    rates[name].append(len(tasks) / decode(decoder, tasks))
            for name, found in rates.items():
                figure(f"{workers} {name}, decoding", found, "images/s")
                over = median(found) / median(rates["threads"])
                print(f"{workers:3d} {name:9s} {median(found):7.0f} ({min(found):.0f} to {max(found):.0f}) {over:.2f}")


def decode(decoder: Decoder, tasks: list[Task]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    for _ in decoder.blocks(tasks, 64, 8, ahead=True):
        pass
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
