"""What the leaderboard beside a run says of it: its figure on val corrected for having been chosen, if it is best."""

from __future__ import annotations

import csv

from heads.runs import Run

BOARD = "leaderboard.csv"
COLUMNS = ("corrected_top1", "corrected_top1_low", "corrected_top1_high")


def corrected_text(run: Run) -> tuple[str, ...]:
    """A sentence; none where no leaderboard was written, or it has nothing corrected of this run."""
    try:
        with (run.folder.parent / BOARD).open(newline="", encoding="utf-8") as file:
            row = next((row for row in csv.DictReader(file) if row["run"] == run.folder.name), None)
        figure, low, high = (float(row[name]) for name in COLUMNS) if row is not None else (None, None, None)
    except (OSError, KeyError, ValueError, TypeError):  # of another version, or its cells are empty
        return ()
    if figure is None:
        return ()
    return (f"Corrected for having been chosen among the runs beside it: {figure:.4f} on val [{low:.4f}, {high:.4f}].",)
