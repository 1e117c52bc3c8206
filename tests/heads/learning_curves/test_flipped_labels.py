"""Wrong labels on purpose: exactly so many, to another class, each alike."""

from __future__ import annotations

import numpy as np
from scipy.stats import chisquare

from heads.learning_curves.flipped_labels import flip_labels

LABELS = np.repeat([0, 1, 2, 3], 2500)


def test_exactly_the_share_is_flipped_and_never_to_its_own_class() -> None:
    for share in (0.0, 0.05, 0.1, 0.2):
        flipped = flip_labels(LABELS, share, draw=0)
        assert int((flipped != LABELS).sum()) == round(share * len(LABELS))
    assert int((flip_labels(LABELS[:5003], 0.1, 0) != LABELS[:5003]).sum()) == 500


def test_the_other_classes_that_are_there_are_equally_likely() -> None:
    flipped = flip_labels(LABELS, 0.2, draw=2)
    for label in range(4):
        went = flipped[(label == LABELS) & (flipped != LABELS)]
        counts = np.bincount(went, minlength=4)
        assert counts[label] == 0
        assert chisquare(np.delete(counts, label)).pvalue > 1e-3
    without = flip_labels(np.repeat([0, 3], 500), 0.2, draw=0)  # of four classes two have no images
    assert set(without) == {0, 3}


def test_a_larger_share_holds_the_smaller_one_and_draws_differ() -> None:
    small, large = flip_labels(LABELS, 0.05, 0), flip_labels(LABELS, 0.2, 0)
    wrong = small != LABELS
    assert (small[wrong] == large[wrong]).all()
    assert (flip_labels(LABELS, 0.05, 1) != small).any()
    assert (flip_labels(LABELS, 0.05, 0) == small).all()
