"""How alike the feature maps of finished runs are: linear CKA on the same training images, remembered in the cache."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

from featcache.atomic import write_text
from featcache.errors import FeatcacheError
from featcache.records import Manifest, digest
from featcache.separability import FEWEST_ALIGNED, unit_gram
from featcache.store import store_at
from heads.runs import Run, cache_of

log = logging.getLogger("featcache")

MOST = 2000  # training images that are compared: CKA of more differs in the third digit, and costs their square
HELD = 16  # Gram matrices at once: 8 MB each
VERSION = 1  # of how CKA is computed
BESIDE = " | "  # between two stores' names
REDUNDANT = 0.9  # CKA from which on two feature maps count as nearly the same

Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Alignment:
    """Debiased linear CKA `[K, K]` of the feature maps of K runs, on `images` training images."""

    runs: tuple[str, ...]
    cka: NDArray[np.float64]
    images: int

    def of(self, one: str, other: str) -> float | None:
        """That of two runs; None where either was not compared."""
        if one not in self.runs or other not in self.runs:
            return None
        return float(self.cka[self.runs.index(one), self.runs.index(other)])

    def order(self) -> list[int]:
        """The runs' places so that alike ones stand together: leaves of average linkage, neighbours the most alike."""
        if len(self.runs) < 3:
            return list(range(len(self.runs)))
        found: list[int] = leaves_list(linkage(self._apart(), "average", optimal_ordering=True)).tolist()
        return found

    def redundant(self) -> list[tuple[str, ...]]:
        """Groups of runs each two of which have a CKA of REDUNDANT or more, in the order of `runs`."""
        if len(self.runs) < 2:
            return []
        groups = fcluster(linkage(self._apart(), "complete"), 1 - REDUNDANT, criterion="distance")
        members = [
            tuple(r for r, g in zip(self.runs, groups, strict=True) if g == own) for own in dict.fromkeys(groups)
        ]
        return [group for group in members if len(group) > 1]

    def _apart(self) -> NDArray[np.float64]:
        """1 - CKA, as a condensed matrix of distances."""
        found: NDArray[np.float64] = squareform(np.clip(1 - self.cka, 0, None), checks=False)
        return found


def align(runs: Sequence[Run], cache_dir: Path | None = None) -> Alignment | None:
    """CKA of `runs` on the same data, each with one backbone's features in its store below `cache_dir` (default: where
    each kept them); runs whose features are gone, or tell no images apart, are left out with a notice.

    At most MOST distinct training images, those with the lowest content hashes. Pairs that were compared before are
    read from `alignment/` of the cache. Memory HELD + 1 Gram matrices; None where fewer than two can be compared.
    """
    stores = {run.folder.name: (cache_dir or cache_of(run)) / str(run.summary["stores"][0]) for run in runs}
    images = _chosen(_manifest(list(stores.values()), str(runs[0].summary["data"]["fingerprint"]))) if runs else []
    if len(images) < FEWEST_ALIGNED:
        return None
    folder = cache_dir or cache_of(runs[0])
    memo = folder / "alignment" / f"{digest([VERSION, images])[:16]}.json"
    known = _known(memo)
    names = list(dict.fromkeys(path.name for path in stores.values()))
    if any(_key(one, other) not in known for one, other in combinations(names, 2)):
        known |= _compared({path.name: path for path in stores.values()}, images)
        _remember(memo, known, folder)
    own = _comparable(names, known)
    kept = [run for run in stores if stores[run].name in own]
    if len(kept) < 2:
        return None
    cka = [[_of(known, stores[one].name, stores[other].name) for other in kept] for one in kept]
    return Alignment(tuple(kept), np.array(cka, dtype=np.float64), len(images))


def _comparable(names: Sequence[str], known: Mapping[str, float | None]) -> set[str]:
    """The stores that can all be compared with each other: those with the most comparisons first."""
    order = sorted(names, key=lambda one: -sum(_of(known, one, other) is not None for other in names))
    kept: list[str] = []
    for one in order:
        if all(_of(known, one, other) is not None for other in kept):
            kept.append(one)
    return set(kept)


def _of(known: Mapping[str, float | None], one: str, other: str) -> float | None:
    return 1.0 if one == other else known.get(_key(one, other))


def _chosen(manifest: Manifest | None) -> list[str]:
    """Content hashes of the training images that are compared: the same for every backbone, and a fair sample. A copy
    would be alike for every backbone, so each content counts once."""
    return sorted({image.sha256 for image in manifest.of("train")})[:MOST] if manifest is not None else []


def _manifest(paths: Sequence[Path], fingerprint: str) -> Manifest | None:
    """The data set as the first store knows it that is there and whole."""
    for path in dict.fromkeys(paths):
        try:
            return store_at(path).dataset(fingerprint)
        except FeatcacheError as error:
            log.info("%s", error)
    return None


def _key(one: str, other: str) -> str:
    return BESIDE.join(sorted((one, other)))


def _compared(stores: Mapping[str, Path], images: Sequence[str]) -> dict[str, float | None]:
    """CKA of each pair of stores: HELD Gram matrices in memory at a time, beside each later one in turn."""
    lost: set[str] = set()  # their features are gone: nothing is known of them for good

    def gram(name: str) -> Vector | None:
        try:
            return None if name in lost else unit_gram(store_at(stores[name]).read(images))
        except FeatcacheError as error:
            log.warning("not compared with other feature maps: %s", error)
            lost.add(name)
            return None

    found: dict[str, float | None] = {}
    names = list(stores)
    for start in range(0, len(names), HELD):
        held = {name: gram(name) for name in names[start : start + HELD]}
        found |= {_key(one, other): _product(held[one], held[other]) for one, other in combinations(held, 2)}
        for later in names[start + HELD :]:
            own = gram(later)
            found |= {_key(one, later): _product(held[one], own) for one in held}
    return {key: cka for key, cka in found.items() if not lost & set(key.split(BESIDE))}


def _product(one: Vector | None, other: Vector | None) -> float | None:
    return None if one is None or other is None else round(float(one @ other), 6)


def _known(memo: Path) -> dict[str, float | None]:
    """What was compared before; nothing where it is absent or damaged."""
    try:
        value: Any = json.loads(memo.read_text(encoding="utf-8"))
        return {str(key): None if cka is None else float(cka) for key, cka in value.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(memo: Path, known: Mapping[str, float | None], cache_dir: Path) -> None:
    if not cache_dir.is_dir():  # a page never makes a cache where none is
        return
    try:
        write_text(memo, json.dumps(known))
    except (FeatcacheError, OSError) as error:
        log.warning("the alignment of feature maps is not remembered: %s", error)
