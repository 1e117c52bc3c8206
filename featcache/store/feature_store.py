"""The rows of one identity, in one HDF5 file that is never changed in place.

New rows are first committed as parts (`<stem>.parts/`); parts are folded in by writing a new file beside the old one
and renaming it. Whatever moment the process dies at, the file is the old one or the new one, and committed parts are
found by the next writer.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.atomic import replacing
from featcache.counted_nouns import are, counted
from featcache.errors import DiskFullError, FeatcacheError, StoreError
from featcache.records import FORMAT_VERSION, BackboneInfo, Manifest
from featcache.store import dataset_tables, layout
from featcache.store.file_seal import seal
from featcache.store.hdf5_io import UnfailingFile, editing
from featcache.store.locks import StoreLocks
from featcache.store.part_files import Parts, hash_bytes
from featcache.store.plain_structure import reading
from featcache.store.row_writer import RowWriter

REMEDY = "Run `featcache cache verify --repair`: it drops what is damaged, and only that is extracted again."


class FeatureStore:
    """The rows of one identity: `features[i]` belongs to the image whose content hash is `sha256[i]`.

    Base rows are view 0. Rows of augmented views `[V-1, F]` lie under `/augmented/<spec>/`, one for each image.
    """

    def __init__(self, cache_dir: str | Path, info: BackboneInfo) -> None:
        self.info = info
        self.path = Path(cache_dir) / f"{info.identity.stem}.h5"
        self.parts: Parts = Parts(self.path.with_suffix(".parts"))
        self.locks = StoreLocks(self.path)

    def __reduce__(self) -> tuple[type[FeatureStore], tuple[Path, BackboneInfo]]:
        """In another process it has locks of its own."""
        return FeatureStore, (self.path.parent, self.info)

    @classmethod
    def at(cls, path: Path) -> FeatureStore:
        """The store in `path`, as its file describes itself: needs neither the network nor its weights.

        Raises StoreError when there is none, or it is damaged.
        """
        if not path.exists():
            raise StoreError(
                f"{path}: there is no such store. Run `featcache extract` with the options it was made with."
            )
        with open_file(path) as file:
            info = layout.read_info(file)
        return cls(path.parent, info)

    def dataset(self, fingerprint: str, path: str = "") -> Manifest:
        """The data set with this fingerprint, as the store wrote it down: of several sources that have the same images
        under other names that of `path`, else the last. Raises StoreError where there is none."""
        with open_file(self.path) as file:
            manifest = dataset_tables.read_dataset(file, fingerprint, path)
        if manifest is None:
            raise StoreError(
                f"{self.path}: knows no data set {fingerprint[:8]}. Run `featcache extract` with the run's options."
            )
        return replace(manifest, depth=self.info.identity.preprocessing.depth)

    @property
    def where(self) -> str:
        """The store as a message names it."""
        return str(self.path)

    def exists(self) -> bool:
        """Whether anything can be read."""
        return self.path.exists()

    def begun(self) -> bool:
        """Whether anything is committed, be it for the next writer only."""
        return self.exists() or bool(self.parts.files())

    def hold(self) -> None:
        """Nobody prunes the store while this object lives, and it counts as used now."""
        self.locks.hold()
        if self.path.exists():
            os.utime(self.path)

    def rows(self, spec: str | None = None) -> dict[str, int]:
        """Content hash -> row of everything folded in (base rows, or those of an augmentation spec)."""
        if not self.path.exists():
            return {}
        with open_file(self.path) as file:
            return layout.spec_rows(file, spec) if spec else layout.base_rows(file)

    def lacking(self, sha256: Sequence[str], spec: str | None = None) -> list[str]:
        """Those of these contents that have no row."""
        rows = self.rows(spec)
        return [s for s in sha256 if s not in rows]

    def read(self, sha256: Sequence[str], spec: str | None = None) -> NDArray[np.float32]:
        """The features of these contents, in their order: float32 `[N, F]`, or `[N, V-1, F]` with a spec."""
        rows = self.rows(spec)
        self._require_none(sum(s not in rows for s in sha256), len(sha256))
        wanted = np.array([rows[s] for s in sha256], dtype=np.int64)
        order = np.unique(wanted)  # HDF5 reads in order or crawls
        names = {r: s for s, r in rows.items()}
        with open_file(self.path) as file:
            values = checked_rows(file, spec, order, hash_bytes([names[int(r)] for r in order]))
        return values[np.searchsorted(order, wanted)].astype(np.float32)

    def _require_none(self, missing: int, images: int) -> None:
        if missing:
            raise StoreError(
                f"{self.where}: has no row for {missing} of {counted(images, 'image')}. Run `featcache extract` first."
            )

    def profiles(self) -> dict[str, Any]:
        """What was measured with this backbone: key -> profile as JSON values."""
        return dict(self._json("profile"))

    def extraction(self) -> dict[str, Any]:
        """How the last extraction went: images, seconds, images_per_second, device."""
        return dict(self._json("extraction"))

    def precision_loss(self) -> dict[str, float]:
        """What rounding rows to float16 changed: max_abs, max_relative_error; empty where none is rounded."""
        return dict(self._json("float16"))

    def dtype(self) -> str:
        """The type of the stored rows: float16 or float32."""
        with open_file(self.path) as file:
            return str(file["features"].dtype) if "features" in file else self.info.identity.dtype

    def save_profiles(self, profiles: Mapping[str, Any]) -> None:
        """Record measurements in a store that has rows."""
        self._rewrite(lambda file, _: _add_profiles(file, profiles))

    def save_dataset(self, manifest: Manifest) -> None:
        """Write which rows make up a data set, unless the file says so already."""
        if not self.path.exists():
            return
        with open_file(self.path) as file:
            if dataset_tables.knows_dataset(file, manifest):
                return
        self._rewrite(lambda file, _: dataset_tables.write_dataset(file, manifest))

    @contextmanager
    def writing(self, waiting: Callable[[str], None] = lambda _: None) -> Iterator[RowWriter]:
        """The one writer of this store. A second process waits here, after `waiting` has been told why.

        What a killed writer left committed is folded in first; what this writer commits, when the block ends, even by
        an exception. Raises DiskFullError where there is no room; what is committed by then is kept.
        """
        with self.locks.extracting(waiting):
            self._fold()
            stored = self.dtype() if self.exists() else self.info.identity.dtype
            writer = RowWriter(self.parts, self.info.identity.dtype, stored)
            writer.extraction = self.extraction()
            try:
                yield writer
            finally:
                try:
                    writer.commit()
                    self._fold(writer)
                except DiskFullError as error:
                    raise DiskFullError(
                        f"{error} What is committed, {counted(writer.committed, 'row')}, is kept, and the same "
                        "command goes on from there."
                    ) from None

    def _fold(self, writer: RowWriter | None = None) -> None:
        """Move the committed parts, and what the writer knows beside them, into the file."""

        files = self.parts.files()

        def change(file: h5py.File, target: UnfailingFile) -> None:
            appender = layout.Appender(file)
            for part in self.parts.read():  # one at a time: memory does not grow with the size of rows
                appender.part(part)
                if target.error is not None:
                    return  # nothing of this will be kept
            if writer is not None:
                _add_notes(file, writer)

        if files or (writer is not None and self.path.exists() and _has_news(writer)):
            self._rewrite(change)
        self.parts.clear(files)

    def _rewrite(self, change: Callable[[h5py.File, UnfailingFile], None]) -> None:
        with self.locks.rewriting(), replacing(self.path) as temporary:
            for left in self.path.parent.glob(f".{self.path.name}.*.tmp"):  # by a killed process
                left.unlink(missing_ok=True)
            if self.path.exists():
                shutil.copyfile(self.path, temporary)
            with editing(temporary) as (file, target):
                layout.start_file(file, self.info)
                change(file, target)
                layout.finish_file(file)
            seal(temporary)

    def _json(self, name: str) -> Any:
        if not self.path.exists():
            return {}
        with open_file(self.path) as file:
            return layout.get_json(file, name, {})


def checked_rows(
    file: h5py.File, spec: str | None, order: NDArray[np.int64], hashes: NDArray[np.uint8]
) -> NDArray[Any]:
    """The rows `order` (ascending), as stored, of the contents `hashes` `[N, 32]`; raises StoreError where a row is
    not what was written."""
    group = file[layout.group_name(spec or "")]
    values = layout.read_rows(group["features"], order)
    damaged = int((layout.row_crcs(hashes, values) != group["crc32"][:][order]).sum())
    if damaged:
        raise StoreError(f"{file.filename}: {damaged} of {counted(len(order), 'row')} {are(damaged)} damaged. {REMEDY}")
    return values


@contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """A store's file for reading; raises StoreError, with what to do, when it is damaged or not ours."""
    try:
        with reading(path) as file:
            if file.attrs.get("format_version") != FORMAT_VERSION:
                raise StoreError(
                    f"{path}: has the format {file.attrs.get('format_version')}, expected {FORMAT_VERSION}. "
                    "Remove it and run again."
                )
            yield file
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # what h5py makes of broken structures
        if isinstance(error, FeatcacheError):
            raise
        raise StoreError(f"{path}: cannot be read ({error}). {REMEDY}") from None


def _has_news(writer: RowWriter) -> bool:
    return bool(writer.profiles or writer.manifest or writer.committed)


def _add_notes(file: h5py.File, writer: RowWriter) -> None:
    if writer.precision_loss and "features" in file and file["features"].dtype == np.float16:
        before = layout.get_json(file, "float16", {})
        layout.set_json(file, "float16", {k: max(v, before.get(k, 0.0)) for k, v in writer.precision_loss.items()})
    if writer.extraction:
        layout.set_json(file, "extraction", writer.extraction)
    if writer.profiles:
        _add_profiles(file, writer.profiles)
    if writer.manifest is not None and "features" in file:
        dataset_tables.write_dataset(file, writer.manifest)


def _add_profiles(file: h5py.File, profiles: Mapping[str, Any]) -> None:
    layout.set_json(file, "profile", {**layout.get_json(file, "profile", {}), **profiles})
