"""Backbones are compared on the same images: told before any training, put in one order whatever they are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from featcache.data import load_manifest
from featcache.errors import DataError, FeatcacheError
from featcache.options import Options
from featcache.records import ImageRecord, Manifest
from featcache.relatives import relatives
from heads.learning_curves.measured_heads import MeasuredHeads


def require_same_images(every: Sequence[Options]) -> None:
    """Raise DataError where options name different images; what cannot be read is left to who measures it."""
    named = {(one.data.model_dump_json(), str(one.cache.dir)): one for one in reversed(every)}
    if len(named) < 2:
        return
    found: list[tuple[str, Manifest]] = []
    for one in reversed(named.values()):
        try:
            found.append((one.experiment_name, load_manifest(one.data, one.cache.dir)[0]))
        except FeatcacheError:
            continue
    for name, manifest in found[1:]:
        require_same(name, manifest, *found[0])


def require_same(name: str, manifest: Manifest, first: str, of_first: Manifest) -> None:
    """Raise DataError unless two manifests have the same contents under the same labels in the same splits; what files
    are called says nothing: an archive and a table may hold the same images."""
    if manifest.classes != of_first.classes or _contents(manifest) != _contents(of_first):
        raise DataError(
            f"{name}: is on other images than {first}: curves are compared on the same training, validation and test "
            "images, labels and splits. Ask for each by itself."
        )


def in_order_of(first: Manifest, manifest: Manifest, heads: MeasuredHeads) -> MeasuredHeads:
    """What `heads` gave on the images of `manifest`, in the order that `first` has the same images in."""
    order = {split: _order(first.of(split), manifest.of(split)) for split in heads.labels}
    if all(np.array_equal(one, np.arange(len(one))) for one in order.values()):
        return heads
    return replace(
        heads,
        values={
            (split, metric): {key: values[:, order[split]] for key, values in points.items()}
            for (split, metric), points in heads.values.items()
        },
        labels={split: labels[order[split]] for split, labels in heads.labels.items()},
        units={split: relatives([manifest.of(split)[i] for i in order[split]]) for split in heads.units},
    )


def _contents(manifest: Manifest) -> list[tuple[str, int, str]]:
    return sorted((i.split, i.label, i.sha256) for i in manifest.images)


def _order(wanted: Sequence[ImageRecord], there: Sequence[ImageRecord]) -> NDArray[np.int64]:
    """The places in `there` of the images `wanted`."""
    sort_wanted, sort_there = (
        sorted(range(len(images)), key=[(i.label, i.sha256) for i in images].__getitem__) for images in (wanted, there)
    )
    found = np.empty(len(wanted), np.int64)
    found[sort_wanted] = sort_there
    return found
