"""Whether what the leaderboard says of chance holds, on boards with a known truth: `bin/bench statistics`.

For each number of networks, images and accuracy: equally good networks, and one that is better by 3 standard errors of
a difference. Every board has three seeds, eight epochs to choose from, and errors that networks share; `--luck` lets
whole seeds be better or worse. The table says how often a false lead is stated (by the rule of the board, and by that
for a single pair), how often the better network is found, how large the set is that may be the best and how often it
holds the best, the same where top-3 is ranked by before top-1, how much too high the winner's figure is and how often
its interval covers the truth, as found and corrected. `--boards 1000` for each row. From how much too high it is the
luck of each board's images is taken off, which is 0 in the mean: the rest varies far less.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from simulated_boards import Board, Cell, simulate

NETWORKS = (2, 6, 14, 30, 100)
IMAGES = (50, 168, 1000, 5000)
ACCURACIES = (0.6, 0.9, 0.97, 0.995)
BETTER = (0.0, 3.0)
HEADINGS = (
    ("false_lead", "false lead"),
    ("false_lead_by_pairs", "by pairs"),
    ("found", "better one found"),
    ("found_by_pairs", "by pairs"),
    ("set_size", "may be best"),
    ("best_in_set", "hold the best"),
    ("false_lead_of_two", "two metrics: false lead"),
    ("found_of_two", "found"),
    ("best_in_set_of_two", "hold the best"),
    ("error_found", "too high, as found"),
    ("error", "corrected"),
    ("covers_found", "covers, as found"),
    ("covers", "corrected"),
)


def main() -> None:
    """Print the table as Markdown, a row when it is ready."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", type=int, default=200, help="of each row")
    parser.add_argument("--networks", type=int, nargs="+", default=NETWORKS)
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES)
    parser.add_argument("--accuracies", type=float, nargs="+", default=ACCURACIES)
    parser.add_argument("--better", type=float, nargs="+", default=BETTER, help="standard errors")
    parser.add_argument("--luck", type=float, default=0.0, help="of a seed, in standard deviations of difficulty")
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    every = product(asked.networks, asked.images, asked.accuracies, asked.better)
    cells = [Cell(*one, luck=asked.luck) for one in every]
    print(f"| networks | images | accuracy | better by | {' | '.join(title for _, title in HEADINGS)} |")
    print(f"|{'--:|' * (4 + len(HEADINGS))}", flush=True)
    begin = time.perf_counter()
    with ProcessPoolExecutor(asked.processes) as pool:
        for cell, means in zip(cells, pool.map(averages, cells, [asked.boards] * len(cells)), strict=True):
            print(row(cell, means), flush=True)
    print(f"\n{asked.boards} boards for each row, {time.perf_counter() - begin:.0f} s", flush=True)


def averages(cell: Cell, boards: int) -> dict[str, float]:
    """The mean of everything that is looked at, over so many boards of a cell."""
    rng = np.random.default_rng([cell.networks, cell.images, int(1000 * cell.accuracy), int(cell.better)])
    seen = list(_boards(cell, boards, rng))
    means = {f.name: float(np.mean([getattr(board, f.name) for board in seen])) for f in fields(Board)}
    return {name: value - means["luck"] * name.startswith("error") for name, value in means.items()}


def _boards(cell: Cell, boards: int, rng: np.random.Generator) -> Iterator[Board]:
    for _ in range(boards):
        yield simulate(cell, rng)


def row(cell: Cell, means: dict[str, float]) -> str:
    """A line of the table; shares in per cent, errors in points of accuracy."""
    said = []
    for name, _ in HEADINGS:
        value = means[name]
        if name == "set_size":
            said.append(f"{value:.1f}")
        elif name.startswith("error"):
            said.append(f"{value:+.4f}")
        elif name.startswith("found") and not cell.better:
            said.append("")
        else:
            said.append(f"{value:.1%}")
    better = f"{cell.better:.0f} s.e." if cell.better else "equal"
    return f"| {cell.networks} | {cell.images} | {cell.accuracy} | {better} | {' | '.join(said)} |"


if __name__ == "__main__":
    main()
