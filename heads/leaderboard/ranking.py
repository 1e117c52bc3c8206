"""Finished runs in, a leaderboard out: in order of val top-3, top-1 and loss, one rank for those that tie."""

from __future__ import annotations

from collections.abc import Sequence

from heads.leaderboard.board import Leaderboard
from heads.leaderboard.column import PlacedRun
from heads.leaderboard.columns import columns, make_row
from heads.leaderboard.compared_run import ComparedRun, Difference, fingerprint_of
from heads.leaderboard.control_group import control_group, twin_of
from heads.runs import Run


def leaderboard(runs: Sequence[Run], data: str | None = None) -> Leaderboard:
    """Rank `runs` on the data with the fingerprint `data` (default: that of the run finished last).

    Order: val top-3, then top-1, then the lower loss. With few classes top-3 is nearly flat, so a difference in top-3
    within its own 95% interval is a tie that top-1 breaks, not luck that outranks it. Where pretrained weights are
    among them, the runs on random weights come after all others, as a control group.
    """
    if not runs:
        return Leaderboard((), (), ())
    if data is None:
        data = fingerprint_of(max(runs, key=lambda r: (r.folder / "summary.json").stat().st_mtime_ns))
    compared = [ComparedRun(r) for r in runs if fingerprint_of(r) == data]
    controls = control_group(compared)
    groups = [[c for c in compared if (c.run.folder.name in controls) == control] for control in (False, True)]
    compared = [one for group in groups for one in _ordered(group)]
    ranks: list[int] = []
    for place, one in enumerate(compared):
        begins = place == len(groups[0])  # the control group
        tied = ranks and not begins and one.tied(compared[ranks[-1] - 1])
        ranks.append(ranks[-1] if tied else place + 1)
    here = {one.run.folder.name: one for one in compared}
    every = columns()
    placed = [
        PlacedRun(rank, one, one.start(here), one.run.folder.name in controls, twin_of(one, compared, controls))
        for rank, one in zip(ranks, compared, strict=True)
    ]
    rows = tuple(make_row(one, every) for one in placed)
    left_out = tuple(r.folder.name for r in runs if fingerprint_of(r) != data)
    fell_back = dict.fromkeys(c.run.summary["backbone"] for c in compared if c.run.summary["weights_fell_back"])
    behind = _behind([c for c in compared if c.run.summary["phase"] == 1], controls)
    stores = {name: tuple(one.run.summary["stores"]) for name, one in here.items()}
    return Leaderboard(rows, left_out, tuple(fell_back), behind, stores)


def _behind(phase1: Sequence[ComparedRun], controls: frozenset[str]) -> dict[str, dict[str, Difference]]:
    """How far each is behind the first of them, and in the linear probe behind the candidate that is best in that."""
    found: dict[str, dict[str, Difference]] = {}
    probed = [c for c in phase1 if c.probe is not None and c.run.folder.name not in controls]
    best = max(probed, key=lambda c: c.probed, default=None)
    for one in phase1:
        found[one.run.folder.name] = {m: phase1[0].difference(one, m) for m in ("top1", "top3")}
        probed_apart = best.probe_difference(one) if best is not None and one.probe is not None else None
        if probed_apart is not None:
            found[one.run.folder.name]["linear_probe"] = probed_apart
    return found


def _ordered(runs: Sequence[ComparedRun]) -> list[ComparedRun]:
    """Best first: the runs that tie with the best top-3 go by top-1 and loss, then those that tie with the next."""
    rest = sorted(runs, key=lambda c: (-c.mean("top3"), *c.order))
    ordered: list[ComparedRun] = []
    while rest:
        group = [c for c in rest if c.same(rest[0], "top3")]
        rest = [c for c in rest if c not in group]
        ordered += sorted(group, key=lambda c: c.order)
    return ordered
