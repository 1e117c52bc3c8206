"""A teacher: the run or combination that a student learns from, member by member, and whether it may teach here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.errors import RunError
from featcache.records import Manifest, digest
from heads.runs import (
    COMBINED,
    Run,
    RunModel,
    calibration_of,
    load_run_model,
    load_run_record,
    member_folder,
    members_of,
    model_digest,
    predictions_of,
)


@dataclass(frozen=True, eq=False)
class TeacherMember:
    """A network with its head, what its probabilities count, and the temperature that its logits are divided by."""

    model: RunModel
    weight: float
    temperature: float


@dataclass(frozen=True, eq=False)
class Teacher:
    """A finished run, or a combination of several."""

    run: Run
    members: tuple[TeacherMember, ...]
    temperature: float  # of all together, after the average: the combination's own
    inputs: dict[str, Any]  # what decides its answers

    @property
    def name(self) -> str:
        """Its folder's."""
        return self.run.folder.resolve().name


def load_teacher(folder: Path, student: Manifest) -> Teacher:
    """The teacher in `folder`, for a student on these images.

    Raises RunError where it answers other classes, was trained on other images or another cut of them, so that it may
    know what the student is judged by, or is a combination of runs that have changed.
    """
    run = load_run_record(folder)
    _require_same_classes(run, student)
    if run.summary["data"]["fingerprint"] != student.fingerprint:
        raise _of_other_images(run, student)
    return _read(run)


def require_teacher(folder: Path, student: Manifest) -> None:
    """Raise RunError, before anything is extracted, for a teacher that `load_teacher` would refuse.

    Which images can be read is not known yet, so that of the data the teacher's validation images are looked for.
    """
    run = load_run_record(folder)
    _require_same_classes(run, student)
    answered = predictions_of(run.folder, "val")
    here = {i.sha256 for i in student.of("val")}
    if answered is not None and not here.issuperset(answered.contents or ()):
        raise _of_other_images(run, student)
    _read(run)


def _read(run: Run) -> Teacher:
    folder = run.folder
    load_run_model(folder)  # raises where a combination is stale
    calibration = calibration_of(folder, run.summary)
    own = 1.0 if calibration is None else calibration.temperature
    records = [one for one in members_of(run.summary, folder) if one.weight > 0]
    if run.summary["phase"] != COMBINED:
        members: tuple[TeacherMember, ...] = (TeacherMember(load_run_model(folder), 1.0, own),)
        models, own = [model_digest(folder)], 1.0
    else:
        members = tuple(
            TeacherMember(load_run_model(member_folder(folder, one)), one.weight, one.temperature) for one in records
        )
        models = [one.model for one in records]
        own = 1.0 if len(records) == 1 else own  # of one run alone it is that run's
    told = [[one.weight, one.temperature] for one in members]
    recipes = [digest(run.summary.get("inputs")), *(one.inputs for one in records)]
    return Teacher(run, members, own, {"models": models, "answers": digest([told, own, recipes])})


def _require_same_classes(run: Run, student: Manifest) -> None:
    summary = run.summary
    if tuple(summary["classes"]) != student.classes:
        raise RunError(
            f"{run.folder}: the teacher tells {summary['classes']} apart, and the student's data has "
            f"{list(student.classes)}. Name a teacher with the same classes."
        )
    if summary["data"]["folds"]:
        raise RunError(
            f"{run.folder}: the teacher was cross-validated, so its heads trained on the images that choose the "
            "student's epoch. Train it without data.folds; training.distillation.out_of_fold has its training images "
            "answered by heads that have not seen them."
        )


def _of_other_images(run: Run, student: Manifest) -> RunError:
    return RunError(
        f"{run.folder}: the teacher was trained on other images (then in {run.summary['data']['path']}), or on another "
        f"cut of them, than {student.root} has for the student: it may know the images that the student is judged by. "
        "Name a teacher on the same data."
    )
