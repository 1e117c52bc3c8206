"""Which backbone is ahead at which size: planted leads and a planted crossing, nothing where there is nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heads.learning_curves.backbone_order import compare_curves, compare_losses, crossings
from heads.learning_curves.curve_text import crossing_sentence, lead_sentences, noise_sentence
from heads.learning_curves.learning_curve import learning_curve
from heads.learning_curves.measured_heads import MeasuredHeads
from heads.learning_curves.training_subsets import Size

IMAGES = [4.0, 8.0, 16.0, 32.0, 64.0]
SIZES = [Size(f"{n:.0f}", None, (2, 2)) for n in IMAGES]


def measured(name: str, accuracy: list[float], seed: int, images: int = 400) -> MeasuredHeads:
    """A backbone with such accuracies: 3 draws on the same images of val, which are as hard for every backbone."""
    hard = np.random.default_rng(0).permutation((np.arange(images) + 0.5) / images)
    rng = np.random.default_rng([seed, 1])
    values = {
        (size, 0.0): (hard + 0.1 * rng.standard_normal((3, images)) < acc).astype(np.float64)
        for size, acc in enumerate(accuracy)
    }
    labels = np.arange(images) % 2
    return MeasuredHeads(name, name, {("val", "top1"): values}, {"val": labels}, {"val": np.arange(images)}, 15, 0)


def test_a_planted_crossing_is_found_where_it_is() -> None:
    early, late = measured("early", [0.7, 0.75, 0.78, 0.8, 0.8], 1), measured("late", [0.5, 0.6, 0.78, 0.9, 0.95], 2)
    leads = compare_curves([early, late], SIZES, IMAGES)
    assert [lead.shown for lead in leads] == [1, 1, 0, -1, -1]
    (one,) = crossings(leads)
    assert (one.first, one.then, one.below, one.above, one.certain) == ("early", "late", 8.0, 32.0, True)
    assert crossing_sentence(one).startswith("early is ahead of late up to 8 training images, and behind from 32 on")


def test_backbones_that_are_equal_are_said_to_be_ahead_about_as_seldom_as_it_claims() -> None:
    wrong = 0
    for seed in range(30):
        every = [measured(str(k), [0.5, 0.6, 0.7, 0.75, 0.8], 100 * seed + k) for k in range(3)]
        wrong += any(lead.shown for lead in compare_curves(every, SIZES, IMAGES))
    assert wrong <= 4


def noisy(name: str, with_wrong: float, seed: int) -> MeasuredHeads:
    """A backbone that gets 0.9 right, and so much with 20% wrong labels."""
    one, other = measured(name, [0.9], seed), measured(name, [with_wrong], seed + 50)
    values = {(0, 0.0): one.values["val", "top1"][0, 0.0], (0, 0.2): other.values["val", "top1"][0, 0.0]}
    return replace(one, values={("val", "top1"): values})


def test_which_backbone_bears_wrong_labels_is_told_where_it_shows() -> None:
    robust, frail = noisy("robust", 0.88, 1), noisy("frail", 0.75, 2)
    curves = [learning_curve(one, SIZES[:1], IMAGES[:1], {"a": 2, "b": 2}) for one in (robust, frail)]
    (lead,) = compare_losses([frail, robust])
    assert lead.shown == -1 and lead.low < -0.13 < lead.high
    said = noise_sentence(curves, [lead])
    assert said is not None and "; robust bears them better than frail (jointly at 95%)" in said
    alike = compare_losses([robust, noisy("like it", 0.88, 3)])
    assert "does not tell that one bears them better" in str(noise_sentence(curves, alike))
    assert compare_losses([robust]) == [] and compare_losses([measured(n, [0.9], 1) for n in "ab"]) == []


def test_a_cost_below_nothing_is_said_in_words() -> None:
    curve = learning_curve(noisy("lucky", 0.92, 1), SIZES[:1], IMAGES[:1], {"a": 2, "b": 2})
    said = noise_sentence([curve])
    assert said is not None and "lucky nothing (it is 0.0" in said and "luck" in said


def test_one_that_is_always_ahead_crosses_nowhere() -> None:
    good, bad = measured("good", [0.7, 0.8, 0.85, 0.9, 0.95], 1), measured("bad", [0.4, 0.5, 0.6, 0.65, 0.7], 2)
    leads = compare_curves([bad, good], SIZES, IMAGES)
    assert crossings(leads) == []
    assert lead_sentences(leads) == ["good is ahead of bad with 4, 8, 16, 32, 64 training images (jointly at 95%)"]
    assert compare_curves([good], SIZES, IMAGES) == []
