"""Comparisons of many runs at once: Tukey's and Dunnett's critical values, planted leads, pairs that are not paired."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, studentized_range

from featcache.statistics import JointComparison, Scores
from featcache.statistics.sample_size import images_needed
from featcache.statistics.seed_luck import SeedLuck


def compared(right: np.ndarray, **metrics: np.ndarray) -> JointComparison:
    """Of values `[K, N]` (or `[K, S, N]`) on the same images."""
    every = {"top1": right, **metrics}
    shaped = {m: v if v.ndim == 3 else v[:, None] for m, v in every.items()}
    units = tuple(map(str, range(right.shape[-1])))
    return JointComparison({m: [Scores(run.astype(np.float64), units) for run in v] for m, v in shaped.items()})


@pytest.mark.parametrize("runs", [2, 3, 8, 30])
def test_of_independent_runs_the_critical_value_is_that_of_tukey(runs: int) -> None:
    values = np.random.default_rng(0).standard_normal((runs, 4000))
    expected = studentized_range.ppf(0.95, runs, 4000) / np.sqrt(2)
    assert compared(values).critical == pytest.approx(expected, rel=0.02)


def test_runs_that_err_alike_need_no_more_than_one_pair() -> None:
    """Thirty copies of two runs are one comparison."""
    two = np.random.default_rng(1).standard_normal((2, 2000))
    assert compared(np.repeat(two, 15, axis=0)).critical == pytest.approx(1.96, rel=0.02)


def test_more_runs_than_are_drawn_have_bonferronis_value(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).standard_normal((40, 3000))
    drawn = compared(values).critical
    monkeypatch.setattr("featcache.statistics.joint_comparison.MOST", 10)
    bound = compared(values)
    assert drawn < bound.critical < 1.05 * drawn
    assert bound.may_be_best().any()


def test_of_very_many_runs_what_is_rare_is_drawn_too_where_errors_are() -> None:
    """250 runs that err on 3% of 50 images, one of them on 30%: Bonferroni's bound asks for 5.5 standard errors."""
    rng = np.random.default_rng(5)
    right = rng.random((250, 50)) < 0.97
    right[0] = np.arange(50) >= 15
    many = compared(right)
    assert many.critical < 3.6
    leads = many.leads("top1")
    assert leads[1:, 0].mean() > 0.5
    assert not leads[0].any() and not leads[1:, 1:].any()
    assert many.may_be_best().tolist() == [False] + [True] * 249


def test_a_second_metric_costs_a_little() -> None:
    rng = np.random.default_rng(3)
    one, both = rng.standard_normal((10, 2000)), rng.standard_normal((10, 2000))
    assert compared(one).critical < compared(one, top3=both).critical < 1.1 * compared(one).critical


def test_a_planted_lead_is_found_and_an_equal_one_is_not() -> None:
    rng = np.random.default_rng(4)
    right = rng.random((6, 1000)) < np.array([[0.95]] + [[0.85]] * 5)
    joint = compared(right)
    leads = joint.leads("top1")
    assert leads[0, 1:].all()
    assert not leads[1:].any()
    assert joint.may_be_best().tolist() == [True] + [False] * 5
    for other in range(1, 6):
        low, high = joint.interval("top1", 0, other)
        assert low < joint.difference("top1", 0, other) < high
        assert joint.ahead("top1", 0, other) == leads[0, other]
    assert not joint.ahead("top1", 0, 0)


def test_the_second_metric_decides_where_the_first_does_not() -> None:
    rng = np.random.default_rng(5)
    same = rng.random((1, 1000)) < 0.99
    top3 = np.repeat(same, 3, axis=0)
    top1 = rng.random((3, 1000)) < np.array([[0.9], [0.9], [0.7]])
    units = tuple(map(str, range(1000)))
    joint = JointComparison(
        {m: [Scores(run[None].astype(np.float64), units) for run in v] for m, v in (("top3", top3), ("top1", top1))}
    )
    assert joint.may_be_best().tolist() == [True, True, False]


