"""The best corrected for having been chosen: planted truths, and a small version of `bin/bench statistics`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated_boards import SEEDS, Cell, simulate

from featcache.statistics import Contender, Scores, correct_for_selection
from featcache.statistics.selection import _parts, selection_spread


def contender(right: np.ndarray, folds: int = 1) -> Contender:
    """Of `[T, S, E, N]`, its epochs and recipe chosen on all images."""
    recipes, seeds, epochs, images = right.shape
    fold = np.arange(images) % folds
    kept = np.zeros((recipes, seeds, images))
    for number in range(folds):
        own = fold == number
        best = right[..., own].mean(axis=3).argmax(axis=2)
        kept[..., own] = np.take_along_axis(right[..., own], best[..., None, None], axis=2)[:, :, 0]
    best = int(kept.mean(axis=(1, 2)).argmax())
    scores = Scores(kept[best], tuple(map(str, range(images))))
    shape = (recipes, seeds, folds, epochs)
    return Contender(right, scores, fold, np.ones(shape, np.bool_), np.zeros(images))


def test_a_run_with_nothing_to_choose_is_corrected_by_nothing() -> None:
    right = np.random.default_rng(0).random((1, 1, 1, 200)) < 0.8
    one = correct_for_selection([contender(right)], 0, ["top1"])["top1"]
    assert one.mean == pytest.approx(one.found)
    assert one.added == pytest.approx(0)
    assert (one.among, one.choices) == (1, ((1, 1),))


@pytest.mark.parametrize("folds", [1, 5])
def test_fifty_epochs_of_noise_add_nothing_to_the_corrected_figure(folds: int) -> None:
    rng = np.random.default_rng(1)
    found = [
        correct_for_selection([contender(rng.random((1, 2, 50, 100)) < 0.7, folds)], 0, ["top1"])["top1"]
        for _ in range(60)
    ]
    assert np.mean([one.found for one in found]) > 0.75
    assert np.mean([one.mean for one in found]) == pytest.approx(0.7, abs=0.015)


def test_forty_recipes_of_noise_add_nothing_either() -> None:
    rng = np.random.default_rng(2)
    found = [
        correct_for_selection([contender(rng.random((40, 1, 3, 100)) < 0.7)], 0, ["top1"])["top1"] for _ in range(60)
    ]
    assert np.mean([one.found for one in found]) > 0.78
    assert np.mean([one.mean for one in found]) == pytest.approx(0.7, abs=0.02)
    assert found[0].choices == ((40, 3),)


def test_a_recipe_that_is_better_is_kept_and_not_punished() -> None:
    rng = np.random.default_rng(3)
    right = rng.random((10, 1, 1, 300)) < np.r_[0.9, np.full(9, 0.6)][:, None, None, None]
    one = correct_for_selection([contender(right)], 0, ["top1"])["top1"]
    assert one.mean == pytest.approx(one.found)
    assert one.low < 0.9 < one.high


def test_epochs_that_cannot_be_chosen_are_not() -> None:
    right = np.zeros((1, 1, 3, 100), np.bool_)
    right[0, 0, 2] = True  # behind the end of the training
    right[0, 0, 0, :60] = True
    one = contender(right[:, :, :2])
    allowed = np.array([[[[True, True, False]]]])
    one = Contender(right, one.kept, one.fold, allowed, one.second)
    assert correct_for_selection([one], 0, ["top1"])["top1"].mean == pytest.approx(0.6)


def test_further_metrics_follow_the_same_choice() -> None:
    rng = np.random.default_rng(4)
    right = rng.random((1, 2, 4, 150)) < 0.8
    one = contender(right)
    with_top3 = Contender(right, one.kept, one.fold, one.allowed, one.second, also={"top3": np.ones_like(right)})
    found = correct_for_selection([with_top3], 0, ["top1", "top3"])
    assert found["top3"].mean == found["top3"].found == 1
    assert 0.95 < found["top3"].low < found["top3"].high == 1


def test_a_run_is_not_chosen_by_no_images() -> None:
    """Two images may lie in the same part, beside a cross-validated run that answered many."""
    few, many = (contender(np.ones((1, 1, 1, images), np.bool_)) for images in (2, 40))
    found = correct_for_selection([many, few], 0, ["top1"])["top1"]
    assert (found.found, found.mean) == (1, 1)
    assert 0 < found.low < found.high == 1
    with pytest.raises(ValueError, match="1 unit of images"):
        correct_for_selection([contender(np.ones((1, 1, 1, 1), np.bool_))], 0, ["top1"])


def test_a_run_that_is_first_by_the_luck_of_its_seeds_is_corrected_for_that() -> None:
    """Twenty equal networks, each seed of which is better or worse on all images."""
    rng = np.random.default_rng(13)
    found = []
    for _ in range(40):
        shares = 0.7 + 0.05 * rng.standard_normal((20, 3, 1, 1))
        runs = [contender(rng.random((1, 3, 1, 400)) < share) for share in shares]
        best = int(np.argmax([run.kept.mean for run in runs]))
        found.append(correct_for_selection(runs, best, ["top1"])["top1"])
    assert np.mean([one.found for one in found]) > 0.75
    assert np.mean([one.mean for one in found]) == pytest.approx(0.7, abs=0.012)
    assert all(one.low < 0.7 < one.high for one in found)


def test_one_that_is_far_ahead_is_as_unsure_as_one_that_nobody_chose() -> None:
    rng = np.random.default_rng(6)
    shares = np.r_[0.95, np.full(13, 0.5)]
    kept = [Scores((rng.random((1, 300)) < p).astype(np.float64), tuple(map(str, range(300)))) for p in shares]
    assert selection_spread(kept) == pytest.approx(1, abs=0.06)


def test_a_choice_among_equals_is_as_unsure_as_the_cross_validation_that_corrects_it() -> None:
    rng = np.random.default_rng(5)
    hard = rng.standard_normal(300)
    kept = [
        Scores((hard + rng.standard_normal(300) < 1)[None].astype(np.float64), tuple(map(str, range(300))))
        for _ in range(14)
    ]
    assert 1.1 < selection_spread(kept) < 1.6
    assert selection_spread(kept[:1]) == 1
    assert selection_spread(kept[:1] * 3) == pytest.approx(1)  # three that always agree


@pytest.mark.parametrize(
    "cell",
    [
        Cell(8, 168, 0.97),
        Cell(6, 168, 0.97, 3.0),
        pytest.param(Cell(30, 50, 0.9), marks=pytest.mark.slow),
        pytest.param(Cell(14, 50, 0.995), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_boards_with_a_known_truth(cell: Cell) -> None:
    """`bin/bench statistics` has more cells, and 1,000 boards for each."""
    rng = np.random.default_rng([7, cell.networks])
    boards = [simulate(cell, rng) for _ in range(30)]

    def share(name: str) -> float:
        return float(np.mean([getattr(board, name) for board in boards]))

    assert share("false_lead") <= 0.10  # at most 6%, and the luck of 30 boards
    assert share("covers") >= 0.85
    assert share("best_in_set") >= 0.9
    assert share("false_lead_of_two") <= 0.10
    assert share("best_in_set_of_two") >= 0.9
    spread = np.sqrt(cell.accuracy * (1 - cell.accuracy) / cell.images / len(boards))
    assert abs(share("error")) < 0.003 + 3 * spread
    if cell.better:
        assert share("found") >= 0.6 * share("found_by_pairs")
    elif cell.accuracy < 0.99:
        assert share("error_found") > 0.01 > abs(share("error"))
        assert share("covers_found") < 0.8
    assert SEEDS == 3


def test_copies_within_groups_correct_nothing_more_and_make_nothing_surer() -> None:
    rng = np.random.default_rng(7)
    runs = [rng.random((1, 2, 10, 60)) < p for p in (0.8, 0.78, 0.75)]
    units = tuple(str(i) for i in range(60) for _ in range(4))

    def copied(right: np.ndarray) -> Contender:
        one = contender(np.repeat(right, 4, axis=3))
        return replace(one, kept=replace(one.kept, units=units))

    alone = correct_for_selection([contender(right) for right in runs], 0, ["top1"])["top1"]
    of_copies = correct_for_selection([copied(right) for right in runs], 0, ["top1"])["top1"]
    for part in ("found", "mean", "low", "high"):
        assert getattr(of_copies, part) == pytest.approx(getattr(alone, part), abs=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_heads_that_answer_one_class_are_not_said_to_be_worse_than_that(classes: int) -> None:
    """Without a part that has more of a class than its share, heads that answer another one would be chosen."""
    rng, labels = np.random.default_rng(5), np.repeat(np.arange(classes), 168 // classes)
    found = []
    for _ in range(5):
        answers = np.where(rng.random((3, 1, 3, 8, 168)) < 0.1, rng.integers(0, classes, (3, 1, 3, 8, 168)), 0)
        answers = (answers + rng.integers(0, classes, (3, 1, 3, 8, 1))) % classes
        made = [replace(contender(own == labels), labels=labels) for own in answers]
        best = int(np.argmax([one.kept.mean for one in made]))
        found.append(correct_for_selection(made, best, ["top1"])["top1"])
    assert all(one.high > 1 / classes for one in found)
    assert np.mean([one.mean for one in found]) == pytest.approx(1 / classes, abs=0.02)


def test_each_part_has_its_share_of_every_class_and_single_images_lie_anywhere() -> None:
    classes = np.repeat(np.arange(33), [41, 19, 10, *[1] * 30])
    cuts = _parts(classes).reshape(20, 10, len(classes))
    assert (cuts.sum(axis=1) == 1).all()
    assert np.isin(cuts[..., :41].sum(axis=2), [4, 5]).all()
    assert np.isin(cuts[..., 41:60].sum(axis=2), [1, 2]).all()
    assert (cuts[..., 60:70].sum(axis=2) == 1).all()
    assert all(len(set(of)) > 5 for of in cuts.argmax(axis=1)[:, 70:].T)
