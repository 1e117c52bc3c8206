"""`featcache combine` without the command line: folders of finished runs in, the run that combines them out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from featcache.counted_nouns import counted, have
from featcache.errors import OptionsError, RunError
from featcache.options import plain_name
from heads.combine.combination import combine
from heads.combine.combination_record import require_free, write_combination
from heads.combine.greedy_selection import ROUNDS
from heads.combine.members import read_members
from heads.leaderboard import Ranking, rank_results
from heads.runs import COMBINED, Run

LONGEST = 60  # characters of a folder's name that is made of names


def combine_runs(
    folders: Sequence[Path],
    results_dir: Path,
    *,
    name: str | None = None,
    weights: Literal["equal", "fitted"] = "equal",
    rounds: int = ROUNDS,
) -> Run:
    """The average of the calibrated probabilities of the runs in `folders`, as a run below `results_dir`.

    Its weights are equal, or `fitted` by greedy selection in so many `rounds` on what the runs answered to validation
    images. No network is asked. Raises RunError where the runs are not of the same images, labels and classes,
    OptionsError where the name is none.
    """
    called = default_name(folders) if name is None else name
    try:
        plain_name(called, "--name")
    except ValueError as error:
        raise OptionsError(f"combine: {error}.") from None
    require_free(results_dir / called)
    members = read_members(folders, results_dir)
    return write_combination(results_dir / called, combine(members, rounds=rounds, equal=weights == "equal"), rounds)


def default_name(folders: Sequence[Path], kind: str = "combined") -> str:
    """What a combination of these runs is called, or what else is made of several."""
    joined = f"{kind}-" + "+".join(dict.fromkeys(folder.resolve().name for folder in folders))
    if len(joined) <= LONGEST:
        return joined
    return f"{kind}-{len(set(folders))}-{hashlib.sha256(joined.encode()).hexdigest()[:8]}"


def runs_on_top(results_dir: Path, count: int, ranking: Ranking) -> list[Path]:
    """The best `count` runs of the leaderboard, combinations and controls on random weights aside.

    Raises RunError where there are fewer.
    """
    rows = [row for row in rank_results(results_dir, ranking).board.rows if row.phase != COMBINED and not row.control]
    if len(rows) < count:
        raise RunError(
            f"combine: {counted(len(rows), 'run')} {have(len(rows))} a place on the leaderboard of {results_dir}, "
            f"combinations and random weights aside, and {count} are asked for. Train more, or ask for fewer: --top "
            f"{max(1, len(rows))}."
        )
    return [results_dir / row.run for row in rows[:count]]
