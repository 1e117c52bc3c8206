"""What the best trial owes to having been chosen, in words: for the command, and kept in sweep.json for the report."""

from __future__ import annotations

from featcache.counted_nouns import counted
from featcache.statistics import Corrected
from heads.search.chosen_trial import ChosenTrial
from heads.training import find_metric


def chosen_text(chosen: ChosenTrial) -> list[str]:
    """Sentences, the most important one first; none where nothing was chosen."""
    if chosen.reason:
        return [
            f"the best is not corrected for having been chosen among {counted(chosen.among, 'trial')}: {chosen.reason}"
        ]
    lines = []
    if _among(chosen):
        first, *others = chosen.figures
        lines.append(_corrected(first, chosen.figures[first], _among(chosen)))
        lines += [_corrected(name, chosen.figures[name], "") for name in others]
    if chosen.compared > 1:
        lines.append(_may_be_best(chosen))
    if chosen.missing:
        lines.append(
            f"{chosen.missing} of these trials could not be chosen again: what they gave on each image was not kept"
        )
    if chosen.shortened:
        lines.append(
            f"in {chosen.shortened} of these trials the epochs stay as they were chosen: with so many images only the "
            "best epochs are kept"
        )
    return lines


def _among(chosen: ChosenTrial) -> str:
    """What the best was chosen among."""
    epochs = f"{chosen.epochs} epochs" if chosen.epochs > 1 else ""
    if not chosen.by_images or chosen.among < 2:
        return epochs
    return f"{chosen.among} trials" + (f" of {epochs}" if epochs else "")


def _corrected(metric: str, of: Corrected, among: str) -> str:
    found, mean, low, high, added = of.found, of.mean, of.low, of.high, of.added
    if metric == "loss":  # which is compared larger better
        found, mean, low, high = -found, -mean, -high, -low
    why = f" for having been chosen among {among}" if among else ""
    said = f"being chosen added {added:.3f}" if added >= 0.0005 else "being chosen added nothing"
    if metric == "loss" and added >= 0.0005:
        said = f"being chosen took off {added:.3f}"
    title = find_metric(metric).title
    return f"best val {title} {found:.3f} as found; corrected{why}: {mean:.3f} [{low:.3f}, {high:.3f}]: {said}"


def _may_be_best(chosen: ChosenTrial) -> str:
    count = len(chosen.may_be_best)
    of = f"the {chosen.compared} best trials" if chosen.compared < chosen.among else f"the {chosen.among} trials"
    if count == 1:
        return f"at 95% trial {chosen.may_be_best[0]} is the best of {of}"
    if count == chosen.compared:
        return f"at 95% any of {of} may be the best: the images are too few to tell them apart"
    return f"at 95% the best is among {count} of {of}: may_be_best in trials.csv"
