"""What fine-tuning changed, image by image: which turned right and which turned wrong, by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from featcache.counted_nouns import counted
from featcache.records import ImageRecord, Split, digest
from heads.report.names_here import names_here
from heads.report.report_contents import Contents
from heads.runs import Predictions, Run, predictions_of

SPLITS: tuple[Split, ...] = ("val", "test")
RUNS = 6  # fine-tuned runs whose images are shown, at most
PICTURES = 60  # of each kind


@dataclass(frozen=True)
class TurnedImage:
    """A validation image that one of two runs has right, and what it was and is taken for."""

    name: str
    label: str
    before: str
    after: str


@dataclass(frozen=True)
class TurnedClass:
    """How images of one class turned: how many there are, were right, are right, turned right and turned wrong."""

    name: str
    cells: tuple[int, ...]


@dataclass(frozen=True)
class TurnedSplit:
    """A split: the classes, and all of them in words."""

    name: str
    said: str
    classes: tuple[TurnedClass, ...]


@dataclass(frozen=True)
class Phase2Changes:
    """A fine-tuned run beside the run of heads that it came from: the networks that each keeps."""

    run: str
    start: str
    splits: tuple[TurnedSplit, ...]
    right: tuple[TurnedImage, ...]  # that turned right
    wrong: tuple[TurnedImage, ...]

    @property
    def said(self) -> str:
        """How many turned, in words."""
        return "; ".join(split.said for split in self.splits)

    @property
    def images(self) -> tuple[TurnedImage, ...]:
        """Every one that is shown."""
        return (*self.wrong, *self.right)

    @property
    def lines(self) -> list[TurnedClass]:
        """Of each class that has images the counts of every split, side by side."""
        every = zip(*(split.classes for split in self.splits), strict=True)
        found = [TurnedClass(of[0].name, tuple(n for one in of for n in one.cells)) for of in every]
        return [one for one in found if any(one.cells)]


@dataclass(frozen=True, eq=False)
class _Both:
    """What both say of the images that both answered: classes `[n]`."""

    seen: Predictions  # of the fine-tuned one
    places: tuple[int, ...]  # of those images among its own
    labels: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]


def phase2_changes(contents: Contents, classes: Sequence[str]) -> list[Phase2Changes]:
    """Of each fine-tuned run on the board that came from a run on it, as that still is, the best first."""
    here = contents.manifest.images if contents.manifest is not None else ()
    found: list[Phase2Changes] = []
    for row in contents.rows:
        run, start = contents.runs[row.run], contents.runs.get(row.from_run)
        if row.phase == 2 and start is not None and _is_start(start, run) and len(found) < RUNS:
            found.append(_changes(run, start, classes, here))
    return [one for one in found if one.splits]


def _is_start(start: Run, run: Run) -> bool:
    """Whether it is the run that training began with: another may have come to have its name since."""
    return bool(digest(start.summary.get("inputs")) == run.summary["from_inputs"])


def _changes(run: Run, start: Run, classes: Sequence[str], here: Sequence[ImageRecord]) -> Phase2Changes:
    both = {split: one for split in SPLITS if (one := _both(start, run, split)) is not None}
    right: tuple[TurnedImage, ...] = ()
    wrong: tuple[TurnedImage, ...] = ()
    if "val" in both:
        one = both["val"]
        was, now = one.before == one.labels, one.after == one.labels
        right, wrong = (_images(one, np.flatnonzero(k), classes, here) for k in (~was & now, was & ~now))
    splits = tuple(_split(split, one, classes) for split, one in both.items())
    return Phase2Changes(run.folder.name, start.folder.name, splits, right, wrong)


def _both(start: Run, run: Run, split: Split) -> _Both | None:
    """None where one of them says nothing of it, or they have no image in common."""
    first, second = (predictions_of(one.folder, split) for one in (start, run))
    if first is None or second is None:
        return None
    place = {image: number for number, image in enumerate(first.keys)}
    mine = tuple(number for number, image in enumerate(second.keys) if image in place)
    if not mine:
        return None
    theirs = [place[second.keys[number]] for number in mine]
    said = [_kept(one, seen, split) for one, seen in ((start, first), (run, second))]
    return _Both(second, mine, second.labels[list(mine)], said[0][theirs], said[1][list(mine)])


def _kept(run: Run, seen: Predictions, split: Split) -> NDArray[np.int64]:
    """The classes `[N]` by the network that a run keeps; on val of a cross-validated one by the heads of its seed."""
    seeds = [one["seed"] for one in run.summary["seeds"]]
    place = seeds.index(run.summary["best_seed"])
    if split == "test":
        folds = max(1, len(seen.logits) // len(seeds))
        place = place * folds + int(run.summary["best_fold"] or 0)
    found: NDArray[np.int64] = seen.logits[place].argmax(axis=1)
    return found


def _split(split: Split, one: _Both, classes: Sequence[str]) -> TurnedSplit:
    was, now = one.before == one.labels, one.after == one.labels
    right, wrong = int((~was & now).sum()), int((was & ~now).sum())
    rows = []
    for label, name in enumerate(classes):
        of = one.labels == label
        counts = (of, of & was, of & now, of & ~was & now, of & was & ~now)
        rows.append(TurnedClass(name, tuple(int(c.sum()) for c in counts)))
    title = {"val": "validation", "test": "test"}[split]
    said = (
        f"of {counted(len(one.labels), title + ' image')} {right} turned right and {wrong} wrong"
        f"{_chance(right, wrong, one.seen.groups is not None)}"
    )
    return TurnedSplit(title, said, tuple(rows))


def _chance(right: int, wrong: int, grouped: bool) -> str:
    """By the exact test of McNemar (1947): of images that turned, right and wrong are equally likely by chance. It
    takes images that speak for themselves, which those of a group do not."""
    if grouped or not right + wrong:
        return ""
    return f" (p {binomtest(right, right + wrong).pvalue:.2g})"


def _images(
    one: _Both,
    turned: NDArray[np.intp],
    classes: Sequence[str],
    here: Sequence[ImageRecord],
) -> tuple[TurnedImage, ...]:
    places = [one.places[k] for k in turned[:PICTURES]]
    names = [one.seen.images[k] for k in places]
    if one.seen.contents is not None:
        names = list(names_here(names, [one.seen.contents[k] for k in places], here))
    return tuple(
        TurnedImage(name, classes[one.labels[k]], classes[one.before[k]], classes[one.after[k]])
        for name, k in zip(names, turned, strict=False)
    )
