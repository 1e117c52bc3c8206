"""Images are the same by their contents, labels and splits, whatever they are called and in whatever order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featcache.errors import DataError
from featcache.places import FilePlace
from featcache.records import ImageRecord, Manifest
from heads.learning_curves.measured_heads import MeasuredHeads
from heads.learning_curves.same_images import in_order_of, require_same


def manifest(names: str) -> Manifest:
    """Val images of these names, whose contents are 0, 1, .. by the order of the letters given; the first two of a."""
    images = [ImageRecord(FilePlace(name), name, f"{n:064x}", int(n > 1), "val", None) for n, name in enumerate(names)]
    images.sort(key=lambda i: (i.label, i.name))
    return Manifest("d", Path(), ("a", "b"), tuple(images))


def test_names_are_no_difference_labels_are() -> None:
    first = manifest("pqrs")
    require_same("two", manifest("srqp"), "one", first)
    moved = replace(first, images=(replace(first.images[0], label=1), *first.images[1:]))
    for other in (moved, replace(first, classes=("a", "c")), replace(first, images=first.images[1:])):
        with pytest.raises(DataError, match="two: is on other images than one"):
            require_same("two", other, "one", first)


def test_figures_are_paired_by_content() -> None:
    first, other = manifest("pqrs"), manifest("srqp")
    contents = np.array([[int(i.sha256, 16) for i in other.images]], np.float64)
    heads = MeasuredHeads(
        "two",
        "net",
        {("val", "top1"): {(0, 0.0): contents}},
        {"val": np.array([i.label for i in other.images])},
        {"val": np.arange(4)},
        1,
        0,
    )
    found = in_order_of(first, other, heads)
    assert found.values["val", "top1"][0, 0.0].tolist() == [[0, 1, 2, 3]]
    assert found.labels["val"].tolist() == [0, 0, 1, 1]
    assert in_order_of(other, other, heads) is heads
