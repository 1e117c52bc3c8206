"""A manifest becomes what there is to see of it: images by class and split, sizes, modes, mean pictures, odd files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.counted_nouns import counted
from featcache.data.image_facts import SIDE, ImageFacts, look_at
from featcache.data.image_order import by_name
from featcache.data.survey import Survey
from featcache.options import DataOptions
from featcache.records import SILENT, SPLITS, ImageRecord, Manifest, Progress

BATCH = 512  # images whose pictures wait to be added up
NO_SPLIT = "no split"
SIZES = 5  # of the most frequent ones


@dataclass(frozen=True)
class OddFile:
    """A file with which something is done that its owner may not expect."""

    name: str
    what: str


@dataclass(frozen=True, eq=False)
class DataView:
    """What there is to see of a data set."""

    survey: Survey
    facts: tuple[ImageFacts, ...]  # of each of its images
    means: Mapping[str, NDArray[np.uint8]]  # of each class the mean of its pictures, all squashed alike [SIDE, SIDE, 3]

    @property
    def manifest(self) -> Manifest:
        """The images."""
        return self.survey.manifest

    @property
    def columns(self) -> tuple[str, ...]:
        """The splits, and what stands for none where some images have none."""
        return (*SPLITS, NO_SPLIT) if self.survey.unsplit else SPLITS

    @property
    def table(self) -> list[tuple[str, tuple[int, ...]]]:
        """Each class and its images in each of the `columns`."""
        counts = Counter((self.split_of(i), i.label) for i in self.manifest.images)
        return [
            (name, tuple(counts[column, label] for column in self.columns))
            for label, name in enumerate(self.manifest.classes)
        ]

    def split_of(self, image: ImageRecord) -> str:
        """The column in which an image counts."""
        return NO_SPLIT if image.name in self.survey.unsplit else image.split

    @property
    def odd(self) -> tuple[OddFile, ...]:
        """What is done with files that are not plain images."""
        return tuple(self._odd())

    @property
    def readable(self) -> list[ImageFacts]:
        """The facts of the images that can be read."""
        return [one for one in self.facts if not one.unreadable]

    def sizes(self) -> str:
        """Smallest, median and largest side, and the most frequent sizes, in words."""
        found = [one.size for one in self.readable]
        if not found:
            return "none can be read"
        widths, heights = zip(*found, strict=True)
        common = Counter(found).most_common(SIZES)
        parts = ", ".join(f"{w} x {h} ({n})" for (w, h), n in common)
        more = len(set(found)) - len(common)
        parts += f" and {counted(more, 'other size')}" if more else ""
        return f"{_spread(widths)} wide, {_spread(heights)} high; {parts}"

    def kinds(self, what: str) -> dict[str, int]:
        """How many images have each `format` or `mode`, the most frequent first."""
        return dict(Counter(str(getattr(one, what)) for one in self.facts).most_common())

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "name": self.manifest.name,
            "path": str(self.manifest.root),
            "fingerprint": self.manifest.fingerprint if not self.survey.refused else None,
            "refused": self.survey.refused or None,
            "images": len(self.manifest.images),
            "contents": len({i.sha256 for i in self.manifest.images}),
            "groups": len({i.group for i in self.manifest.images if i.group is not None}) or None,
            "weights": self._weights(),
            "classes": [{"class": name, **dict(zip(self.columns, counts, strict=True))} for name, counts in self.table],
            "sizes": [[*size, n] for size, n in Counter(one.size for one in self.readable).most_common()],
            "formats": self.kinds("format"),
            "modes": self.kinds("mode"),
            "odd": [{"path": one.name, "what": one.what} for one in self.odd],
            "notices": list(self.manifest.notices),
        }

    def _weights(self) -> dict[str, float] | None:
        """The range of the images' weights, and how many are left out of training by theirs; None without any."""
        weights = [i.weight for i in self.manifest.images]
        if set(weights) <= {1.0}:
            return None
        return {"least": min(weights), "most": max(weights), "zero": weights.count(0)}

    def _odd(self) -> Iterator[OddFile]:
        seen = dict(zip(self.manifest.images, self.facts, strict=True))
        for image in by_name(self.manifest.images):
            one = seen[image]
            if one.unreadable:
                yield OddFile(image.name, f"left out as unreadable: {one.unreadable}")
            if one.repaired:
                yield OddFile(image.name, f"read in spite of what is broken: {one.repaired}")
            if one.pages > 1:
                yield OddFile(image.name, f"the first of {one.pages} pages or frames is read")
        for name in self.manifest.ignored:
            yield OddFile(name, "passed over: no image is named like it")


def look_over(surveyed: Survey, options: DataOptions, progress: Progress = SILENT) -> DataView:
    """Every image that was `surveyed`, opened and looked at."""
    manifest = surveyed.manifest
    facts: list[ImageFacts] = []
    sums = np.zeros((len(manifest.classes), SIDE, SIDE, 3))
    seen = np.zeros(len(manifest.classes), dtype=np.int64)
    progress.begin("looking", len(manifest.images), "images")
    look = partial(look_at, depth=manifest.depth, timeout_s=options.decode_timeout_s)
    with ThreadPoolExecutor(options.workers or os.cpu_count() or 1) as pool:
        for batch in _batches(manifest.images):
            for image, (one, small) in zip(batch, pool.map(look, batch), strict=True):
                facts.append(one)
                if small is not None:
                    sums[image.label] += small
                    seen[image.label] += 1
            progress.advance(len(batch))
    progress.end(counted(len(facts), "image"))
    means = {
        name: (sums[label] / seen[label]).round().astype(np.uint8)
        for label, name in enumerate(manifest.classes)
        if seen[label]
    }
    return DataView(surveyed, tuple(facts), means)


def _batches(images: Sequence[ImageRecord]) -> Iterator[Sequence[ImageRecord]]:
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))


def _spread(values: Sequence[int]) -> str:
    low, middle, high = min(values), int(np.median(values)), max(values)
    return f"{low}" if low == high else f"{low} to {high} (median {middle})"
