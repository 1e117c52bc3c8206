"""Feature maps in two dimensions: principal components, and t-SNE; made once for the same features and images."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from featcache.atomic import write_text
from featcache.errors import FeatcacheError
from featcache.records import ImageRecord, Manifest, digest
from featcache.store import store_at

log = logging.getLogger("featcache")

POINTS = 400  # on a map: more would hide each other, and every page carries their pictures
COMPONENTS = 50  # that t-SNE works on, as van der Maaten and Hinton do
VERSION = 2  # of how maps are made
READING = Lock()  # stores are read one after the other

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class FeatureMap:
    """Images in two dimensions, 0 to 1000 along the longer side of each projection `[N, 2]`, the shorter centred."""

    pca: list[list[int]]
    tsne: list[list[int]]
    explained: float  # share of the variance that the two principal components hold


def choose_images(manifest: Manifest) -> list[ImageRecord]:
    """At most POINTS distinct images, of each class a share as large as in the data, by content hash.

    The same for every backbone, so that maps can be compared; and whatever is added later, most of them stay.
    """
    distinct = list({image.sha256: image for image in manifest.images}.values())
    if len(distinct) <= POINTS:
        return sorted(distinct, key=lambda i: (i.label, i.sha256))
    chosen: list[ImageRecord] = []
    for label in range(len(manifest.classes)):
        own = sorted((i for i in distinct if i.label == label), key=lambda i: i.sha256)
        chosen += own[: max(1, round(POINTS * len(own) / len(distinct)))]
    return chosen


Wanted = tuple[Sequence[Path], Path]  # stores whose features lie side by side, and the cache that keeps their map


def feature_maps(wanted: Sequence[Wanted], images: Sequence[ImageRecord]) -> Iterator[FeatureMap | None]:
    """The map of each, in order: as many at once as there are cores, each on one thread.

    The thousand steps of t-SNE take a millisecond each: threads that share them spend it waiting for each other, and
    thirty times that where anything else runs.
    """
    # BLAS has one number of threads for the whole process, OpenMP one for each thread that asks it.
    each = ThreadPoolExecutor(os.cpu_count(), "maps", threadpool_limits, (1, "openmp"))
    with threadpool_limits(1, user_api="blas"), each as pool:
        yield from pool.map(lambda one: feature_map(one[0], images, one[1]), wanted)


def feature_map(stores: Sequence[Path], images: Sequence[ImageRecord], cache_dir: Path) -> FeatureMap | None:
    """The map of these images' features, side by side where they lie in several stores; kept in `maps/` under
    `cache_dir`. None where a store is gone or lacks them, or there are too few images for a map."""
    if len(images) < 4:
        return None
    hashes = [image.sha256 for image in images]
    memo = cache_dir / "maps" / f"{digest([VERSION, [s.name for s in stores], hashes])[:16]}.json"
    known = _known(memo, len(images))
    if known is not None:
        return known
    try:
        with READING:
            parts = [store_at(path).read(hashes) for path in stores]
    except FeatcacheError as error:
        log.warning("no map: %s", error)
        return None
    made = make_map(np.concatenate(parts, axis=1).astype(np.float64))
    if not cache_dir.is_dir():  # a page never makes a cache where none is
        return made
    try:
        write_text(memo, json.dumps(made.__dict__))
    except (FeatcacheError, OSError) as error:
        log.warning("maps are not remembered: %s", error)
    return made


def make_map(features: Matrix) -> FeatureMap:
    """The map of features `[N, F]`, the same for the same features.

    PCA of the features as they are; t-SNE (van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008) of
    their first principal components, begun from the first two, as Kobak and Berens (Nature Communications 2019) do.
    """
    samples, width = features.shape
    if not np.ptp(features, axis=0).any():  # the same features for every image
        one = [[500, 500]] * samples
        return FeatureMap(one, one, 0.0)
    pca = PCA(min(COMPONENTS, samples - 1, width), svd_solver="full")
    components = pca.fit_transform(features - features.mean(axis=0))
    if components.shape[1] < 2:
        components = np.pad(components, ((0, 0), (0, 2 - components.shape[1])))
    perplexity = min(30.0, (samples - 1) / 3)
    scaled = components / components[:, 0].std()
    tsne = TSNE(perplexity=perplexity, init=scaled[:, :2] * 1e-4, random_state=0, n_jobs=1).fit_transform(scaled)
    explained = float(np.nan_to_num(pca.explained_variance_ratio_[:2]).sum())
    return FeatureMap(_scaled(components[:, :2]), _scaled(tsne.astype(np.float64)), explained)


def _scaled(points: Matrix) -> list[list[int]]:
    """Whole numbers, three digits of which are more than a page shows; both axes to the same scale."""
    low, high = points.min(axis=0), points.max(axis=0)
    extent = float((high - low).max()) or 1.0
    found: list[list[int]] = np.round((points - (low + high) / 2) / extent * 1000 + 500).astype(int).tolist()
    return found


def _known(memo: Path, count: int) -> FeatureMap | None:
    try:
        value = FeatureMap(**json.loads(memo.read_text(encoding="utf-8")))
        return value if len(value.pca) == len(value.tsne) == count else None
    except (OSError, ValueError, TypeError):
        return None
