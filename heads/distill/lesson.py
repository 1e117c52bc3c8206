"""What a student is taught with: the teacher's answers to every view of the images, labelled or not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from featcache.backbones import Backbone
from featcache.counted_nouns import counted, nouns
from featcache.data import load_manifest
from featcache.errors import DataError
from featcache.extraction import CachedFeatures, Indices, StoreRows, extract_more
from featcache.options import Distillation, Options
from featcache.records import ImageRecord, digest
from featcache.session import Session
from heads.distill.answers_file import AnswersFile
from heads.distill.teacher import Teacher, load_teacher, require_teacher
from heads.distill.teacher_answers import Pool, answers_of
from heads.distill.unlabelled_images import UnlabelledImages, find_unlabelled
from heads.training import Features, Fold, SoftTargets

log = logging.getLogger("featcache")


@dataclass(frozen=True, eq=False)
class Lesson:
    """A teacher, and the images without labels that it speaks of beside those of the data set."""

    options: Options  # the student's
    teacher: Teacher
    unlabelled: UnlabelledImages

    @property
    def distillation(self) -> Distillation:
        """The student's."""
        assert self.options.training.distillation is not None
        return self.options.training.distillation

    @property
    def inputs(self) -> dict[str, Any]:
        """What of it decides the student's result."""
        images = [i.sha256 for i in self.unlabelled.images]
        return {"teacher": self.teacher.inputs, **({"unlabelled": digest(images)} if images else {})}

    @property
    def record(self) -> dict[str, Any]:
        """What the student's summary says of it."""
        return {
            "teacher": self.teacher.name,
            "teacher_backbone": self.teacher.run.summary["backbone"],
            "members": [one.model.folder.resolve().name for one in self.teacher.members],
            "temperature": self.distillation.temperature,
            "weight": self.distillation.weight,
            "out_of_fold": self.distillation.out_of_fold,
            "unlabelled": len(self.unlabelled.images),
            "left_out": self.unlabelled.left_out,
            **self.teacher.inputs,
        }

    def taught(self, features: Features, cached: CachedFeatures, session: Session) -> Features:
        """The student's features with the teacher's answers, and with the unlabelled images among those that train."""
        extra, rows = self.readable(cached, session), features.rows
        assert isinstance(rows, StoreRows) and len(features.folds) == 1
        views = np.append(features.views, np.full(len(extra), cached.parts[0].views))
        soft, guessed = self.targets((*rows.images, *extra), views, len(extra), session)
        (fold,), count = features.folds, len(features.labels)
        return replace(
            features,
            rows=StoreRows(cached, (*rows.images, *extra), views),
            labels=np.append(features.labels, guessed),
            views=views,
            folds=(Fold(np.append(fold.train, np.arange(count, count + len(extra))), fold.val),),
            weights=None if features.weights is None else np.append(features.weights, np.ones(len(extra))),
            soft=soft,
        )

    def readable(
        self, cached: CachedFeatures, session: Session, backbone: Backbone | None = None
    ) -> tuple[ImageRecord, ...]:
        """The unlabelled images that can be read; their rows are in the student's stores, which are of its options'
        backbones or of the one that is given."""
        if not self.unlabelled.images:
            return ()
        found = extract_more(cached, self.options, self.unlabelled.images, session, backbone)
        for split, count in self.unlabelled.left_out.items():
            where = "named twice" if split == "again" else f"in {split} of the data set"
            log.info("%s of the unlabelled %s left out: %s", count, nouns(count, "image"), where)
        bad = len(self.unlabelled.images) - len(found)
        if not found:
            raise DataError(
                f"{self.distillation.unlabelled}: none of the {counted(bad, 'image')} that the data set lacks can be "
                "read. Name a folder of other images as training.distillation.unlabelled, or drop it."
            )
        if bad:
            log.warning("%s of the unlabelled ones cannot be read, and are left out", counted(bad, "image"))
        return found

    def targets(
        self, images: Sequence[ImageRecord], views: Indices, extra: int, session: Session
    ) -> tuple[SoftTargets, Indices]:
        """The teacher's answers to images, whose last `extra` have no label, and the classes `[extra]` that it takes
        those for: what accuracy in training is told by."""
        only = np.arange(len(images)) >= len(images) - extra
        pool = Pool(tuple(images), views, only)
        known = AnswersFile.of(self.teacher, pool, self.options, session)
        logs = known.read()
        if logs is None:
            logs = answers_of(self.teacher, pool, self.options, session)
            known.write(logs)
        first = np.cumsum(views) - views
        guessed: Indices = logs[first[only]].argmax(axis=1)
        return SoftTargets(logs, only), guessed


def require_lesson(options: Options) -> None:
    """Raise what `lesson_of` would, before anything is extracted, as far as that can be known."""
    asked = options.training.distillation
    if asked is None:
        return
    manifest, _ = load_manifest(options.data, options.cache.folder)
    require_teacher(Path(asked.teacher), manifest)
    if asked.unlabelled is not None:
        find_unlabelled(asked.unlabelled, options, manifest)


def lesson_of(options: Options, cached: CachedFeatures) -> Lesson | None:
    """What `training.distillation` asks for, on the images of an extraction; None where it asks for nothing.

    Raises RunError for a teacher that may not teach here, DataError for unlabelled images that are not there.
    """
    asked = options.training.distillation
    if asked is None:
        return None
    manifest = cached.manifest
    teacher = load_teacher(Path(asked.teacher), manifest)
    found = UnlabelledImages()
    if asked.unlabelled is not None:
        found = find_unlabelled(asked.unlabelled, options, manifest)
    return Lesson(options, teacher, found)
