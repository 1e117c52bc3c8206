"""Images are the same by their contents, labels and splits, whatever they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from featcache.errors import DataError
from featcache.places import FilePlace
from featcache.records import ImageRecord, Manifest
from heads.learning_curves.same_images import require_same


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
