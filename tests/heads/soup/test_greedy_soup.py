"""Who is in a greedy soup, and that its figure on validation owes nothing to the choice."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from featcache.errors import RunError
from heads.soup.greedy_soup import Taken, choose_members, greedy_soup, take_all


def test_the_best_begins_and_who_makes_it_worse_is_left_out() -> None:
    values: dict[Taken, float] = {
        **{(0,): 0.7, (1,): 0.8, (2,): 0.1, (3,): -np.inf},
        **{(0, 1): 0.8, (0, 1, 2): 0.79},
    }
    assert greedy_soup(4, values.__getitem__) == (0, 1)  # an equal one stays; one without finite answers is not tried


def answers(seed: int, images: int) -> tuple[NDArray[np.int64], dict[Taken, NDArray[np.float32]]]:
    """Labels, and what four members and their averages say: all of it chance, so that the truth is one in two."""
    draws = np.random.default_rng(seed)
    subsets = [tuple(np.flatnonzero([n >> k & 1 for k in range(4)]).tolist()) for n in range(1, 16)]
    return draws.integers(0, 2, images), {one: draws.normal(size=(images, 2)).astype(np.float32) for one in subsets}


def test_figures_on_val_owe_nothing_to_the_choice() -> None:
    flattered, honest = [], []
    for seed in range(60):
        labels, said = answers(seed, 40)
        choice = choose_members(4, said.__getitem__, labels, [str(n) for n in range(40)], "val_top1")
        flattered.append((said[choice.taken].argmax(1) == labels).mean())
        honest.append((choice.held_out.argmax(1) == labels).mean())
    assert np.mean(flattered) > 0.56
    assert abs(np.mean(honest) - 0.5) < 0.03


def test_one_member_or_all_leave_nothing_to_choose() -> None:
    labels, said = answers(0, 20)
    assert np.array_equal(choose_members(1, said.__getitem__, labels, ["a"] * 20, "val_top1").held_out, said[(0,)])
    assert take_all(4, said.__getitem__).parts == 0
    with pytest.raises(RunError, match="--uniform"):
        choose_members(2, said.__getitem__, labels, ["a"] * 20, "val_top1")
