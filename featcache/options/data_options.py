"""The section `data`: which images, in which splits or folds, with which augmentations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from featcache.options.augmentation_options import Augmentation
from featcache.options.class_options import Classes, Limit
from featcache.options.column_options import Columns
from featcache.options.group_options import Groups
from featcache.options.option_types import Count, Fraction, Section


class DataOptions(Section):
    """The images."""

    path: Annotated[str, Field(min_length=1)]
    """Where the images are: a folder, a table (CSV, TSV, JSON lines, Parquet), a zip or tar, shards, arrays, a data set
    of another library (docs/data.md has each); or `demo:digits` for the embedded handwritten digits."""
    root: Annotated[str, Field(min_length=1)] | None = None
    """The folder that paths in a table are below, or any other source that data.path may name (a zip, shards, arrays,
    ..), in which the table names images; null: the table's own folder."""
    columns: Columns | None = None
    """What the columns of a table are called; null: by their usual names."""
    classes: Classes | None = None
    """The classes that are meant: a list of names picks them, an object of lists merges and renames
    ({"wet": ["rain", "snow"], "dry": ["sun"]}); the others are left out. null: all."""
    limit: Limit | None = None
    """At most so many images of each class are trained on, chosen by content, the same for every name and order; an
    object limits the splits one by one ({"train": 100, "val": 50, "test": 50}). null: all."""
    batch_size: Count = 32
    """Images in one step of head training; throughput is measured at it too."""
    augmentations: tuple[Augmentation, ...] = ()
    """Applied in this order to training images only, as cached views."""
    views: Annotated[int, Field(ge=1, le=64)] | None = None
    """Views kept of each training image, the plain one included; null: 4 with augmentations, else 1."""
    workers: Annotated[int, Field(ge=1, le=256)] | None = None
    """Threads or processes that decode images; null: one for each core."""
    decoders: Literal["threads", "processes"] = "threads"
    """What decodes images, to the same rows: processes where many cores feed a fast GPU, as threads wait for each other
    beyond a thousand images a second."""
    decode_timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = 60.0
    """Seconds after which a decoder that may hang (TIFF, DICOM, HEIC, .., of a format with a bounded time none) is
    killed and its image left out as bad; it has 6 GiB of memory. null: without limits, in the command's own process."""
    max_bad_fraction: Fraction = 0.01
    """The command fails when more than this fraction of the files cannot be read as images."""
    depth: Literal["auto", 8, 10, 12, 14, 16, "minmax", "percentile"] = "auto"
    """Bits that values of more than 8 bits fill, where a file does not say itself; auto: by the largest of all images;
    minmax and percentile: each image between its own extremes, or its 1st and 99th percentile."""
    truncated: Literal["read", "quarantine"] = "read"
    """Images whose files lack their end, and up to 5% of the pixels with it: read them, or leave them out as bad."""
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Cut from train, by content hash and class, where the data has no val split."""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Cut from train, by content hash and class, where the data has no test split."""
    exclude: Annotated[str, Field(min_length=1)] | None = None
    """A CSV or a plain list of files to leave out, named as below data.path; `featcache audit --write-clean` writes
    one."""
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    """Cross-validate: cut train and val together into so many folds, stratified by class, and train a head on each
    choice of all but one."""
    groups: Groups | None = None
    """Images that are never parted by splits or folds, such as those of a patient, a video or a product: a folder level
    ("folder:1"), a regular expression on the path ("pattern:REGEX") or a column of a CSV ("csv:FILE:COLUMN")."""

    @model_validator(mode="after")
    def _consistent(self) -> DataOptions:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("data.val_fraction and data.test_fraction together leave nothing to train on")
        if self.folds is not None and self.limit is not None and self.limit.val is not None:
            raise ValueError(
                "data.limit.val and data.folds are given: folds pool train and val, and data.limit.train limits both"
            )
        if self.views is not None and self.views > 1 and not self.augmentations:
            raise ValueError(
                f"data.views is {self.views} but data.augmentations is empty: every view would be the same"
            )
        names = [a.name for a in self.augmentations]
        if len(set(names)) < len(names):
            raise ValueError(f"data.augmentations names one twice: {names}")
        if {"random_crop", "random_resized_crop"} <= set(names):
            raise ValueError("data.augmentations has random_crop and random_resized_crop: keep one of the two")
        return self

    @property
    def training_splits(self) -> frozenset[str]:
        """Whose images train, in one fold or another, and so have views."""
        return frozenset({"train", "val"} if self.folds else {"train"})

    @property
    def view_count(self) -> int:
        """Views of each training image, the plain one included."""
        return self.views if self.views is not None else (4 if self.augmentations else 1)
