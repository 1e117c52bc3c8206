"""Which backbone is ahead at which size: planted leads and a planted crossing, nothing where there is nothing."""

from __future__ import annotations

import numpy as np

from heads.learning_curves.backbone_order import compare_curves, crossings
from heads.learning_curves.curve_text import crossing_sentence, lead_sentences
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


def test_one_that_is_always_ahead_crosses_nowhere() -> None:
    good, bad = measured("good", [0.7, 0.8, 0.85, 0.9, 0.95], 1), measured("bad", [0.4, 0.5, 0.6, 0.65, 0.7], 2)
    leads = compare_curves([bad, good], SIZES, IMAGES)
    assert crossings(leads) == []
    assert lead_sentences(leads) == ["good is ahead of bad with 4, 8, 16, 32, 64 training images (jointly at 95%)"]
    assert compare_curves([good], SIZES, IMAGES) == []
