"""What a study of learning curves says in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from featcache.counted_nouns import counted
from heads.learning_curves.backbone_order import Crossing, Lead
from heads.learning_curves.learning_curve import Estimate, LearningCurve
from heads.learning_curves.power_law import FEWEST

SEEN = 0.0005  # gains that are not below: others would be written as 0.000 [0.000, 0.000]


def curve_sentence(curve: LearningCurve) -> str:
    """What doubling the training images would buy, and whose labels are the scarcest."""
    return f"{curve.name}: {_doubling(curve)}; {_scarcest(curve)}"


def _doubling(curve: LearningCurve) -> str:
    if curve.law is None:
        return f"no power law is fitted: {counted(len(curve.points), 'size')}, and {FEWEST} are wanted"
    gain, low, high = curve.law.gain(2)
    if high < SEEN:
        last = curve.points[-1].figures["val_top1"]
        said = (
            f"no gain by more training images is seen: val top-1 is {last.mean:.3f} [{last.low:.3f}, {last.high:.3f}]"
        )
        return f"{said} with all{_constant(curve)}"
    said = f"doubling the training images would buy about {gain:.3f} [{low:.3f}, {high:.3f}] of val top-1"
    if curve.law.poor:
        said += f" (the power law fits poorly, p = {curve.law.misfit:.1g}: read the points)"
    return said + _constant(curve)


def _constant(curve: LearningCurve) -> str:
    """That the head on all images is not told from one that always says the same class; "" where it is."""
    last = curve.points[-1].figures["val_top1"]
    if last.low > curve.constant:
        return ""
    return f"; the head on all of them is not told from always saying the most frequent class ({curve.constant:.3f})"


def _scarcest(curve: LearningCurve) -> str:
    need = curve.scarcest
    if need is None:
        return "no class's labels are scarcer than the others'"
    said = f"labels of {need.name!r} are the scarcest ({need.images} of them"
    if need.certain:
        said += f"; its recall rose by {need.rise:.2f} with the last step"
    elif not need.val_images:
        said += "; none in val"
    return f"{said})"


def crossing_sentence(one: Crossing) -> str:
    """Who overtakes whom."""
    how = "at 95% for all pairs and sizes together" if one.certain else "by the figures alone, which chance may order"
    return (
        f"{one.first} is ahead of {one.then} up to {one.below:.0f} training images, and behind from {one.above:.0f} on "
        f"({how})"
    )


def lead_sentences(leads: Sequence[Lead]) -> list[str]:
    """Of each pair that does not change places for certain: at which sizes which is ahead."""
    said = []
    for pair in dict.fromkeys((lead.one, lead.other) for lead in leads):
        own = [lead for lead in leads if (lead.one, lead.other) == pair]
        ahead = {way: [f"{lead.images:.0f}" for lead in own if lead.shown == way] for way in (1, -1)}
        if not ahead[1] and not ahead[-1]:
            said.append(f"{pair[0]} and {pair[1]}: val does not tell them apart at any size")
        for way, first, then in ((1, *pair), (-1, *pair[::-1])):
            if ahead[way]:
                said.append(f"{first} is ahead of {then} with {', '.join(ahead[way])} training images (jointly at 95%)")
    return said


def noise_sentence(curves: Sequence[LearningCurve], leads: Sequence[Lead] = ()) -> str | None:
    """What the largest share of wrong labels costs each backbone, least first, and which pairs differ in it (`leads`,
    of `compare_losses`); None where it was not asked for."""
    told = sorted(
        ((curve.lost, curve) for curve in curves if curve.lost is not None), key=lambda one: (one[0].mean, one[1].name)
    )
    if not told:
        return None
    each = ", ".join(f"{curve.name} {_cost(lost)}" for lost, curve in told)
    said = f"{told[0][1].noise[-1].noise:.0%} wrong training labels cost (val top-1): {each}"
    for lead in leads:
        less, more = (lead.one, lead.other) if lead.shown > 0 else (lead.other, lead.one)
        if lead.shown:
            said += f"; {less} bears them better than {more} (jointly at 95%)"
    if leads and not any(lead.shown for lead in leads):
        said += "; val does not tell that one bears them better than another"
    return said


def _cost(lost: Estimate) -> str:
    """Of top-1; below 0 it is a gain, and mostly luck."""
    if lost.mean >= 0:
        return f"{lost.mean:.3f} [{lost.low:.3f}, {lost.high:.3f}]"
    luck = ", which may be luck" if lost.high >= 0 else ""
    return f"nothing (it is {-lost.mean:.3f} [{-lost.high:.3f}, {-lost.low:.3f}] better with them{luck})"
