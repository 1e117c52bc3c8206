"""What no measure of separability may depend on: order of images, numbers of classes, scale, rotation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ortho_group

from featcache.separability import measure
from featcache.separability.grouping import deal, together
from featcache.separability.ridge_probe import FOLDS, SEED, probe_right

QUICK = settings(deadline=None, max_examples=6, derandomize=True)
NOT_ROTATED = {"linear_probe", "parc"}  # each feature is standardised

Case = tuple[NDArray[np.float32], NDArray[np.int64], np.random.Generator]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Features around class means, fewer images than features or more, some rows twice, labels with gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, width, classes = draw(st.integers(12, 60)), draw(st.sampled_from([2, 5, 40])), draw(st.integers(2, 4))
    labels = rng.permutation(np.arange(n) % classes)
    x = rng.normal(size=(classes, width))[labels] * draw(st.sampled_from([0.0, 1.0, 3.0])) + rng.normal(size=(n, width))
    twice = draw(st.integers(0, 4))
    x[:twice], labels[:twice] = x[-twice:] if twice else x[:0], labels[-twice:] if twice else labels[:0]
    return x.astype(np.float32), labels, rng


def figures(x: NDArray[Any], labels: NDArray[np.int64]) -> dict[str, Any]:
    return measure(x.astype(np.float32), labels)


def same(one: dict[str, Any], other: dict[str, Any], *, but: frozenset[str] | set[str] = frozenset()) -> None:
    for name in one.keys() - but:
        # an accuracy can turn in one image at most where two classes are as near but for rounding
        near = (
            1.01 / one["n"] if name.endswith("accuracy") or name == "logistic_probe" else 1e-4 + 1e-4 * abs(one[name])
        )
        assert other[name] == pytest.approx(one[name], abs=near), name


@QUICK
@given(cases())
def test_neither_scale_nor_rotation_matters(case: Case) -> None:
    x, labels, rng = case
    turned = x @ ortho_group.rvs(x.shape[1], random_state=rng)
    same(figures(x, labels), figures(turned, labels), but=NOT_ROTATED)
    for scale in (2.0**-20, 2.0**20):
        found = figures(x * scale, labels)
        same(figures(x, labels), found)
        assert found["linear_probe"] == figures(x, labels)["linear_probe"]


@pytest.mark.parametrize("scale", [1e-20, 1e-12, 1e10, 1e25])
def test_features_of_any_scale_that_a_float_can_have_are_measured_alike(scale: float) -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(40, 16)), np.arange(40) % 4
    same(figures(x, labels), figures(x * scale, labels))


@QUICK
@given(cases())
def test_the_numbers_of_the_classes_do_not_matter(case: Case) -> None:
    x, labels, rng = case
    numbers = rng.choice(1000, size=labels.max() + 1, replace=False)
    renamed = numbers[labels]
    same(figures(x, labels), figures(x, renamed))
    assert np.array_equal(probe_right(x, renamed), probe_right(x, labels))


@QUICK
@given(cases())
def test_the_order_of_the_images_does_not_matter(case: Case) -> None:
    x, labels, rng = case  # but to the folds of the probes, which may go by the order
    order = rng.permutation(len(x))
    same(figures(x, labels), figures(x[order], labels[order]), but={"linear_probe", "logistic_probe"})


@QUICK
@given(cases())
def test_a_feature_that_is_always_the_same_says_nothing_to_distances_and_ranks(case: Case) -> None:
    x, labels, _ = case
    found = figures(np.hstack([x, np.full((len(x), 1), 3)]), labels)
    centred = {"n", "effective_rank", "centroid_accuracy"}
    same({name: value for name, value in figures(x, labels).items() if name in centred}, found)


def test_the_same_images_fall_into_the_same_folds_whatever_the_backbone() -> None:
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    folds = [deal(labels, together(rng.normal(size=(60, 8)).astype(np.float32), None), FOLDS, SEED) for _ in range(2)]
    assert np.array_equal(*folds)


@pytest.mark.slow
@pytest.mark.parametrize(
    "law",
    [
        test_neither_scale_nor_rotation_matters,
        test_the_numbers_of_the_classes_do_not_matter,
        test_the_order_of_the_images_does_not_matter,
        test_a_feature_that_is_always_the_same_says_nothing_to_distances_and_ranks,
    ],
)
def test_it_holds_in_many_cases(law: Any) -> None:
    settings(QUICK, max_examples=60)(given(cases())(law.hypothesis.inner_test))()
