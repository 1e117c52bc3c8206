"""Feature maps compared by their linear probes on the training images, beside the comparison of their heads."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from featcache.statistics import JointComparison
from heads.leaderboard.compared_run import ComparedRun, Difference


def behind_in_probe(runs: Sequence[ComparedRun], candidates: Collection[ComparedRun]) -> dict[str, Difference]:
    """Of runs by name, how far each is behind the candidate that is best in the linear probe; the limits hold jointly
    at 95% for all of them, groups of images counting once. Those that looked at other images are not compared."""
    probed = [one for one in runs if one.probe is not None]
    best = max((one for one in probed if one in candidates), key=lambda c: c.probed, default=None)
    if best is None:
        return {}
    images = _images(best)
    alike = [one for one in probed if _images(one) == images]
    units = _units(alike)
    joint = JointComparison({"linear_probe": [one.probe_scores(units) for one in alike]})
    first = alike.index(best)
    return {
        one.name: Difference(0, 0, 0)
        if one is best
        else Difference(joint.difference("linear_probe", first, place), *joint.interval("linear_probe", first, place))
        for place, one in enumerate(alike)
    }


def _units(runs: Sequence[ComparedRun]) -> dict[str, str]:
    """Of each image the unit that it was drawn with, by the first run that knows of groups; empty where none does."""
    known = next((one.probe for one in runs if one.probe is not None and one.probe.groups is not None), None)
    return {} if known is None else dict(zip(known.keys, known.units, strict=True))


def _images(one: ComparedRun) -> list[str]:
    assert one.probe is not None
    return sorted(one.probe.keys)
