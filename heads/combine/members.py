"""Finished runs that are to be combined: what each answered, for the same images in the same order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from featcache.counted_nouns import counted
from featcache.errors import RunError
from featcache.records import Split
from heads.runs import Predictions, Run, calibration_of, load_run_record, members_of, model_digest, predictions_of

SPLITS: tuple[Split, ...] = ("val", "test")
# What is taken from a run beyond what every run has.
SUMMARY_KEYS = {"best_seed", "best_fold", "seeds", "classes", "classifier_dims", "source", "selection_metric"}
PERFORMANCE_KEYS = {"device", "precision", "threads", "backbone_ms", "head_ms", "peak_memory_bytes", "busy"}
Logits = NDArray[np.float32]
Logs = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Member:
    """A run, its place seen from the results folder, and what its heads answered on val `[S, N, C]` and test."""

    run: Run
    place: str
    model: str  # the sha256 of its best_model.pth
    temperature: float  # its own, that makes its probabilities mean what they say; 1 where it has none
    answers: Mapping[Split, Predictions]

    @property
    def seeds(self) -> int:
        """S."""
        return len(self.answers["val"].logits)

    @property
    def folds(self) -> int:
        """F, heads of each seed: each answers all of test."""
        return max(1, len(self.answers["test"].logits) // self.seeds)

    @cached_property
    def best_seed(self) -> int:
        """The place among the seeds of the one whose head is kept."""
        seeds = [one["seed"] for one in self.run.summary["seeds"]]
        return seeds.index(self.run.summary["best_seed"])

    @property
    def best_fold(self) -> int:
        """Of its heads the one that is kept."""
        return int(self.run.summary["best_fold"] or 0)

    def logs(self, split: Split, seed: int, fold: int) -> Logs:
        """Logarithms `[N, C]` of the calibrated probabilities of one head, on val out of fold; `seed` and `fold` are
        counted from the one that is kept, and begin again after the last."""
        place = (self.best_seed + seed) % self.seeds
        if split == "test":
            place = place * self.folds + (self.best_fold + fold) % self.folds
        found: Logs = log_softmax(self.answers[split].logits[place].astype(np.float64) / self.temperature, axis=-1)
        return found


def read_members(folders: Sequence[Path], results_dir: Path) -> tuple[Member, ...]:
    """The runs in `folders`; raises RunError, with all that differs, where they are not of one data set."""
    read = [_read(folder, results_dir) for folder in dict.fromkeys(one.resolve() for one in folders)]
    faults = [fault for one in read[1:] for fault in _differences(one, read[0])]
    if faults:
        raise RunError(
            "combine: these runs did not answer the same images, and probabilities of different ones have no average:\n"
            + "\n".join(f"- {fault}" for fault in faults)
            + "\nName runs of one data set, cut and folded in one way, such as those of one leaderboard."
        )
    first = {split: _grouped(split, read) for split in SPLITS}
    return tuple(replace(one, answers={s: in_order_of(one.answers[s], first[s]) for s in SPLITS}) for one in read)


def _grouped(split: Split, members: Sequence[Member]) -> Predictions:
    """What the first answered, with the groups of the first that knows of any: images that were drawn together are so
    for runs from before `data.groups` too."""
    first = members[0].answers[split]
    known = next((seen for one in members if (seen := one.answers[split]).groups is not None), None)
    if known is None or first.groups is not None:
        return first
    unit = dict(zip(image_keys(known), known.units, strict=True))
    place = {image: number for number, image in enumerate(image_keys(first))}
    return replace(first, groups=np.array([place[unit[image]] for image in place], dtype=np.int64))


def image_keys(seen: Predictions) -> tuple[str, ...]:
    """What each image is called in every run, whatever source of the same images it is on."""
    return seen.keys


def in_order_of(seen: Predictions, first: Predictions) -> Predictions:
    """What was answered, in the order of another run's images."""
    mine, theirs = image_keys(seen), image_keys(first)
    if mine == theirs:
        return replace(first, logits=seen.logits)
    place = {image: number for number, image in enumerate(mine)}
    return replace(first, logits=seen.logits[:, [place[image] for image in theirs]])


def _differences(one: Member, first: Member) -> list[str]:
    """How a run's images, labels and classes are others than those of the first, a line for each."""
    name, other = one.run.folder.name, first.run.folder.name
    if one.run.summary["classes"] != first.run.summary["classes"]:
        return [f"{name} tells {one.run.summary['classes']} apart, and {other} {first.run.summary['classes']}"]
    found = []
    if one.run.summary["data"]["fingerprint"] != first.run.summary["data"]["fingerprint"]:
        found.append(f"{name} is on other data than {other} ({_path(one)}, {_path(first)}), or on another cut of it")
    for split in SPLITS:
        mine, theirs = one.answers[split], first.answers[split]
        labels, known = (dict(zip(image_keys(a), a.labels.tolist(), strict=True)) for a in (mine, theirs))
        names = {key: name for a in (theirs, mine) for key, name in zip(image_keys(a), a.images, strict=True)}
        if len(alone := labels.keys() ^ known.keys()):
            found.append(
                f"{name} answered {counted(len(labels), f'{split} image')} and {other} {len(known)}; {len(alone)} are "
                f"of one of them alone, such as {min(map(names.__getitem__, alone))}{_folded(one, first)}"
            )
        elif wrong := [image for image in known if known[image] != labels[image]]:
            found.append(
                f"{name} has other labels for {counted(len(wrong), f'{split} image')}, such as {names[wrong[0]]}"
            )
    return found


def _path(member: Member) -> str:
    return str(member.run.summary["data"]["path"])


def _folded(one: Member, first: Member) -> str:
    folds = [bool(of.run.summary["data"]["folds"]) for of in (one, first)]
    return " (one of them was cross-validated, by data.folds, and the other was not)" if folds[0] != folds[1] else ""


def _read(folder: Path, results_dir: Path) -> Member:
    run = load_run_record(folder)
    if members_of(run.summary, folder):
        raise RunError(f"{folder}: is a combination itself. Name the runs that it is made of, with others beside them.")
    lacking = sorted((SUMMARY_KEYS - run.summary.keys()) | (PERFORMANCE_KEYS - run.performance.keys()))
    if lacking:
        raise RunError(
            f"{folder}: was made by an earlier version of featcache, which did not say {', '.join(lacking)}. Train the "
            "run again."
        )
    answers: dict[Split, Predictions] = {}
    for split in SPLITS:
        seen = predictions_of(folder, split)
        if seen is None or not len(seen.labels):
            what = "holds no answers" if seen is not None else "is missing or damaged"
            raise RunError(f"{folder / 'predictions.npz'}: {what} on {split}. Train the run again (--fresh).")
        if not np.isfinite(seen.logits).all():
            raise RunError(
                f"{folder}: a head of it gave no finite answer to some {split} images, so that there is no average "
                "with it. Leave the run out, or train it again with a lower rate."
            )
        answers[split] = seen
    calibration = calibration_of(folder, run.summary)
    place = os.path.relpath(folder, results_dir.resolve())
    temperature = 1.0 if calibration is None else calibration.temperature
    return Member(run, place, model_digest(folder), temperature, answers)
