"""What a trial's heads gave on every validation image, epoch by epoch: kept when it is over, read when the best is
judged.

With it the choice of the best trial, and of each head's epoch, can be made again on other images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.atomic import make_folder, replacing, write_text
from featcache.records import ImageRecord, digest
from featcache.relatives import content_names, has_groups, relatives
from featcache.statistics import Scores
from heads.runs import ValOutcomes, arrays_of, val_outcomes
from heads.training import ANSWERED, Features, TrainedHead, find_metric

OUTCOMES_FOLDER = "outcomes"  # in a sweep's folder

# Of one trial, read back: a byte for each of top-1 and top-3, four for another selection metric. 3 seeds of 50 epochs
# on 5,000 images take 1.5 MB (a bit for a byte on the disk); what would take more is kept of the best epochs alone.
LIMIT_BYTES = 2_000_000

_TOPS = ("top1", "top3")
_WHOLE = "whole_"  # what the names of arrays begin with that hold a metric of the whole split


@dataclass(frozen=True)
class Lost:
    """Outcomes that are not to be had."""

    reason: str  # goes on from "what it gave on each image is"


GONE = Lost("not in outcomes/ (its file was removed, or is of a version of featcache that kept none)")
DAMAGED = Lost("in a damaged file of outcomes/")
NAMELESS = Lost("of images that are no longer known (outcomes/images-*.json is gone or damaged)")


@dataclass(frozen=True)
class ValImages:
    """The N validation images of trials: what each is called by its content (of trials of an earlier version by its
    file), what it was drawn from the world with, and of which class it is (once not known)."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    labels: tuple[int, ...] = ()

    @classmethod
    def of(cls, images: Sequence[ImageRecord]) -> ValImages:
        """Those of these images; one that has relatives speaks with them (`featcache.relatives`)."""
        names = content_names(i.sha256 for i in images)
        units = tuple(names[first] for first in relatives(images)) if has_groups(images) else names
        return cls(names, units, tuple(i.label for i in images))

    @cached_property
    def classes(self) -> NDArray[np.int64]:
        """The labels `[N]`."""
        return np.array(self.labels, np.int64)

    @cached_property
    def independent(self) -> int:
        """How many units there are: images that speak for themselves, and groups."""
        return len(set(self.units))

    @cached_property
    def key(self) -> str:
        """The same for the same images."""
        return digest([self.names, self.units, self.labels])[:16]


@dataclass(frozen=True, eq=False)
class TrialOutcomes:
    """One trial's outcomes on val: S seeds, E epochs (1 where only the best ones are kept)."""

    images: ValImages
    every: ValOutcomes
    loss: NDArray[np.float32]  # [S, N]: of each image at its head's best epoch
    selection: str  # what its heads' epochs were chosen by, such as `val_top1`
    trained: int  # epochs, of the longest head
    whole: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # [S, N] likewise: parts of metrics of all

    @property
    def complete(self) -> bool:
        """Whether all its epochs are there, so that they can be chosen again."""
        return int(self.every.top1.shape[2]) >= self.trained

    def knows(self, metric: str) -> bool:
        """Whether `kept` has it; an earlier version kept other parts of metrics of the whole split, and no classes."""
        return metric in (*_TOPS, "loss") or (metric in self.whole and bool(self.images.labels))

    def kept(self, metric: str) -> Scores:
        """Top-1, top-3, loss or a metric of the whole split at the best epochs, larger better."""
        if metric in self.whole:
            return Scores(self.whole[metric].astype(np.float64), self.images.units, strata=self.images.classes)
        if metric == "loss":
            return Scores(-self.loss.astype(np.float64), self.images.units, bounded=False, loss=True)
        best = at_best_epochs(self.every)
        return Scores({"top1": best.top1, "top3": best.top3}[metric][0, :, 0].astype(np.float64), self.images.units)


def trial_outcomes(
    features: Features, heads: Sequence[TrainedHead], images: ValImages, selection: str
) -> TrialOutcomes:
    """Those of a trial's heads, for each seed one or one for each fold, that were trained with `keep_outcomes`."""
    folds = len(features.folds)
    seeds = [heads[start : start + folds] for start in range(0, len(heads), folds)]
    every = val_outcomes(features, [seeds], images.names)
    loss = np.zeros((len(seeds), len(images.names)), np.float32)
    assert heads[0].outcomes is not None
    if not ANSWERED.keys() & {find_metric(selection).name, *heads[0].outcomes.further}:
        every = replace(every, answers=None)  # nobody will ask for them, and they count to the limit
    whole = {name: np.zeros_like(loss) for name in heads[0].outcomes.further}
    for seed, own in enumerate(seeds):
        for head in own:
            assert head.outcomes is not None
            loss[seed, every.fold == head.fold] = head.outcomes.loss
            for name, values in head.outcomes.further.items():
                whole[name][seed, every.fold == head.fold] = values
    trained = every.top1.shape[2]
    held = every.top1.size * 2 + sum(own.nbytes for own in _further(every).values())
    known = every if held <= LIMIT_BYTES else at_best_epochs(every)
    return TrialOutcomes(images, known, loss, selection, trained, whole)


