"""What is to be said against the recipe of the runs on a board: of each its own doubts, and features of another scale.

It changes no rank and no verdict: it says what to do so that the next ranking is of features, not of their scale. A
tuned head has found its own rate, so the scale of its features is nothing against it; and where a feature map has one,
nobody is told to tune.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from featcache.counted_nouns import counted
from heads.leaderboard.compared_heads import feature_map
from heads.leaderboard.control_text import shortened
from heads.leaderboard.ranked_results import RankedResults
from heads.runs import Run, doubts_of, is_tuned, searched_recipe, with_tuning

FAR = 4.0  # times the median: at one learning rate, heads learn as much slower as their features are smaller
SAID = 3  # notes that a terminal shows whole
FEWEST = 3  # feature maps: of fewer nobody can say which one is the odd one


def recipe_notes(ranked: RankedResults) -> dict[str, list[str]]:
    """Sentences by run, in the order of the board; runs that nothing is to be said against are left out."""
    runs = {row.run: ranked.run(row) for row in ranked.board.rows}
    tuned = {feature_map(run) for run in (*runs.values(), *ranked.other_heads) if is_tuned(run)}
    untuned = {name: run for name, run in runs.items() if not is_tuned(run)}
    scales = {name: scale for name, run in untuned.items() if (scale := _at_the_head(run)) is not None}
    usual = _usual(untuned, scales)
    found = {}
    for name, run in runs.items():
        there = feature_map(run) in tuned
        doubts = doubts_of(run) if there else [with_tuning(doubt) for doubt in doubts_of(run)]
        far = _far(scales[name], usual, there) if name in scales and usual is not None else ""
        searched = searched_recipe(run.folder)
        chosen = [searched.said(run.metrics["val_top1"])] if searched is not None else []
        if lines := [*chosen, *doubts, *([far] if far else [])]:
            found[name] = lines
    return found


def notes_lines(ranked: RankedResults) -> list[str]:
    """The same as lines for a terminal, each with the name of its run; after the first few only whose the rest are."""
    lines = [(name, f"{name}: {line}") for name, lines in recipe_notes(ranked).items() for line in lines]
    said, more = [line for _, line in lines[:SAID]], dict.fromkeys(name for name, _ in lines[SAID:])
    if more:
        on = ", ".join(shortened(list(more)))
        said.append(f"{counted(len(lines) - SAID, 'more note')} like these on {on}: the report has them all")
    return said


def _at_the_head(run: Run) -> float | None:
    """Root mean square of what the heads of a run are given; None where that is not known."""
    size: float | None = run.summary.get("features_rms")
    normalised = run.summary.get("normalise", "none") != "none"
    return None if size is None else 1.0 if normalised else size


def _usual(runs: Mapping[str, Run], scales: Mapping[str, float]) -> float | None:
    """The median over feature maps, each counted once: by the first run in Phase 1 on it."""
    known: dict[tuple[str, ...], float] = {}
    for name, run in runs.items():
        if name in scales and run.summary["phase"] == 1:
            known.setdefault(feature_map(run), scales[name])
    return median(known.values()) if len(known) >= FEWEST else None


def _far(scale: float, usual: float, tuned: bool) -> str:
    if scale <= 0 or usual <= 0 or 1 / FAR <= scale / usual <= FAR:
        return ""
    small = scale < usual
    times = usual / scale if small else scale / usual
    return (
        f"its features are {times:.0f} times {'smaller' if small else 'larger'} than is usual on this board (root mean "
        f"square {scale:.3g}, median {usual:.3g}), so one learning rate trains its heads {'less' if small else 'more'} "
        'than the others: set head.normalise to "scale" or "layernorm" for all, or '
        + ("compare the tuned heads (--heads tuned)" if tuned else "find a rate for each with `benchmark --tuned`")
    )
