"""NumPy's `.npz` of images and labels, as MedMNIST has them, becomes rows.

Source: J. Yang et al., "MedMNIST v2" (2023): `train_images`, `train_labels`, `val_images`, .. in one file.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from featcache.counted_nouns import counted
from featcache.data.sources.class_numbers import class_of, one_class_said
from featcache.data.sources.file_contents import require_contents
from featcache.data.sources.image_tables import CellError
from featcache.data.sources.kept_values import Kept
from featcache.data.sources.raw_pictures import CHANNELS_FIRST, no_picture, picture_bytes
from featcache.data.sources.rows import SPLIT_NAMES, Listing, Row
from featcache.data.sources.source_images import SourceImages
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.places import NoContentError, file_stamp
from featcache.records import Split

IMAGES = ("images", "x", "data", "image")  # what arrays are called; with a split in front: train_images, x_train
LABELS = ("labels", "y", "targets", "label")
NAMES = ("class_names", "classes", "label_names")
BROKEN = (OSError, ValueError, EOFError, KeyError, RuntimeError, MemoryError, zlib.error, zipfile.BadZipFile)
KEPT_BYTES = 8 << 30  # of arrays that are compressed and so are in memory whole


@dataclass(frozen=True, slots=True)
class ArrayRow:
    """A picture in an array of a `.npz`."""

    file: str
    array: str
    row: int

    @property
    def key(self) -> str:
        """The file, the array and the row."""
        return f"{self.file}\0{self.array}[{self.row}]"

    @property
    def position(self) -> tuple[str, int]:
        """As it lies in the file."""
        return f"{self.file}\0{self.array}", self.row

    def stamp(self) -> tuple[int, int]:
        """Of the file."""
        return file_stamp(self.file)

    def read(self) -> bytes:
        """The picture as a file of its own."""
        try:
            return picture_bytes(_array(self.file, self.array)[self.row])
        except (DataError, *BROKEN) as error:
            if isinstance(error, OSError):
                raise
            raise NoContentError(str(error)) from None


def list_arrays(path: str, options: DataOptions) -> Listing:  # noqa: ARG001
    """The pictures of a `.npz`: an array of images and one of labels, for each split or for all."""
    file = Path(path)
    require_contents(file, "npz", "zip")
    found = _shapes(file)
    rows: list[Row] = []
    unlabelled: list[str] = []
    for split, images, labels in _pairs(file, found):
        _require_pictures(file, images, found[images])
        values = _labels(file, labels, _names(file, found))
        count = found[images][0]
        if len(values) != count:
            raise DataError(
                f"data.path: {file}: {images!r} has {count} pictures, {labels!r} {len(values)} labels. Expected one "
                "for each picture."
            )
        folder = f"{split or images}/"
        rows += [Row(f"{folder}{n:07d}", ArrayRow(path, images, n), own, split) for n, own in enumerate(values) if own]
        unlabelled += [f"{folder}{n:07d}" for n, own in enumerate(values) if not own]
    lost = [f"{counted(len(unlabelled), 'image')} without a label left out, such as {one}" for one in unlabelled[:1]]
    refused = one_class_said(file, {row.label for row in rows}, len(unlabelled))
    return Listing(file.stem, file, rows, tuple(lost), refused=refused)


def array_images(path: str) -> SourceImages:
    """The pictures of a `.npz`, with labels or without, for a table that names them."""
    file = Path(path)
    require_contents(file, "npz", "zip")
    found = _shapes(file)
    return SourceImages(
        path,
        {
            f"{split or images}/{n:07d}": ArrayRow(path, images, n)
            for split, images, _ in _pairs(file, found)
            for n in range(found[images][0])
        },
    )


def _require_pictures(file: Path, name: str, shape: tuple[int, ...]) -> None:
    """Raise DataError where no element of an array of this shape is a picture."""
    wrong = no_picture(shape[1:])
    if wrong:
        raise DataError(
            f"data.path: {file}: {name!r} has the shape {list(shape)}{wrong}. Expected [N, H, W], or [N, H, W, C] with "
            "1 to 4 channels" + (": save x.transpose(0, 2, 3, 1)." if CHANNELS_FIRST in wrong else ".")
        )


def _pairs(file: Path, found: dict[str, tuple[int, ...]]) -> Iterator[tuple[Split | None, str, str]]:
    """Split, images and labels of each pair of arrays."""
    plain = {name.lower(): name for name in found}
    pairs: list[tuple[Split | None, str, str]] = []
    for word, split in SPLIT_NAMES.items():
        images, labels = _first(plain, IMAGES, word), _first(plain, LABELS, word)
        if images and labels:
            pairs.append((split, images, labels))
    images, labels = _first(plain, IMAGES), _first(plain, LABELS)
    if not pairs and images and labels:
        pairs.append((None, images, labels))
    if not pairs:
        raise DataError(
            f"data.path: {file} holds {', '.join(map(repr, found)) or 'no arrays'}. Expected train_images and "
            "train_labels, and the same of val and test; or images and labels."
        )
    yield from pairs


def _first(plain: dict[str, str], names: tuple[str, ...], word: str = "") -> str:
    """The first of `names` that an array has, with a split's `word` before or after it; "" where none has."""
    spelt = (s for n in names for s in ((f"{word}_{n}", f"{n}_{word}") if word else (n,)))
    return next((plain[s] for s in spelt if s in plain), "")


