"""The measures of one feature map, computed once and remembered in the cache."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.atomic import write_text
from featcache.errors import FeatcacheError
from featcache.records import ImageRecord, digest
from featcache.relatives import has_groups, relatives
from featcache.separability.measures import MEASURES, LabelledFeatures, measures

log = logging.getLogger("featcache")

MOST = 5000  # training images that are looked at: measuring takes seconds however many there are
VERSION = 1  # of the measures: raise it when one of them is computed differently


@dataclass(frozen=True, eq=False)
class Separation:
    """The measures of one feature map; `figures` by name, and image by image what the linear probe got right."""

    figures: dict[str, float | None]
    images: tuple[str, ...]  # names of the training images that were looked at
    right: NDArray[np.bool_] | None  # [n]; None where a probe has no meaning


def measure_separability(
    images: Sequence[ImageRecord],
    identities: Sequence[dict[str, Any]],
    read: Callable[[Sequence[ImageRecord]], NDArray[np.float32]],
    cache_dir: Path,
) -> Separation:
    """The measures of training `images` (view 0), of at most MOST of them, chosen and put in order by content hash:
    renaming a file changes nothing, and the folds of the linear probe are the same for every backbone.

    `identities` are those of the backbones, `read` gives their features `[N, F]`. What the built-in
    ones gave before is read from `separability/` under `cache_dir`: it depends on the features, the labels, which
    images are relatives, and nothing else.
    """
    images = sorted(_chosen(images), key=lambda i: (i.sha256, i.label, i.name))
    names = tuple(image.name for image in images)
    groups = relatives(images) if has_groups(images) else None
    seen: list[list[Any]] = [[i.sha256, i.label] for i in images]
    if groups is not None:
        seen = [[*one, group] for one, group in zip(seen, groups.tolist(), strict=True)]
    key = digest([VERSION, list(identities), seen])
    memo = cache_dir / "separability" / f"{key[:16]}.json"
    known = _known(memo)
    missing = {name: one for name, one in measures().items() if name not in known["figures"]}
    if missing:
        labels = np.array([i.label for i in images], dtype=np.int64)
        labelled = LabelledFeatures(read(images), labels, groups)
        figures = {"n": len(images), **known["figures"], **{name: one.of(labelled) for name, one in missing.items()}}
        right = labelled.probe_right if "linear_probe" in missing else _bits(known["right"])
        known = {"figures": figures, "right": None if right is None else "".join("01"[int(r)] for r in right)}
        if missing.keys() & MEASURES.keys():
            kept = {name: value for name, value in figures.items() if name == "n" or name in MEASURES}
            _remember(memo, {**known, "figures": kept})  # a package's measure may change, and nothing would tell
    return Separation(known["figures"], names, _bits(known["right"]))


def _bits(text: str | None) -> NDArray[np.bool_] | None:
    return None if text is None else np.array([r == "1" for r in text], dtype=np.bool_)


def _chosen(images: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Those with the lowest content hashes: the same for every backbone, and a fair sample."""
    if len(images) <= MOST:
        return list(images)
    kept = set(sorted(i.sha256 for i in images)[:MOST])
    return [i for i in images if i.sha256 in kept][:MOST]


def _known(memo: Path) -> dict[str, Any]:
    """What was measured before; nothing where it is absent or damaged."""
    try:
        value = json.loads(memo.read_text(encoding="utf-8"))
        if isinstance(value["figures"], dict) and "right" in value:
            return dict(value)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"figures": {}, "right": None}


def _remember(memo: Path, value: dict[str, Any]) -> None:
    try:
        write_text(memo, json.dumps(value))
    except (FeatcacheError, OSError) as error:
        log.warning("measures of separability are not remembered: %s", error)
