"""The best trial corrected for having been chosen: trials with a known truth, as a sweep finds its best among them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna.trial import FrozenTrial
from simulated_boards import Cell

from heads.runs import ValOutcomes
from heads.search.chosen_text import chosen_text
from heads.search.chosen_trial import ChosenTrial, judge_best
from heads.search.trial_outcomes import TrialOutcomes, ValImages, at_best_epochs

Bits = NDArray[np.bool_]


def outcomes(top1: Bits, images: ValImages, rng: np.random.Generator, **more: Any) -> TrialOutcomes:
    """Those of one trial that had these right `[S, E, N]`, its epochs chosen as heads choose theirs."""
    seeds, epochs, count = top1.shape
    losses = np.where(top1, 0.1, 1.5) + 0.1 * rng.random(top1.shape)
    mean = losses.mean(axis=2)
    best = np.array([max(range(epochs), key=lambda e: (top1[s, e].sum(), -mean[s, e])) for s in range(seeds)])
    top3 = top1 | (rng.random(top1.shape) < 0.5)
    every = ValOutcomes(
        images.names,
        np.zeros(count, np.int64),
        top1[None],
        top3[None],
        mean[None, :, None],
        np.full((1, seeds, 1), epochs),
        best[None, :, None],
    )
    return TrialOutcomes(images, every, losses[np.arange(seeds), best].astype(np.float32), "val_top1", epochs, **more)


def trial(number: int, of: TrialOutcomes, objective: str = "val_top1") -> FrozenTrial:
    top1, top3, loss = of.kept("top1").mean, of.kept("top3").mean, -of.kept("loss").mean
    n = of.loss.size
    share = 1 / (1 + loss)
    value = {"val_top1": top1 + share / n, "val_top3": top3 + (top1 * n + share) / (n + 1) / n, "val_loss": loss}
    made = optuna.trial.create_trial(value=value.get(objective, 1.0), user_attrs={"val_top1": top1})
    made.number = number
    return made


def sweep(right: NDArray[np.bool_], rng: np.random.Generator, objective: str = "val_top1") -> ChosenTrial:
    """What is said of the best of trials that had these right `[K, S, E, N]`."""
    names = tuple(f"i{n:03d}" for n in range(right.shape[-1]))
    images = ValImages(names, names)
    known = [outcomes(one, images, rng) for one in right]
    trials = [trial(k, of, objective) for k, of in enumerate(known)]
    pick = min if objective == "val_loss" else max
    return judge_best([objective], trials, pick(trials, key=lambda t: t.values[0]), known.__getitem__)


def test_the_best_of_many_equal_trials_is_told_what_luck_gave_it() -> None:
    """All that trials have in common on these images is known here: only what the choice adds is left."""
    apart = []
    for repetition in range(6):
        rng = np.random.default_rng(repetition)
        right = Cell(100, 108, 0.93).draw(rng)[:, :, :3]
        top1 = sweep(right, rng).figures["top1"]
        assert top1.low <= 0.93 <= top1.high
        apart.append((top1.found - right.mean(), top1.mean - right.mean()))
    found, corrected = np.mean(apart, axis=0)
    assert found > 0.03
    assert abs(corrected) < 0.3 * found  # one repetition is 0.025 off by chance: the slow test has more of them


@pytest.mark.slow
def test_corrected_figures_are_right_in_the_mean_and_their_intervals_cover() -> None:
    apart, covered = [], []
    for repetition in range(60):
        rng = np.random.default_rng(repetition)
        right = Cell(200, 108, 0.93).draw(rng)
        top1 = sweep(right, rng).figures["top1"]
        apart.append((top1.found - right.mean(), top1.mean - right.mean()))
        covered.append(top1.low <= 0.93 <= top1.high)
    found, corrected = np.mean(apart, axis=0)
    assert found > 0.04
    assert abs(corrected) < 0.008  # chance alone: 0.003
    assert np.mean(covered) > 0.88


@pytest.mark.parametrize("objective", ["val_top1", "val_top3", "val_loss"])
def test_a_trial_that_is_better_by_far_owes_nothing_to_the_choice(objective: str) -> None:
    rng = np.random.default_rng(0)
    right = rng.random((9, 2, 4, 400)) < 0.3
    right[5, :, 2] = rng.random((2, 400)) < 0.9
    chosen = sweep(right, rng, objective)
    assert chosen.may_be_best == (5,)
    (of, *_) = chosen.figures.values()
    assert abs(of.added) < 1e-6
    assert of.low < of.mean < of.high
    assert chosen_text(chosen)[-1] == "at 95% trial 5 is the best of the 9 trials"


def test_trials_that_cannot_be_told_from_the_best_are_named() -> None:
    rng = np.random.default_rng(1)
    right = rng.random((30, 1, 1, 300)) < np.where(np.arange(30) < 10, 0.9, 0.5)[:, None, None, None]
    chosen = sweep(right, rng)
    assert set(chosen.may_be_best) == set(range(10))
    assert chosen_text(chosen)[-1] == "at 95% the best is among 10 of the 30 trials: may_be_best in trials.csv"


def test_of_equal_trials_the_first_is_the_best_whatever_is_left_out() -> None:
    """As the study has it: trials of equal options are told again as one would be."""
    rng = np.random.default_rng(2)
    one = rng.random((1, 3, 6, 60)) < 0.8
    names = tuple(map(str, range(60)))
    of = outcomes(one[0], ValImages(names, names), rng)
    worse = outcomes(one[0] & (rng.random((3, 6, 60)) < 0.5), ValImages(names, names), rng)
    alone = judge_best(["val_top1"], [trial(0, of)], trial(0, of), lambda _: of)
    trials = [trial(0, of), trial(1, worse), trial(2, of), trial(3, worse)]
    many = judge_best(["val_top1"], trials, trials[0], {0: of, 1: worse, 2: of, 3: worse}.__getitem__)
    assert many.figures["top1"].mean == alone.figures["top1"].mean
    assert many.figures["top1"].found == of.kept("top1").mean


def test_a_cost_chooses_no_luck_but_that_of_epochs() -> None:
    rng = np.random.default_rng(3)
    chosen = sweep(Cell(6, 100, 0.9).draw(rng), rng, "params")
    first = chosen_text(chosen)[0]
    assert chosen.may_be_best == ()
    assert "corrected for having been chosen among 8 epochs:" in first
    assert first.startswith(f"best val top-1 {chosen.figures['top1'].found:.3f} as found")


def test_what_cannot_be_chosen_again_is_said() -> None:
    rng = np.random.default_rng(4)
    names = tuple(map(str, range(80)))
    images = ValImages(names, names)
    known = [outcomes(one, images, rng) for one in Cell(5, 80, 0.8).draw(rng)]
    trials = [trial(k, of) for k, of in enumerate(known)]
    best = max(trials, key=lambda t: t.values[0])
    gone = (best.number + 1) % 5
    files: dict[int, TrialOutcomes | None] = {**dict(enumerate(known)), gone: None}
    chosen = judge_best(["val_top1"], trials, best, files.__getitem__)
    assert (chosen.among, chosen.compared, chosen.missing) == (5, 4, 1)
    assert "1 of these trials could not be chosen again" in chosen_text(chosen)[-1]
    files[best.number] = known[gone]  # left from another trial of its number
    (line,) = chosen_text(judge_best(["val_top1"], trials, best, files.__getitem__))
    assert line.startswith(
        "the best is not corrected for having been chosen among 5 trials: what it gave on each image"
    )
    (line,) = chosen_text(judge_best(["val_top1", "params"], trials, best, files.__getitem__))
    assert "several objectives" in line
    (line,) = chosen_text(judge_best(["val_macro_f1"], trials, best, files.__getitem__))
    assert "val_macro_f1 is of all images together" in line


def test_of_too_many_epochs_the_best_ones_are_taken_as_they_are() -> None:
    rng = np.random.default_rng(5)
    names = tuple(map(str, range(50)))
    whole = outcomes(rng.random((2, 7, 50)) < 0.7, ValImages(names, names), rng)
    short = TrialOutcomes(whole.images, at_best_epochs(whole.every), whole.loss, whole.selection, whole.trained)
    assert whole.complete
    assert not short.complete
    for metric in ("top1", "top3", "loss"):
        assert np.array_equal(short.kept(metric).values, whole.kept(metric).values)
    found = judge_best(["val_top1"], [trial(0, short), trial(1, short)], trial(0, short), lambda _: short)
    assert found.shortened == 2
    assert "the epochs stay as they were chosen" in chosen_text(found)[-1]


def test_the_loss_of_an_epoch_tells_nothing_of_images_held_out() -> None:
    """It is known as a mean over all images: epochs that are alike on the others must not be chosen by it."""
    rng = np.random.default_rng(6)
    names = tuple(map(str, range(60)))
    one = outcomes(rng.random((2, 9, 60)) < 0.8, ValImages(names, names), rng)
    other = replace(one, every=replace(one.every, loss=rng.random(one.every.loss.shape)))
    means = [
        judge_best(["val_top1"], [trial(0, of)], trial(0, of), lambda _, of=of: of).figures["top1"].mean
        for of in (one, other)
    ]
    assert means[0] == means[1]
