"""What the best trial owes to having been chosen, in words: for the command, and kept in sweep.json for the report."""

from __future__ import annotations

from featcache.counted_nouns import counted, nouns
from featcache.statistics import Corrected
from heads.search.chosen_trial import ChosenTrial
from heads.training import find_metric

NAMED = 10  # trials that a line names, at most


def chosen_text(chosen: ChosenTrial, column: str = "may_be_best") -> list[str]:
    """Sentences, the most important one first; none where nothing was chosen. `column` is of trials.csv."""
    if chosen.reason:
        return [
            f"the best is not corrected for having been chosen among {counted(chosen.among, 'trial')}: {chosen.reason}"
        ]
    if chosen.each:
        lines = [
            "the Pareto front has no single best, so it is not corrected as a whole; but the best in each objective is:"
        ]
        return lines + [
            f"{objective}, trial {one.best}: {line}"
            for objective, one in chosen.each.items()
            for line in chosen_text(one, f"may_be_best_{objective}")
        ]
    lines = []
    if _among(chosen):
        first, *others = chosen.figures
        whose = "best" if chosen.by_images else "its"  # the best in a cost need be so in no metric
        lines.append(_corrected(first, chosen.figures[first], whose, _among(chosen)))
        lines += [_corrected(name, chosen.figures[name], "its") for name in others]
    if chosen.compared > 1:
        lines.append(_may_be_best(chosen, column))
    lines += _missing(chosen)
    if chosen.shortened:
        lines.append(
            f"in {chosen.shortened} of these trials the epochs stay as they were chosen: with so many images only the "
            "best epochs are kept"
        )
    return lines


def _missing(chosen: ChosenTrial) -> list[str]:
    """Which trials could not be compared, a line for each reason."""
    lines = []
    for reason in dict.fromkeys(one.reason for one in chosen.missing):
        numbers = [str(one.number) for one in chosen.missing if one.reason == reason]
        named = numbers if len(numbers) <= NAMED else [*numbers[:NAMED], f"{len(numbers) - NAMED} more"]
        said = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"
        who = "it" if len(numbers) == 1 else "they"
        lines.append(
            f"{nouns(len(numbers), 'trial')} {said} could not be compared, nor chosen again: what {who} gave on each "
            f"image is {reason}"
        )
    return lines


def _among(chosen: ChosenTrial) -> str:
    """What the best was chosen among."""
    epochs = f"{chosen.epochs} epochs" if chosen.epochs > 1 else ""
    if not chosen.by_images or chosen.among < 2:
        return epochs
    there = chosen.among - len(chosen.missing)
    trials = f"{there} of the {chosen.among} trials" if chosen.missing else f"{chosen.among} trials"
    return trials + (f" of {epochs}" if epochs else "")


def _corrected(metric: str, of: Corrected, whose: str, among: str = "") -> str:
    found, mean, low, high, added = of.found, of.mean, of.low, of.high, of.added
    if metric == "loss":  # which is compared larger better
        found, mean, low, high = -found, -mean, -high, -low
    why = f" for having been chosen among {among}" if among else ""
    said = f"being chosen added {added:.3f}" if added >= 0.0005 else "being chosen added nothing"
    if metric == "loss" and added >= 0.0005:
        said = f"being chosen took off {added:.3f}"
        if low <= found <= high:  # a loss is of few images, most of it
            said += ", which single images may have made: the interval holds the figure as found"
    title = find_metric(metric).title
    return f"{whose} val {title} {found:.3f} as found; corrected{why}: {mean:.3f} [{low:.3f}, {high:.3f}]: {said}"


def _may_be_best(chosen: ChosenTrial, column: str) -> str:
    count = len(chosen.may_be_best)
    beyond = chosen.compared + len(chosen.missing) < chosen.among
    of = f"the {chosen.compared} best trials" if beyond else f"the {chosen.compared} trials"
    if chosen.missing:
        leading = f"the {chosen.compared + len(chosen.missing)} best" if beyond else f"the {chosen.among}"
        of = f"the {counted(chosen.compared, 'trial')} that could be compared of {leading}"
    if count == 1:
        return f"at 95% trial {chosen.may_be_best[0]} is the best of {of}"
    if count == chosen.compared:
        any_of = "either" if count == 2 else "any"
        return f"at 95% {any_of} of {of} may be the best: the images are too few to tell them apart"
    return f"at 95% the best is among {count} of {of}: {column} in trials.csv"