def test_runs_that_no_image_tells_apart_may_differ_on_others() -> None:
    right = np.repeat(np.arange(100)[None] < 97, 2, axis=0)
    low, high = compared(right).interval("top1", 0, 1)
    assert (low, high) == pytest.approx((-0.0370, 0.0370), abs=1e-4)  # none of 100 (Tango 1998)
    assert compared(right).may_be_best().all()


def test_pairs_are_paired_by_image_and_others_are_not() -> None:
    rng = np.random.default_rng(6)
    hard = rng.standard_normal(400)
    runs = [(hard + 0.3 * rng.standard_normal(400) < 1)[None].astype(np.float64) for _ in range(2)]
    here, there = (tuple(f"{place}{i}" for i in range(400)) for place in ("a", "b"))
    paired = JointComparison({"top1": [Scores(run, here) for run in runs]})
    shuffled = JointComparison({"top1": [Scores(runs[0], here), Scores(runs[1][:, ::-1], here[::-1])]})
    apart = JointComparison({"top1": [Scores(runs[0], here), Scores(runs[1], there)]})
    assert shuffled.standard_error("top1", 0, 1) == pytest.approx(paired.standard_error("top1", 0, 1))
    expected = np.sqrt(sum(run.var() / 400 for run in runs))
    assert apart.standard_error("top1", 0, 1) == pytest.approx(expected)
    assert paired.standard_error("top1", 0, 1) < 0.7 * expected


def test_the_luck_of_seeds_is_pooled_over_runs() -> None:
    rng = np.random.default_rng(7)
    shift = 0.05 * rng.standard_normal((40, 3, 1))
    right = rng.random((40, 3, 4000)) < 0.8 + shift
    joint = compared(right)
    images = right.mean(axis=1).var(axis=1).mean() * 2 / 4000
    assert joint.standard_error("top1", 0, 1) == pytest.approx(np.sqrt(images + 2 * 0.05**2 / 3), rel=0.15)


def test_one_run_with_unstable_seeds_leaves_the_others_as_they_are() -> None:
    rng = np.random.default_rng(9)
    right = rng.random((8, 3, 1000)) < 0.8
    alone = compared(right[:7]).standard_error("top1", 0, 1)
    right[7] = rng.random((3, 1000)) < np.array([[0.8], [0.3], [0.6]])
    joint = compared(right)
    assert joint.standard_error("top1", 0, 1) == pytest.approx(alone, rel=0.1)
    assert joint.standard_error("top1", 0, 7) > 5 * alone  # its three seeds differ by 0.25, over the root of 3


def test_the_images_that_are_needed_give_the_power_that_is_promised() -> None:
    """With as many images as it says, a difference as large as seen is shown in 80% of the samples."""
    rng = np.random.default_rng(8)
    truth = np.array([[0.90], [0.86]])
    needed = images_needed(0.04, truth.T[0] @ (1 - truth.T[0]) / 500, 0.0, 500, 1.96)
    shown = [compared(rng.random((2, needed)) < truth).ahead("top1", 0, 1) for _ in range(150)]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.1)


def test_no_number_of_images_is_said_where_none_is_in_sight() -> None:
    assert images_needed(0.0, 1e-3, 0.0, 100, 2.0) == 0
    assert images_needed(0.0001, 1e-3, 0.0, 100, 2.0) == 0  # a million
    assert images_needed(0.01, 1e-3, 1e-3, 100, 2.0) == 0  # the seeds' luck alone is larger
    assert images_needed(0.05, 1e-3, 0.0, 100, 2.0) > 100


@pytest.mark.parametrize(("images", "more"), [(2, 4), (3, 3), (5, 1)])
def test_where_every_image_tells_the_same_as_many_are_asked_for_as_can_tell(images: int, more: int) -> None:
    """Six images that all tell for the same of two are 1 of 32 cases by luck, five 1 of 16 (McNemar 1947)."""
    joint = compared(np.array([np.ones(images), np.zeros(images)]))
    assert joint.images_to_tell("top1", 0, 1) == more
    assert not joint.seeds_hide("top1", 0, 1)
    enough = compared(np.array([np.ones(images + more), np.zeros(images + more)]))
    assert enough.ahead("top1", 0, 1)
    assert enough.images_to_tell("top1", 0, 1) == 0