def _labels(file: Path, name: str, names: tuple[str, ...]) -> list[str]:
    """The class of each picture, "" where it has none; raises DataError where it has several."""
    values = _load(file, name)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind == "f" and bool((np.isfinite(values) & (values == np.round(values))).all()):  # one-hot, say
        values = values.astype(np.int64)
    if values.ndim == 2 and values.dtype.kind in "uib" and bool(((values == 0) | (values == 1)).all()):
        values = values.argmax(1) if bool((values.sum(1) == 1).all()) else values
    if values.ndim != 1 or values.dtype.kind not in "uibU":
        raise DataError(
            f"data.path: {file}: {name!r} has the shape {list(values.shape)} and the type {values.dtype}. Expected one "
            "class for each picture: a number, a name, or a row of 0 with a single 1."
        )
    if values.dtype.kind == "U":
        return [str(value).strip() for value in values]
    if values.dtype.kind == "b" and not names:
        return [str(value) for value in values]
    try:
        known = {value: class_of(int(value), names) for value in np.unique(values).tolist()}
    except CellError as error:
        raise DataError(f"data.path: {file}: {name!r} has {error}. Mend the numbers, or the names.") from None
    return [known[value] for value in values.tolist()]


def _names(file: Path, found: dict[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The classes' names, where the file has them."""
    name = next((name for name in NAMES if name in found), None)
    return tuple(map(str, _load(file, name).tolist())) if name is not None else ()


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """The arrays in a file and their shapes; none of them is read."""
    found: dict[str, tuple[int, ...]] = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    with archive.open(info) as stream:
                        shape, _, kind = _header(stream)
                        if kind.hasobject or math.prod(shape) * kind.itemsize + stream.tell() != info.file_size:
                            raise ValueError(f"{info.filename} has not the size that it states, or holds objects")
                        found[info.filename.removesuffix(".npy")] = shape
    except BROKEN as error:
        raise _broken(file, error) from None
    return found


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of the array that `stream` begins with."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(stream)
    return header


def _load(file: Path, name: str) -> NDArray[Any]:
    """An array, no objects in it."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            value: NDArray[Any] = arrays[name]
    except BROKEN as error:
        raise _broken(file, error) from None
    return value


_arrays = Kept(KEPT_BYTES, lambda array: 0 if isinstance(array, np.memmap) else int(array.nbytes))


def _array(file: str, name: str) -> NDArray[Any]:
    """An array of pictures: mapped where it lies in the file as it is, in memory where it is compressed."""
    array: NDArray[Any] = _arrays.get((file, file_stamp(file), name), lambda: _opened(Path(file), name))
    return array


def _opened(file: Path, name: str) -> NDArray[Any]:
    with zipfile.ZipFile(file) as archive:
        info = archive.getinfo(f"{name}.npy")
        with archive.open(info) as stream:
            shape, columns_first, kind = _header(stream)
            header = stream.tell()
        size = math.prod(shape) * kind.itemsize
        if info.compress_type == zipfile.ZIP_STORED:
            with file.open("rb") as raw:
                raw.seek(info.header_offset)
                local = raw.read(30)
                begin = info.header_offset + 30 + sum(int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
            order: Literal["F", "C"] = "F" if columns_first else "C"
            mapped: NDArray[Any] = np.memmap(file, kind, "r", begin + header, shape, order)
            return mapped
        if size > KEPT_BYTES:
            raise NoContentError(
                f"the array {name!r} is compressed and has {size} bytes, more than the {KEPT_BYTES} that are held in "
                "memory: save it anew with numpy.savez, which does not compress"
            )
    return _load(file, name)


def _broken(file: Path, error: Exception) -> DataError:
    return DataError(
        f"data.path: {file} cannot be read as NumPy's npz ({error}). Expected arrays of numbers, as "
        "numpy.savez writes them."
    )
