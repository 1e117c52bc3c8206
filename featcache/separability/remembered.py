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
from featcache.separability.small_products import few_threads

log = logging.getLogger("featcache")

MOST = 5000  # training images that are looked at: measuring takes seconds however many there are
SMALL = 10**9  # multiply-adds of the features' Gram matrix: of a thousand images with a thousand features
VERSION = 1  # of the measures: raise it when one of them is computed differently


@dataclass(frozen=True, eq=False)
class Answered:
    """Images by name, and which of them a probe got right `[n]` without having been trained on them."""

    images: tuple[str, ...]
    right: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Separation:
    """The measures of one feature map; `figures` by name, and image by image what the probes got right."""

    figures: dict[str, float | None]
    images: tuple[str, ...]  # names of the training images that were looked at
    right: NDArray[np.bool_] | None  # by the linear probe [n]; None where a probe has no meaning
    logistic: Answered | None = None  # training images, by logistic regression out of fold
    logistic_val: Answered | None = None  # validation images, by logistic regression on the training images
    c: float | None = None  # that it took for them


def measure_separability(
    images: Sequence[ImageRecord],
    identities: Sequence[dict[str, Any]],
    read: Callable[[Sequence[ImageRecord]], NDArray[np.float32]],
    cache_dir: Path,
    *,
    val: Sequence[ImageRecord] = (),
) -> Separation:
    """The measures of training `images` (view 0), of at most MOST of them, chosen and put in order by content hash:
    renaming a file changes nothing, and the folds of the linear probe are the same for every backbone. Of `val` the
    logistic probe of these answers as many.

    `identities` are those of the backbones, `read` gives their features `[N, F]`. What the built-in
    ones gave before is read from `separability/` under `cache_dir`: it depends on the features, the labels, which
    images are relatives, and nothing else.
    """
    images, val = _in_order(images), _in_order(val)
    groups = relatives(images) if has_groups(images) else None
    seen: list[list[Any]] = [[i.sha256, i.label] for i in images]
    if groups is not None:
        seen = [[*one, group] for one, group in zip(seen, groups.tolist(), strict=True)]
    key = digest([VERSION, list(identities), seen])
    memo = cache_dir / "separability" / f"{key[:16]}.json"
    known = _known(memo)
    missing = {name: one for name, one in measures().items() if name not in known["figures"]}
    asked = digest([[i.sha256, i.label] for i in val])
    unanswered = len(val) > 0 and known["val"] != asked
    if missing or unanswered:
        labelled = LabelledFeatures(read(images), _labels(images), groups)
        with few_threads(labelled.features.size * min(labelled.features.shape), SMALL):
            measured = {name: one.of(labelled) for name, one in missing.items()}
            figures = {"n": len(images), **known["figures"], **measured}
            known = {**known, "figures": figures}
            if "linear_probe" in missing:
                known["right"] = _text(labelled.probe_right)
            if "logistic_probe" in missing or unanswered:
                known |= _answered(labelled, read, val, asked)
        if missing.keys() & MEASURES.keys() or unanswered:
            kept = {name: value for name, value in figures.items() if name == "n" or name in MEASURES}
            _remember(memo, {**known, "figures": kept})  # a package's measure may change, and nothing would tell
    return _separation(known, images, val)


def _in_order(images: Sequence[ImageRecord]) -> list[ImageRecord]:
    return sorted(_chosen(images), key=lambda i: (i.sha256, i.label, i.name))


def _labels(images: Sequence[ImageRecord]) -> NDArray[np.int64]:
    return np.array([i.label for i in images], dtype=np.int64)


def _answered(
    labelled: LabelledFeatures,
    read: Callable[[Sequence[ImageRecord]], NDArray[np.float32]],
    val: Sequence[ImageRecord],
    asked: str,
) -> dict[str, Any]:
    """What is remembered of the logistic probe."""
    probe = labelled.logistic
    if probe is None:
        return {"val": asked, "logistic": None}
    right = probe.answers(read(val)) == _labels(val) if val else None
    told = {"looked": probe.looked.tolist(), "right": _text(probe.right), "c": probe.c, "val_right": _text(right)}
    return {"val": asked, "logistic": told}


def _separation(known: dict[str, Any], images: Sequence[ImageRecord], val: Sequence[ImageRecord]) -> Separation:
    names, logistic = tuple(i.name for i in images), known["logistic"]
    right = None if known["right"] is None else _bits(known["right"])
    if logistic is None:
        return Separation(known["figures"], names, right)
    probed = Answered(tuple(names[n] for n in logistic["looked"]), _bits(logistic["right"]))
    answered = Answered(tuple(i.name for i in val), _bits(logistic["val_right"])) if val else None
    return Separation(known["figures"], names, right, probed, answered, logistic["c"])


def _text(bits: NDArray[np.bool_] | None) -> str | None:
    return None if bits is None else "".join("01"[int(bit)] for bit in bits)


def _bits(text: str) -> NDArray[np.bool_]:
    return np.array([bit == "1" for bit in text], dtype=np.bool_)


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
            if "logistic" not in value:  # from before there was such a probe
                value["figures"].pop("logistic_probe", None)
            return {"logistic": None, "val": None, **value}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"figures": {}, "right": None, "logistic": None, "val": None}


def _remember(memo: Path, value: dict[str, Any]) -> None:
    try:
        write_text(memo, json.dumps(value))
    except (FeatcacheError, OSError) as error:
        log.warning("measures of separability are not remembered: %s", error)