def test_never_fewer_images_are_asked_for_than_can_tell() -> None:
    """Four of five for the one: of eight images six or seven would be, and no fewer than six are a lead."""
    joint = compared(np.array([[1, 1, 1, 1, 0], [0, 0, 0, 0, 0]], np.float64))
    assert joint.images_to_tell("top1", 0, 1) >= 2


def test_of_a_single_group_nothing_is_said_of_images_or_of_seeds() -> None:
    """Influences of one unit sum to rounding, not to 0."""
    rng = np.random.default_rng(3)
    for seeds in (1, 3):
        units = ("patient",) * 31
        joint = JointComparison(
            {"top1": [Scores((rng.random((seeds, 31)) < p).astype(float), units) for p in (1, 0.3)]}
        )
        assert joint.images_to_tell("top1", 0, 1) == 0
        assert not joint.seeds_hide("top1", 0, 1)


def test_the_leads_of_all_pairs_are_those_of_each_pair() -> None:
    rng = np.random.default_rng(9)
    for images in (5, 12, 200):
        shares = np.array([0.2, 0.5, 0.6, 0.6, 0.9])
        right = rng.random((5, 3, images)) < shares[:, None, None]
        right = np.concatenate([right, right[-1:], np.ones((2, 3, images)), np.zeros((1, 3, images))])
        joint = compared(right)
        every = range(len(right))
        pairs = [[joint.ahead("top1", one, other) for other in every] for one in every]
        assert joint.leads("top1").tolist() == pairs
        assert np.any(pairs) == (images > 5)


@pytest.mark.parametrize("images", [1, 2, 3, 5])
def test_of_a_handful_of_images_none_is_ahead(images: int) -> None:
    """Of 5 images on which two equal runs differ, all are for the same run in 1 of 16 boards."""
    joint = compared(np.array([np.ones(images), np.zeros(images)]))
    assert not joint.ahead("top1", 0, 1)
    assert joint.may_be_best().all()
    assert compared(np.array([np.ones(20), np.zeros(20)])).ahead("top1", 0, 1)


@pytest.mark.parametrize(("wins", "losses"), [(5, 0), (6, 0), (9, 1), (9, 2), (12, 4), (14, 4), (30, 15)])
def test_of_two_runs_a_lead_is_that_of_the_exact_test(wins: int, losses: int) -> None:
    """McNemar's exact test: of the images that tell two runs apart each could as well tell the other way round."""
    right = np.ones((2, 200))
    right[1, :wins] = right[0, wins : wins + losses] = 0
    joint = compared(right)
    assert joint.ahead("top1", 0, 1) == (binomtest(wins, wins + losses).pvalue < 0.05)


def test_of_rare_errors_a_lead_needs_less_than_tukeys_value() -> None:
    """Thirty runs that err in 3 of 100 images can hardly be further apart by luck than all their errors."""
    right = np.random.default_rng(10).random((30, 100)) < 0.97
    assert 1.96 <= compared(right).critical < 0.95 * studentized_range.ppf(0.95, 30, 100) / np.sqrt(2)


def test_the_best_set_of_two_metrics_is_never_empty() -> None:
    """In turn each is ahead of the next in a metric that counts: the best of the first metric's best is in the set."""
    top3, top1 = np.zeros((3, 100)), np.zeros((3, 100))
    for run, (within3, within1) in enumerate([((0, 95), (10, 40)), ((0, 85), (0, 85)), ((10, 100), (10, 65))]):
        top3[run, slice(*within3)], top1[run, slice(*within1)] = 1, 1
    units = tuple(map(str, range(100)))
    joint = JointComparison({m: [Scores(run[None], units) for run in v] for m, v in (("top3", top3), ("top1", top1))})
    assert joint.may_be_best().tolist() == [False, False, True]
    assert joint.may_be_best(among=[0, 1]).tolist() == [True, False, False]


