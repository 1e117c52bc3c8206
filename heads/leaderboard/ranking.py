"""Finished runs in, a leaderboard out: in order of val top-3, top-1 and loss, one rank for those that tie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from featcache.counted_nouns import counted
from featcache.errors import OptionsError, RunError
from featcache.options import listed
from heads.leaderboard.board import Judged, Leaderboard, Rival
from heads.leaderboard.chosen_best import correct_best
from heads.leaderboard.column import PlacedRun
from heads.leaderboard.columns import columns, make_row
from heads.leaderboard.compared_run import (
    ComparedRun,
    Difference,
    fingerprint_of,
    latest_data,
    warn_of_unseen,
    with_shared_groups,
)
from heads.leaderboard.control_group import control_group, twin_of
from heads.leaderboard.probe_comparison import behind_in_probe
from heads.leaderboard.run_comparison import RunComparison
from heads.runs import Run
from heads.training import metrics

ORDER = ("top3", "top1")


def leaderboard(
    runs: Sequence[Run], data: str | None = None, rank_by: str | None = None, starts: Sequence[Run] = ()
) -> Leaderboard:
    """Rank `runs` on the data with the fingerprint `data` (default: that of the run finished last).

    Order: val top-3, then top-1, then the lower loss; or `rank_by` another metric, then top-1 and loss. With few
    classes top-3 is nearly flat, so a difference in top-3 that is not told from luck is a tie that top-1 breaks, not
    luck that outranks it. Leads, ties and ranks hold jointly at 95% (`featcache.statistics.JointComparison`). Where
    pretrained weights are among them, the runs on random weights come after all others, as a control group. `starts`
    are not ranked: fine-tuned runs that came from one of them have their gain over it. Raises OptionsError where
    `rank_by` is no metric, RunError where a run was made before there was this metric.
    """
    if not runs:
        return Leaderboard((), (), ())
    if data is None:
        data = latest_data(runs)
    ranked = [r for r in runs if fingerprint_of(r) == data]
    known = with_shared_groups([ComparedRun(r) for r in (*ranked, *starts)])
    here = known[: len(ranked)]
    warn_of_unseen(known)
    order = ORDER if rank_by is None else _order(rank_by, here)
    controls = control_group(here)
    groups = ([c for c in here if (c.name in controls) == control] for control in (False, True))
    comparisons = [RunComparison(group, order) for group in groups]
    ordered = [comparison.ordered() for comparison in comparisons]
    ranks = comparisons[0].ranks(ordered[0])
    ranks += [len(ranks) + rank for rank in comparisons[1].ranks(ordered[1])]
    every = [*ordered[0], *ordered[1]]
    left_out = tuple(r.folder.name for r in runs if fingerprint_of(r) != data)
    fell_back = dict.fromkeys(c.run.summary["backbone"] for c in every if c.run.summary["weights_fell_back"])
    maps = _feature_maps(ordered[0])
    correction, tuned = (correct_best(of, comparisons[0]) for of in (maps, _of_phase(2, ordered[0])))
    best = {one.first: one.shown for one in (correction, tuned)}
    may = comparisons[0].may_be_best(maps)
    named = {one.name: one for one in known}
    placed = [
        PlacedRun(
            rank,
            one,
            one.start(named),
            one.name in controls,
            twin_of(one, every, controls),
            one.name in may,
            best.get(one.name, {}),
            order[-1],
        )
        for rank, one in zip(ranks, every, strict=True)
    ]
    return Leaderboard(
        tuple(make_row(one, columns()) for one in placed),
        left_out,
        tuple(fell_back),
        _behind(maps, _feature_maps(ordered[1]), comparisons[0]),
        {one.name: tuple(one.run.summary["stores"]) for one in every},
        correction,
        tuned,
        _rival(maps, comparisons[0]),
        order,
        _judged(maps, order[-1]),
    )


def _feature_maps(runs: Sequence[ComparedRun]) -> list[ComparedRun]:
    """Those of Phase 1, without students: their heads say how well they were taught."""
    return [one for one in _of_phase(1, runs) if not one.teacher]


def _of_phase(phase: int, runs: Sequence[ComparedRun]) -> list[ComparedRun]:
    return [one for one in runs if one.run.summary["phase"] == phase]


def _order(rank_by: str, runs: Sequence[ComparedRun]) -> tuple[str, ...]:
    """The metrics to rank by, where one is asked for."""
    name = rank_by.removeprefix("val_")
    if name not in metrics():
        raise OptionsError(f"--rank-by {rank_by}: is no metric. Expected {listed(list(metrics()))}.")
    lacking = [one.name for one in runs if name not in one.run.summary["val"]]
    if lacking:
        raise RunError(
            f"--rank-by {rank_by}: {len(lacking)} of {counted(len(runs), 'run')} do not have this metric, such as "
            f"{lacking[0]}. Train them again with --fresh, or rank by another."
        )
    return ORDER if name == ORDER[0] else (name,)


def _behind(
    maps: Sequence[ComparedRun], controls: Sequence[ComparedRun], comparison: RunComparison
) -> dict[str, dict[str, Difference]]:
    """How far each is behind the first of them: in the metrics of the ranking as the ranks say, that is jointly for all
    candidates, in others jointly for these; of controls jointly for the first and all controls. In the linear probe
    behind the one that is best in that."""
    phase1 = [*maps, *controls]
    more = [metric for metric in ORDER if metric not in comparison.order]
    beside = RunComparison(maps, more) if more else comparison
    every = [*comparison.order, *more]
    by = {metric: comparison if metric in comparison.order else beside for metric in every}
    found = {one.name: {m: by[m].difference(maps[0], one, m) for m in every} for one in maps}
    if controls:
        first = phase1[0]
        alone = RunComparison([*maps[:1], *controls], every)
        found |= {one.name: {m: _told(alone, first, one, m) for m in every} for one in controls}
    for name, difference in behind_in_probe(phase1, set(maps)).items():
        found[name]["linear_probe"] = difference
    return found


def _told(comparison: RunComparison, first: ComparedRun, one: ComparedRun, metric: str) -> Difference:
    """How far one is behind the first, and where that is not told, whether it is for their seeds."""
    found = comparison.difference(first, one, metric)
    return replace(found, seeds_hide=found.tied and comparison.seeds_hide(first, one, metric))


def _rival(maps: Sequence[ComparedRun], comparison: RunComparison) -> Rival | None:
    """The first feature map that is not told from the best, and how many more images would tell the two apart."""
    best: Mapping[str, tuple[str, ...]] = {one.name: tuple(one.run.summary["stores"]) for one in maps}
    rivals = [one for one in maps[1:] if best[one.name] != best[maps[0].name] and comparison.tied(maps[0], one)]
    if not rivals:
        return None
    metric = comparison.order[-1]
    apart = comparison.difference(maps[0], rivals[0], metric).mean
    images = comparison.images_to_tell(maps[0], rivals[0], metric)
    return Rival(rivals[0].name, metric, apart, images, comparison.seeds_hide(maps[0], rivals[0], metric))


def _judged(maps: Sequence[ComparedRun], metric: str) -> Judged:
    """What the first of them is judged by."""
    units = maps[0].scores(metric).units if maps else ()
    return Judged(len(units), len(set(units)), max((one.seeds for one in maps), default=0))
