"""Images a second of `predict` beside extraction's: `bin/bench predict`.

Both read, hash, decode and compute the same photographs, of which no cache knows any; both build the network.
Extraction commits rows; predict reads the run, and gives classes, calibrated probabilities and how unlike the training
images each is. They take turns in one process, the one that begins changing; a rate is the median of the repeats, the
ratio of each repeat is of its own two.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from statistics import median

from bench_extract import options, timed
from figures import figure
from photographs import machine, write_photographs

from featcache.extraction import extract
from featcache.options import Options
from featcache.options.loading import parse_options
from featcache.session import Session
from heads import train_model
from heads.predict import AskedImage, asked_images, load_predictor
from heads.runs import Run

TRAINED = 64  # photographs, which are no more than a run needs


def main() -> None:
    """A line for each backbone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "backbones", nargs="*", default=["resnet18", "mobilenet_v3_large", "efficientnet_b0"], metavar="BACKBONE"
    )
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device")
    arguments = parser.parse_args()
    logging.getLogger("featcache").setLevel(logging.ERROR)
    print(f"{machine()}\n{arguments.images} photographs of 500 x 375, medians of {arguments.repeats}\n")
    print("| backbone | extraction, images/s | predict, images/s | ratio (smallest, largest) |")
    print("|---|--:|--:|--:|", flush=True)
    for name in arguments.backbones:
        with tempfile.TemporaryDirectory() as folder:
            measure(name, Path(folder), arguments.images, arguments.repeats, arguments.device)


def measure(name: str, work: Path, images: int, repeats: int, device: str | None) -> None:
    """One row."""
    data = write_photographs(work / "data", images)
    few = write_photographs(work / "few", TRAINED, 400, 300)  # other contents
    run = train_model(trained_by(name, few, work), results_dir=work / "results", device=device)
    asked = list(asked_images([str(data)]))
    ways = {
        "extraction": lambda: extraction(name, data, few, work, device),
        "predict": lambda: prediction(run, asked, Session.begin(device)),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(-1, repeats):  # the first is not counted
        for way in ways if turn % 2 else reversed(ways):
            seconds = ways[way]()
            if turn >= 0:
                rates[way].append(images / seconds)
    ratios = [theirs / ours for theirs, ours in zip(rates["predict"], rates["extraction"], strict=True)]
    for way, found in rates.items():
        figure(f"{name}, {way}", found, "images/s")
    figure(f"{name}, predict over extraction", ratios, "")
    cells = [f"{median(found):.1f}" for found in rates.values()]
    print(f"| {name} | {' | '.join(cells)} | {median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f}) |", flush=True)


def trained_by(name: str, data: Path, work: Path) -> Options:
    """A run, whose cache is not the one that is extracted to."""
    document = options(name, data, work).as_dict()
    document["experiment_name"] = "predicting"
    document["model"]["classifier_dims"] = ["auto", 64, "auto"]
    document["training"] = {"epochs": 2}
    document["cache"]["dir"] = str(work / "cache of the run")
    return parse_options(document)


def extraction(name: str, data: Path, few: Path, work: Path, device: str | None) -> float:
    """Seconds, of files to committed rows in a store that has the profile and none of them."""
    for file in (work / "cache").glob("*.h5"):
        file.unlink()
    extract(options(name, few, work), device=device)
    return timed(lambda: extract(options(name, data, work), device=device))


def prediction(run: Run, asked: list[AskedImage], session: Session) -> float:
    """Seconds, of a run's folder and files to predictions."""

    def predict() -> None:
        predictor = load_predictor(run, session)
        assert not any(one.reason for one in predictor.predict(asked))

    return timed(predict)


if __name__ == "__main__":
    main()
