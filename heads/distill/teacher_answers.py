"""The teacher's answers to every view of the images that train a student: heads on rows that its networks' stores
keep, so that the next student finds them there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp
from torch import nn

from featcache.data import load_manifest
from featcache.devices import products_in
from featcache.errors import WeightsError
from featcache.extraction import (
    CachedFeatures,
    Indices,
    extract_all,
    extract_more,
    fill_store,
    read_rows,
    row_places,
    views_spec,
)
from featcache.options import Options
from featcache.records import ImageRecord, digest
from featcache.session import Session
from featcache.store import FeatureStore
from heads.distill.teacher import Teacher, TeacherMember
from heads.distill.unseen_answers import unseen_answers
from heads.runs import RunModel

log = logging.getLogger("featcache")

PIECE = 1024  # images that are answered at once
Logs = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pool:
    """A student's images `[N]`, how many views each has, and which have no label."""

    images: tuple[ImageRecord, ...]
    views: Indices
    only: NDArray[np.bool_]

    @property
    def trains(self) -> Indices:
        """Those that the teacher is asked about: what is validated on needs no answer."""
        return np.flatnonzero([i.split == "train" for i in self.images])

    def rows_of(self, images: Indices) -> Indices:
        """The rows of all views of these images."""
        first = np.cumsum(self.views) - self.views
        return row_places(first[images], self.views[images])


def answers_of(teacher: Teacher, pool: Pool, options: Options, session: Session) -> Logs:
    """Logarithms `[R, C]` of the teacher's probabilities for each view of a student's images, by the student's
    `options`; rows of images that train nothing are even.

    Labelled images are answered by heads that have not seen them, where the options ask for that.
    """
    every = [
        np.log(one.weight) + log_softmax(_logits(one, pool, options, session) / one.temperature, axis=-1)
        for one in teacher.members
    ]
    found = logsumexp(np.stack(every), axis=0) / teacher.temperature
    answers: Logs = log_softmax(found, axis=-1).astype(np.float32)
    return answers


def _logits(member: TeacherMember, pool: Pool, options: Options, session: Session) -> NDArray[np.float64]:
    """`[R, C]`: zeros where nothing is asked."""
    model, asked = member.model, options.training.distillation
    assert asked is not None
    own = _options_of(model, options)
    extra = [pool.images[i] for i in np.flatnonzero(pool.only)]
    logits = np.zeros((int(pool.views.sum()), len(model.classes)))
    if model.tuned is not None:
        stores: Sequence[FeatureStore] = [_tuned_store(model, own, extra, session)]
        cached = None
    else:
        cached = extract_all(own, session)
        _require_same_features(model, cached)
        extract_more(cached, own, extra, session)
        stores = [part.store for part in cached.parts]
    for start in range(0, len(pool.trains), PIECE):
        images = pool.trains[start : start + PIECE]
        x = np.concatenate(
            [
                read_rows(one, views_spec(own.data), [pool.images[i].sha256 for i in images], pool.views[images])
                for one in stores
            ],
            axis=1,
        )
        logits[pool.rows_of(images)] = _run(model.head, x)
    if asked.out_of_fold is None:
        return logits
    if cached is None or model.options.training.distillation is not None:
        log.warning(
            "%s: answers its own training images as it is, surer than it is of others: no head trained anew on a part "
            "of them stands in for one that was %s",
            model.folder.name,
            "fine-tuned" if cached is None else "distilled",
        )
        return logits
    labelled = np.flatnonzero([i.split == "train" and not only for i, only in zip(pool.images, pool.only, strict=True)])
    logits[pool.rows_of(labelled)] = unseen_answers(model, cached, own, asked.out_of_fold, session.device)
    return logits


def _options_of(model: RunModel, student: Options) -> Options:
    """A member's network on the student's images and views, in the student's cache; what its latency was measured at
    stays, so that it is not measured again."""
    data = student.data.model_copy(update={"batch_size": model.options.data.batch_size})
    cache = model.options.cache.model_copy(update={"dir": student.cache.dir})
    return model.options.model_copy(update={"data": data, "cache": cache})


def _require_same_features(model: RunModel, cached: CachedFeatures) -> None:
    if [digest(i) for i in cached.identities()] != [digest(i.as_dict()) for i in model.identities]:
        raise WeightsError(
            f"{model.folder}: the teacher's head was trained on other features than {model.options.model.backbone} "
            "gives now. Bring its weights back, or train it again."
        )


def _tuned_store(model: RunModel, options: Options, extra: Sequence[ImageRecord], session: Session) -> FeatureStore:
    """The store of a network that was fine-tuned: its weights are part of what it is called by."""
    (backbone,) = model.backbones(allow_custom=session.allow_custom)
    manifest, _ = load_manifest(options.data, options.cache.folder)
    wanted = replace(manifest, images=(*manifest.of("train"), *extra))
    return fill_store(backbone, options, wanted, session)


def _run(head: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode(), products_in("float32", torch.device("cpu")):
        logits: NDArray[np.float32] = head(torch.from_numpy(x)).numpy()
    return logits