def test_a_run_of_which_a_seed_failed_does_not_hide_what_the_others_tell() -> None:
    rng = np.random.default_rng(10)
    shares = np.r_[0.95, np.full(12, 0.85), 0.95][:, None] * np.ones(3)
    shares[-1, 2] = 0.3  # of the last run a seed failed
    joint = compared(rng.random((14, 3, 500)) < shares[..., None])
    assert joint.ahead("top1", 0, 1)
    assert not joint.ahead("top1", 0, 13)
    alone = SeedLuck.of(
        [Scores((rng.random((3, 500)) < share[:, None]).astype(float), ("",) * 500) for share in shares]
    ).variance
    assert np.ptp(alone[:-1]) == 0
    assert alone[0] < 0.001 / 3 < 0.1 / 3 < alone[-1]


def test_seeds_that_differ_alike_are_pooled() -> None:
    """However many runs: the largest of many variances is large by luck."""
    rng = np.random.default_rng(11)
    apart = 0
    for _ in range(40):
        values = rng.standard_normal((20, 3, 1)) + 0.1 * rng.standard_normal((20, 3, 50))
        luck = SeedLuck.of([Scores(v, tuple(map(str, range(50))), False) for v in values])
        apart += not luck.pooled.all()
    assert apart <= 6  # 5% of 40, and the luck of 40


@pytest.mark.parametrize(("runs", "freedom"), [(2, 4), (14, 14)])
def test_where_only_seeds_differ_the_critical_value_knows_how_few_they_are(runs: int, freedom: int) -> None:
    """Of two runs Student's t; of many the variance is a median, of half the freedom."""
    figures = np.random.default_rng(12).standard_normal((runs, 3, 1))
    images = np.broadcast_to(figures, (runs, 3, 40))
    joint = JointComparison({"loss": [Scores(one, tuple(map(str, range(40))), bounded=False) for one in images]})
    expected = studentized_range.ppf(0.95, runs, freedom) / np.sqrt(2)
    assert joint.critical == pytest.approx(expected, rel=0.04)


def test_a_figure_is_a_share_whichever_run_says_so() -> None:
    """A run whose images are made up may not know it: no limits of shares lie beyond 1, whichever stands first."""
    rng = np.random.default_rng(1)
    known = [Scores((rng.random((1, 12)) < share).astype(float), tuple(map(str, range(12)))) for share in (0.9, 0.1)]
    made_up = Scores(np.tile([1.2, 0.6], 6)[None], tuple(f"x{i}" for i in range(12)), bounded=False)
    for place in range(3):
        scores = [*known[:place], made_up, *known[place:]]
        joint = JointComparison({"top1": scores})
        others = [k for k in range(3) if k != place]
        for one in others:
            assert joint.interval("top1", place, one)[1] <= 1.0
            assert joint.interval("top1", one, place)[0] >= -1.0


def test_a_loss_that_is_worse_by_the_same_on_every_image_has_limits_of_some_width() -> None:
    units = tuple(map(str, range(100)))
    values = -np.random.default_rng(14).random((1, 100))
    joint = JointComparison({"loss": [Scores(values - more, units, bounded=False) for more in (0.0, 2.1)]})
    low, high = joint.interval("loss", 0, 1)
    assert 0 < low < 2.05 < 2.15 < high


def test_one_large_group_is_one_unit_however_many_images_it_has() -> None:
    """Ten groups, one of 100 images, which tell for the same run: false leads are rare all the same."""
    sizes = np.r_[100, np.full(9, 5)]
    units = tuple(np.repeat(np.arange(10), sizes).astype(str))
    rng, false = np.random.default_rng(15), 0
    for _ in range(100):
        shares = np.repeat(rng.random((3, 10)), sizes, axis=1)  # of equal runs, by group
        runs = [Scores((rng.random(len(units)) < share)[None].astype(float), units) for share in shares]
        false += bool(JointComparison({"top1": runs}).leads("top1").any())
    assert false <= 9  # in more than half of the boards, if images of a group were weighed by their number


def test_two_runs_that_answer_alike_make_no_other_lead_harder() -> None:
    rng, units = np.random.default_rng(16), tuple(map(str, range(400)))
    shares = np.r_[0.97, np.full(5, 0.85)][:, None] + 0.03 * rng.standard_normal((6, 3))
    runs = [Scores((rng.random((3, 400)) < share[:, None]).astype(float), units) for share in shares]
    plain, doubled = (JointComparison({"top1": some}) for some in (runs, [*runs, runs[3]]))
    assert doubled.critical < 1.15 * plain.critical
