"""A results folder read once: its finished runs with their leaderboard, for terminal, audit and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from featcache.errors import OptionsError, RunError
from heads.leaderboard.board import Leaderboard
from heads.leaderboard.columns import Row
from heads.leaderboard.ranking import leaderboard
from heads.redundancy import BackboneComparison, compare_backbones
from heads.runs import Run, finished_runs, is_tuned

Heads = Literal["all", "uniform", "tuned"]


@dataclass(frozen=True)
class RankedResults:
    """A results folder, read once."""

    results_dir: Path
    runs: Mapping[str, Run]  # every finished one, by name
    board: Leaderboard  # of those on one data set
    cache_dir: Path | None = None  # where features are read from; None: where each run kept them

    def run(self, row: Row) -> Run:
        """The run that a row is of."""
        return self.runs[row.run]

    @property
    def first(self) -> Run:
        """The run on the first place."""
        return self.run(self.board.rows[0])

    @cached_property
    def comparison(self) -> BackboneComparison:
        """What the feature maps have in common; reads features and answers the first time that it is asked for."""
        maps, candidates = (
            [self.run(row) for row in rows] for rows in (self.board.feature_maps, self.board.candidates)
        )
        return compare_backbones(maps, candidates, self.cache_dir)

    def best_runs(self, count: int) -> list[Run]:
        """The best run of each of the `count` best backbones."""
        best: dict[str, Run] = {}
        for row in self.board.rows:
            best.setdefault(row.backbone, self.run(row))
        return list(best.values())[:count]


def rank_results(
    results_dir: Path,
    data: str | None = None,
    cache_dir: Path | None = None,
    heads: Heads = "all",
    rank_by: str | None = None,
) -> RankedResults:
    """Read the finished runs below `results_dir` and rank those on the data with the fingerprint `data` (default: that
    of the run finished last). Features are read from `cache_dir`, by default from where each run kept them. With
    `heads` of the Phase 1 runs only those whose head is trained as their options say (`uniform`), or by the recipe that
    was found for their feature map (`tuned`). `rank_by` a metric of val instead of top-3 and top-1.

    Raises RunError where there is none, OptionsError where `rank_by` is no metric.
    """
    runs = finished_runs(results_dir)
    if not runs:
        raise RunError(f"{results_dir}: holds no finished run. Run `featcache benchmark` or `featcache train` first.")
    ranked = [run for run in runs if _wanted(run, heads)]
    if not ranked:
        how = "`featcache benchmark --tuned`" if heads == "tuned" else "`featcache benchmark`"
        raise RunError(f"{results_dir}: holds no finished run with a {heads} head. Run {how} first.")
    board = leaderboard(ranked, data, rank_by)
    return RankedResults(results_dir, {run.folder.name: run for run in runs}, board, cache_dir)


def _wanted(run: Run, heads: Heads) -> bool:
    return heads == "all" or run.summary["phase"] != 1 or is_tuned(run) == (heads == "tuned")


def find_data(results_dir: Path, wanted: str) -> str:
    """The fingerprint of the data set that `wanted` means: a folder, a folder's name, or how the fingerprint begins.

    Raises OptionsError where none of the runs is on it, or several are.
    """
    known = {
        str(run.summary["data"]["fingerprint"]): str(run.summary["data"]["path"]) for run in finished_runs(results_dir)
    }
    folder = str(Path(wanted).expanduser().resolve())
    found = [f for f, path in known.items() if f.startswith(wanted) or path == folder or Path(path).name == wanted]
    if len(found) != 1:
        listed = ", ".join(f"{path} ({fingerprint[:8]})" for fingerprint, path in known.items()) or "none"
        raise OptionsError(f"--data {wanted}: {len(found)} data sets are meant by that. Expected one of: {listed}.")
    return found[0]