def at_best_epochs(every: ValOutcomes) -> ValOutcomes:
    """The same with nothing but each head's best epoch."""
    place = every.chosen[:, :, every.fold][:, :, None]  # [T, S, 1, N]
    return replace(
        every,
        top1=np.take_along_axis(every.top1, place, axis=2),
        top3=np.take_along_axis(every.top3, place, axis=2),
        loss=np.take_along_axis(every.loss, every.chosen[..., None], axis=3),
        epochs=np.ones_like(every.epochs),
        chosen=np.zeros_like(every.chosen),
        selected=_taken(every.selected, place),
        answers=_taken(every.answers, place),
    )


def _taken(values: NDArray[Any] | None, place: NDArray[np.int64]) -> NDArray[Any] | None:
    return None if values is None else np.take_along_axis(values, place, axis=2)


def _further(every: ValOutcomes) -> dict[str, NDArray[Any]]:
    """What there may be beside top-1 and top-3, `[T, S, E, N]`."""
    every_one = {"selected": every.selected, "answers": every.answers}
    return {name: own for name, own in every_one.items() if own is not None}


@dataclass(frozen=True)
class OutcomeFiles:
    """The outcomes of a sweep's trials: `<number>.npz`, whole or not there, and once for all trials the images that
    they are of."""

    folder: Path
    _images: dict[str, ValImages] = field(default_factory=dict)

    def keep(self, number: int, of: TrialOutcomes) -> None:
        """Write those of a trial, over what a trial of this number left that was never told."""
        make_folder(self.folder)
        if of.images.key not in self._images:
            names = {"names": of.images.names, "units": of.images.units, "labels": of.images.labels}
            write_text(self._images_file(of.images.key), json.dumps(names, ensure_ascii=False) + "\n")
            self._images[of.images.key] = of.images
        every = of.every
        arrays = {
            "images": np.array(of.images.key),
            "selection": np.array(of.selection),
            "trained": np.array(of.trained),
            "fold": every.fold.astype(np.uint16),
            **{name: np.packbits(getattr(every, name), axis=-1) for name in _TOPS},
            "epoch_loss": every.loss,
            "epochs": every.epochs,
            "chosen": every.chosen,
            "loss": of.loss,
            **_further(every),
            **{f"{_WHOLE}{name}": values for name, values in of.whole.items()},
        }
        with replacing(self._file(number)) as file, file.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub takes its own for ours

    def read(self, number: int) -> TrialOutcomes | Lost:
        """Those of a trial, or why they are not to be had."""
        if not self._file(number).exists():
            return GONE
        try:
            with arrays_of(self._file(number)) as file:
                arrays = {name: file[name] for name in file.files}
            key = str(arrays["images"])
        except (OSError, KeyError, ValueError, TypeError):
            return DAMAGED
        try:
            images = self._images_of(key)
        except (OSError, KeyError, ValueError, TypeError):
            return NAMELESS
        try:
            return self._of(images, arrays)
        except (KeyError, ValueError, TypeError):
            return DAMAGED

    def _of(self, images: ValImages, arrays: dict[str, NDArray[np.generic]]) -> TrialOutcomes:
        count = len(images.names)
        bits = {
            name: np.unpackbits(arrays[name].astype(np.uint8), axis=-1, count=count).view(np.bool_) for name in _TOPS
        }
        every = ValOutcomes(
            images.names,
            arrays["fold"].astype(np.int64),
            bits["top1"].view(np.bool_),
            bits["top3"].view(np.bool_),
            arrays["epoch_loss"].astype(np.float64),
            arrays["epochs"].astype(np.int64),
            arrays["chosen"].astype(np.int64),
            selected=arrays["selected"].astype(np.float32) if "selected" in arrays else None,
            answers=arrays["answers"].astype(np.int32) if "answers" in arrays else None,
        )
        loss = arrays["loss"].astype(np.float32)
        whole = {n.removeprefix(_WHOLE): v.astype(np.float32) for n, v in arrays.items() if n.startswith(_WHOLE)}
        expected = every.top1.shape[1::2]
        if (
            expected[-1] != count
            or len(every.fold) != count
            or any(v.shape != expected for v in (loss, *whole.values()))
            or any(v.shape != every.top1.shape for v in _further(every).values())
        ):
            raise ValueError("is damaged")
        return TrialOutcomes(images, every, loss, str(arrays["selection"]), int(arrays["trained"]), whole)

    def _images_of(self, key: str) -> ValImages:
        if key not in self._images:
            document = json.loads(self._images_file(key).read_text(encoding="utf-8"))
            names, units = tuple(document["names"]), tuple(document["units"])
            self._images[key] = ValImages(names, units, tuple(document["labels"]) if "labels" in document else ())
        return self._images[key]

    def _images_file(self, key: str) -> Path:
        return self.folder / f"images-{key}.json"

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:05d}.npz"
