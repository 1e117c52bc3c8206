"""A results folder read once: its finished runs with their leaderboard, for terminal, audit and page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from featcache.errors import OptionsError, RunError
from heads.leaderboard.board import Leaderboard
from heads.leaderboard.columns import Row
from heads.leaderboard.compared_heads import Heads, compared_kind, of_kind
from heads.leaderboard.compared_run import fingerprint_of, latest_data
from heads.leaderboard.ranking import leaderboard
from heads.redundancy import BackboneComparison, compare_backbones
from heads.runs import COMBINED, Run, finished_runs, stale_reason


@dataclass(frozen=True)
class Ranking:
    """Which of a results folder's runs are ranked, and by what."""

    data: str | None = None  # the fingerprint of the data that they are on; None: of the run finished last
    # Of Phase 1 those with the head trained as the options say (`uniform`), by the recipe found for its feature map
    # (`tuned`), both (`all`), or those of the two that the feature maps can all be compared by (`auto`).
    heads: Heads = "auto"
    rank_by: str | None = None  # a metric of val; None: top-3, then top-1
    cache_dir: Path | None = None  # where features are read from; None: where each run kept them


EVERYTHING = Ranking()


@dataclass(frozen=True)
class RankedResults:
    """A results folder, read once."""

    results_dir: Path
    runs: Mapping[str, Run]  # every finished one, by name
    board: Leaderboard  # of those on one data set
    cache_dir: Path | None = None  # where features are read from; None: where each run kept them
    other_heads: tuple[Run, ...] = ()  # those on this data that are not on the board, as it compares other heads
    stale: Mapping[str, str] = field(default_factory=dict)  # combinations by name that no longer hold, and why

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
        """The best run of each of the `count` best backbones, combinations aside."""
        best: dict[str, Run] = {}
        for row in (row for row in self.board.rows if row.phase != COMBINED):
            best.setdefault(row.backbone, self.run(row))
        return list(best.values())[:count]


def rank_results(results_dir: Path, ranking: Ranking = EVERYTHING) -> RankedResults:
    """Read the finished runs below `results_dir` and rank them as `ranking` says.

    Raises RunError where there is none, OptionsError where `rank_by` is no metric.
    """
    every = finished_runs(results_dir)
    stale = {run.folder.name: reason for run in every if (reason := stale_reason(run))}
    runs = [run for run in every if run.folder.name not in stale]
    if not runs:
        raise RunError(f"{results_dir}: holds no finished run. Run `featcache benchmark` or `featcache train` first.")
    data = latest_data(runs) if ranking.data is None else ranking.data
    here = [run for run in runs if fingerprint_of(run) == data]
    kind = compared_kind(here) if ranking.heads == "auto" else None if ranking.heads == "all" else ranking.heads
    kept = [run for run in here if of_kind(run, kind)]
    if here and not kept:
        how = "`featcache benchmark --tuned`" if kind == "tuned" else "`featcache benchmark`"
        raise RunError(f"{results_dir}: holds no finished run with a {kind} head. Run {how} first.")
    others = [run for run in here if not of_kind(run, kind)]
    elsewhere = [run for run in runs if fingerprint_of(run) != data]
    board = leaderboard([*kept, *elsewhere], data, ranking.rank_by, starts=others)
    by_name = {run.folder.name: run for run in runs}
    return RankedResults(results_dir, by_name, board, ranking.cache_dir, tuple(others), stale)


def find_data(results_dir: Path, wanted: str) -> str:
    """The fingerprint of the data set that `wanted` means: a folder, a folder's name, or how the fingerprint begins.

    Raises OptionsError where none of the runs is on it, or several are.
    """
    data = [run.summary["data"] for run in finished_runs(results_dir)]
    known = dict.fromkeys((str(one["fingerprint"]), str(one["path"])) for one in data)  # the same images in many places
    folder = str(Path(wanted).expanduser().resolve())
    found = {f for f, path in known if f.startswith(wanted) or path == folder or Path(path).name == wanted}
    if len(found) != 1:
        listed = ", ".join(f"{path} ({fingerprint[:8]})" for fingerprint, path in known) or "none"
        raise OptionsError(f"--data {wanted}: {len(found)} data sets are meant by that. Expected one of: {listed}.")
    return found.pop()
