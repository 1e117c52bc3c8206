"""What a user calls a finished run: its folder, its name below the results, `best`, or its place on the leaderboard."""

from __future__ import annotations

import logging
from pathlib import Path

import typer

from featcache.counted_nouns import counted
from featcache.errors import RunError

log = logging.getLogger("featcache")

BEST = "best"


def named_run(wanted: str, results_dir: Path, *, combinations: bool = True) -> Path:
    """The folder of the run that is meant; raises RunError where there is none. Without `combinations` these have no
    place that is counted."""
    folder = run_folder(wanted, results_dir, combinations=combinations)
    if folder is None:
        raise RunError(
            f"{wanted}: is no finished run, and {results_dir} has none of that name. Expected a run's folder or name, "
            f"{BEST!r}, or a place on the leaderboard."
        )
    return folder


def run_names(context: typer.Context, incomplete: str) -> list[str]:
    """What a shell completes a run's name to: those in the results folder that the line names, and `best`."""
    folder = Path(context.params.get("results_dir") or "results")
    found = sorted(summary.parent.name for summary in folder.glob("*/summary.json"))
    return [name for name in ([BEST, *found] if found else []) if name.startswith(incomplete)]


def run_folder(wanted: str, results_dir: Path, *, combinations: bool = True) -> Path | None:
    """The folder of a run by itself, its name or its rank; None of what is neither."""
    for folder in (Path(wanted).expanduser(), results_dir / wanted):
        if (folder / "summary.json").is_file():
            return folder
    if (wanted != BEST and not wanted.isdecimal()) or Path(wanted).exists():
        return None
    from heads.leaderboard import rank_results
    from heads.runs import COMBINED

    every = rank_results(results_dir).board.rows
    rows = [row for row in every if combinations or row.phase != COMBINED]
    passed = f", {counted(len(every) - len(rows), 'combination')} aside" if len(rows) < len(every) else ""
    place = 1 if wanted == BEST else int(wanted)
    if not 1 <= place <= len(rows):
        raise RunError(
            f"{wanted}: the leaderboard of {results_dir} has {counted(len(rows), 'run')}. Give a rank from 1 to "
            f"{len(rows)}, or a run."
        )
    name = rows[place - 1].run
    said = wanted if wanted == BEST else f"rank {wanted}"
    log.info(
        "%s: %s, in the order of a plain `featcache report` (--rank-by and --heads have others)%s", said, name, passed
    )
    return results_dir / name
