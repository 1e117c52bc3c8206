"""Which Phase 1 runs go on to Phase 2: the best of different backbones by accuracy, cost or separability."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np

from featcache.backbones import describe_backbone
from featcache.data import load_manifest
from featcache.errors import RunError
from featcache.options import load_options
from featcache.separability import logme
from featcache.store import FeatureStore
from heads.ranking import Leaderboard, Row
from heads.runs import Run

log = logging.getLogger("featcache")

Criterion = Literal["accuracy", "pareto", "separability"]


def choose(
    board: Leaderboard, count: int, by: Criterion, scores: Callable[[Row], float] | None = None
) -> tuple[Row, ...]:
    """The `count` best Phase 1 rows of different backbones, best first.

    `accuracy`: in the order of the leaderboard. `pareto`: those that no other beats in accuracy (val top-3, then top-1)
    without being slower, then those that only they beat, and so on; in each front in the order of the leaderboard.
    `separability`: by the largest of `scores`, which it needs. Backbones that are joined cannot be fine-tuned and are
    passed over. Raises RunError where there are fewer backbones.
    """
    rows = [row for row in board.rows if row.phase == 1]
    joined = dict.fromkeys(row.backbone for row in rows if _is_joined(row))
    if joined:
        log.info("passed over, since joined backbones cannot be fine-tuned: %s", ", ".join(joined))
    rows = [row for row in rows if not _is_joined(row)]
    there = len({row.backbone for row in rows})
    if there < count:
        raise RunError(
            f"{there} backbones have a Phase 1 run that can be fine-tuned, and {count} are asked for. Run `featcache "
            f"benchmark` on more backbones first, or ask for fewer: --top {max(there, 1)}."
        )
    if by == "pareto":
        return _by_front(rows, count)
    if by == "separability":
        assert scores is not None
        rows = sorted(rows, key=scores, reverse=True)  # equals stay in the leaderboard's order
    return _distinct(rows)[:count]


def separability(run: Run, *, allow_custom: bool = False) -> float:
    """LogME of the training images' cached features (view 0) that a Phase 1 run of one backbone was trained on.

    Computes no features: raises RunError where the store no longer holds them, and what describing the backbone and
    reading its images raise.
    """
    options_file = run.folder / "options.json"
    options = load_options(options_file)
    manifest, _ = load_manifest(options.data, options.cache.dir)
    store = FeatureStore(options.cache.dir, describe_backbone(options, allow_custom=allow_custom)[0])
    rows = store.rows()
    readable = manifest.without({image.sha256 for image in manifest.images} - rows.keys())  # bad files have no row
    stores = run.summary.get("stores")  # runs of early versions do not say
    if stores != [store.path.name] or readable.fingerprint != run.summary["data"]["fingerprint"]:
        raise RunError(
            f"{store.path}: does not hold the features that {run.folder} was trained on. Run `featcache extract "
            f"{options_file}`; where the images or the weights have changed since, `featcache train {options_file}`."
        )
    images = readable.of("train")
    return logme(store.read([i.sha256 for i in images]), np.array([i.label for i in images], dtype=np.int64))


def separability_scores(runs: Iterable[Run], *, allow_custom: bool = False) -> Callable[[Row], float]:
    """`separability` of the run of a row, for `choose`; computed once for all runs on the same features."""
    by_name = {run.folder.name: run for run in runs}
    known: dict[tuple[str, str], float] = {}

    def score(row: Row) -> float:
        run = by_name[row.run]
        features = (str(run.summary.get("stores")), str(run.summary["data"]["fingerprint"]))
        if features not in known:
            known[features] = separability(run, allow_custom=allow_custom)
            log.info("%s: LogME %.4f", row.run, known[features])
        return known[features]

    return score


def _is_joined(row: Row) -> bool:
    return "+" in row.backbone


def _by_front(rows: Sequence[Row], count: int) -> tuple[Row, ...]:
    """Non-dominated sorting (Deb et al. 2002, NSGA-II): a front, then that of the backbones that remain."""
    chosen: list[Row] = []
    rest = list(rows)
    while rest and len(chosen) < count:
        chosen += _distinct([row for row in rest if not any(_dominates(other, row) for other in rest)])
        names = {row.backbone for row in chosen}
        rest = [row for row in rest if row.backbone not in names]
    return tuple(chosen[:count])


def _dominates(one: Row, other: Row) -> bool:
    """Whether a run is as good as another in both accuracy and latency, and better in one."""
    accuracies = [(row.val_top3, row.val_top1) for row in (one, other)]
    as_good = accuracies[0] >= accuracies[1] and one.latency_ms <= other.latency_ms
    return as_good and (accuracies[0] > accuracies[1] or one.latency_ms < other.latency_ms)


def _distinct(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The first row of each backbone."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.backbone, row)
    return tuple(first.values())
