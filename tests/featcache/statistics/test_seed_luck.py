"""How well the spread of seeds is known: as drawn medians vary."""

from __future__ import annotations

import numpy as np
import pytest

from featcache.statistics import Scores
from featcache.statistics.seed_luck import SeedLuck


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_a_median_of_many_runs_varies_as_a_variance_of_so_much_freedom_does(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    runs, freedom = 101, seeds - 1
    medians = np.median(rng.chisquare(freedom, (10_000, runs)), axis=1)
    drawn = 2 * medians.mean() ** 2 / medians.var()
    units = tuple(map(str, range(4)))
    luck = SeedLuck.of([Scores(np.repeat(rng.standard_normal((seeds, 1)), 4, axis=1), units) for _ in range(runs)])
    assert luck.freedom[luck.pooled] == pytest.approx(drawn, rel=0.06)


def test_of_two_runs_it_is_that_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    luck = SeedLuck.of([Scores(rng.random((5, 40)), tuple(map(str, range(40)))) for _ in range(2)])
    assert luck.freedom.tolist() == [8, 8]
