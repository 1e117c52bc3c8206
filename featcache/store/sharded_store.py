"""The rows of one identity in many sealed files, in a folder that machines share or in an object store.

Below `<cache>/<store>/` lie `part-*.h5`, which are never changed once they are there, and `manifest/*.json`, whose list
says which of them count (`shard_manifest`). Readers see what a single file would show: the same arrays, in the order of
the parts' names. One machine that extracts here commits its rows on its own disk about once a second, as it does for
a single file, and puts a part when there are `rows_a_part` of them; on a cluster each worker has a `shard` to itself.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import StoreError
from featcache.records import BackboneInfo, Manifest
from featcache.store import dataset_tables
from featcache.store.feature_store import FeatureStore, checked_rows, open_file
from featcache.store.part_building import StagedParts, build_dataset, build_part, identity_of, temporary_file
from featcache.store.part_commit import commit_dataset, commit_notes, commit_part, rows_name
from featcache.store.part_copies import MOST_GB, PartCopies
from featcache.store.part_files import Parts, spec_of
from featcache.store.part_records import NOT_PUT, DatasetRecord, NotesRecord, RowsRecord, Shard
from featcache.store.place_choice import place_of
from featcache.store.row_index import RowIndex
from featcache.store.row_writer import RowWriter
from featcache.store.shard_manifest import ShardManifest

ROWS_A_PART = 100_000
COPIES = "copies"  # below the folder of a cache that is at a URL


class ShardedStore(FeatureStore):
    """A FeatureStore in parts. `path` is what the store is called in a cache's folder, where no such file is."""

    def __init__(
        self, folder: Path, info: BackboneInfo, rows_a_part: int = ROWS_A_PART, most_gb: float = MOST_GB
    ) -> None:
        super().__init__(folder, info)
        self.rows_a_part = rows_a_part
        self.place = place_of(self.path)
        self.manifest = ShardManifest(self.place)
        self.copies = PartCopies(self.place, folder / COPIES / self.path.stem, most_gb)
        self.parts: StagedParts = StagedParts(self.parts.folder, rows_a_part)
        self._indexes: dict[str, tuple[tuple[RowsRecord, ...], RowIndex]] = {}
        self._most_gb = most_gb

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardedStore, (self.path.parent, self.info, self.rows_a_part, self._most_gb)

    @classmethod
    def at(cls, path: Path) -> ShardedStore:
        """The store that is called so in a cache's folder; raises StoreError where there is none."""
        place = place_of(path)
        for one in ShardManifest(place).listed().records:
            if one.info.identity.stem == path.stem:
                return cls(path.parent, one.info)
        raise StoreError(
            f"{place.name}: there is no such store. Run `featcache extract` with the options it was made with."
        )

    @property
    def where(self) -> str:
        """The folder or URL."""
        return self.place.name

    def committed(self, spec: str | None = None) -> tuple[RowsRecord, ...]:
        """The parts that count, in order: of view 0, or those of an augmentation spec."""
        return tuple(r for r in self.every_part() if r.spec == (spec or ""))

    def every_part(self) -> tuple[RowsRecord, ...]:
        """The parts that count, of every spec."""
        return self.manifest.listed().of(RowsRecord, self.info)

    def every_dataset(self) -> tuple[DatasetRecord, ...]:
        """The data sets that the store knows."""
        return self.manifest.listed().of(DatasetRecord, self.info)

    def exists(self) -> bool:
        """Whether any rows are committed."""
        return bool(self.every_part())

    def hold(self) -> None:
        """Nobody on this machine prunes the store while this object lives; in a folder it counts as used now."""
        self.locks.hold()
        if self.path.with_suffix("").is_dir():
            os.utime(self.path.with_suffix(""))

    def rows(self, spec: str | None = None) -> dict[str, int]:
        """Content hash -> row, as if all parts were one file."""
        return self._index(spec)[1].in_order()

    def lacking(self, sha256: Sequence[str], spec: str | None = None) -> list[str]:
        """Those of these contents that have no row."""
        found = self._index(spec)[1].find(sha256)
        return [sha256[i] for i in np.flatnonzero(found < 0).tolist()]

    def read(self, sha256: Sequence[str], spec: str | None = None) -> NDArray[np.float32]:
        """The features of these contents, in their order: float32 `[N, F]`, or `[N, V-1, F]` with a spec."""
        records, index = self._indexes.get(spec or "") or self._index(spec)
        places = index.find(sha256)
        if (places < 0).any():  # of what was committed since
            records, index = self._index(spec)
            places = index.find(sha256)
        self._require_none(int((places < 0).sum()), len(sha256))
        owners = index.part_of(places)
        values = np.empty((len(sha256), *self._row_shape(records)), np.float32)
        for number in np.unique(owners).tolist():
            at = np.flatnonzero(owners == number)
            order, inverse = np.unique(places[at] - index.starts[number], return_inverse=True)
            values[at] = self._read_part(records[number], order)[inverse]
        return values

    def dataset(self, fingerprint: str, path: str = "") -> Manifest:
        """The data set with this fingerprint, as the store wrote it down; see FeatureStore."""
        record = self._dataset(fingerprint, path)
        if record is None:
            raise StoreError(
                f"{self.where}: knows no data set {fingerprint[:8]}. Run `featcache extract` with the run's options."
            )

        def read(file: Path) -> Manifest | None:
            with open_file(file) as opened:
                return dataset_tables.read_dataset(opened, fingerprint, path)

        manifest = self.copies.reading(record.part, read)
        assert manifest is not None  # by its record
        return replace(manifest, depth=self.info.identity.preprocessing.depth)

    def dtype(self) -> str:
        """The type that the rows have in one file: float16 or float32."""
        stored = {record.dtype for record in self.committed()}
        return str(np.result_type(*stored)) if stored else self.info.identity.dtype

    def save_profiles(self, profiles: Mapping[str, Any]) -> None:
        """Record measurements in a store that has rows."""
        self.save_notes(profiles)

    def save_notes(self, profiles: Mapping[str, Any], extraction: Mapping[str, Any] | None = None) -> None:
        """Record measurements, and how an extraction went; `profiles` and `extraction` give them back."""
        commit_notes(self.manifest, self.info, NotesRecord("", dict(profiles), dict(extraction or {}), {}))

    def save_dataset(self, manifest: Manifest) -> None:
        """Write which contents make up a data set, unless the store says so already."""
        if not self.exists():
            return
        title = dataset_tables.dataset_name(manifest).partition("/")[2]
        known = self._dataset(manifest.fingerprint, str(manifest.root))
        if known is not None and known.title == title:
            return
        number = 1 + max((r.number for r in self.every_dataset()), default=0)
        with temporary_file(self.parts.folder.parent, f"{self.path.stem}-dataset") as file:
            build_dataset(file, self.info, manifest, number)
            root = dataset_tables.text_of(manifest.root)
            record = DatasetRecord("", NOT_PUT, title, manifest.fingerprint, root, number)
            commit_dataset(self.manifest, self.info, file, record)

    @contextmanager
    def writing(self, waiting: Callable[[str], None] = lambda _: None) -> Iterator[RowWriter]:
        """The one writer of this machine, or of a shared folder; see FeatureStore. Writers of shards may be at work
        beside it."""
        with super().writing(waiting) as writer:
            self.parts.ripe = self._put_staged  # in here only: a store that refers to itself would be kept too long
            try:
                yield writer
                writer.commit()
            finally:
                self.parts.ripe = lambda _: None

    def has(self, shard: Shard, spec: str | None = None) -> bool:
        """Whether the part of a shard is committed: one look, whatever the size of the store."""
        return self.manifest.has(rows_name(shard, spec))

    @contextmanager
    def shard(self, shard: Shard) -> Iterator[RowWriter]:
        """The writer of one shard, on any machine, beside any number of others; it takes no lock.

        When the block ends well, the rows of each spec are one part, and committed; before that, and where it ends by
        an exception or a kill, nobody sees any of them. `writer.committed` is then how many rows count: none where
        another worker had committed the same shard. What the writer was told beside rows is kept, but for `extraction`.
        """
        with tempfile.TemporaryDirectory(prefix="featcache-shard-") as folder:
            parts = Parts(Path(folder) / "rows")
            writer = RowWriter(parts, self.info.identity.dtype, self.info.identity.dtype)
            yield writer
            writer.commit()
            writer.committed = 0
            by_spec: dict[str, list[Path]] = {}
            for file in parts.files():  # base rows first
                by_spec.setdefault(spec_of(file), []).append(file)
            for spec, files in by_spec.items():
                built = build_part(Path(folder) / "part.h5", self.info, parts.read_of(files), set())
                if built is not None and commit_part(self.manifest, self.info, built, spec, shard):
                    writer.committed += len(built.sha256)
                (Path(folder) / "part.h5").unlink(missing_ok=True)
            if writer.profiles or writer.precision_loss:
                commit_notes(self.manifest, self.info, NotesRecord("", writer.profiles, {}, writer.precision_loss))

    def _fold(self, writer: RowWriter | None = None) -> None:
        """Put what waits on this machine, and what the writer knows beside it."""
        if writer is None:
            self.place.require_writable()
            for left in self.path.parent.glob(f".{self.path.stem}-part.*.tmp"):  # by a killed writer
                left.unlink(missing_ok=True)
        for spec in self.parts.specs():
            self._put_staged(spec, leftover=writer is None)
        if writer is not None and (writer.profiles or writer.committed):
            notes = NotesRecord("", writer.profiles, writer.extraction, writer.precision_loss)
            commit_notes(self.manifest, self.info, notes)
        if writer is not None and writer.manifest is not None:
            self.save_dataset(writer.manifest)

    def _put_staged(self, spec: str, leftover: bool = False) -> None:
        """Make a part of what waits of a spec; a killed process may have put some of its `leftover` before."""
        files = self.parts.of(spec)
        known: set[str] = set()
        if leftover:
            hashes = [h for part in self.parts.read_of(files) for h in part.sha256]
            known = set(hashes) - set(self.lacking(hashes, spec))
        with temporary_file(self.parts.folder.parent, f"{self.path.stem}-part") as file:
            built = build_part(file, self.info, self.parts.read_of(files), known)
            if built is not None:
                first = 1 + max((record.last for record in self.committed(spec)), default=-1)
                commit_part(
                    self.manifest,
                    self.info,
                    built,
                    spec,
                    Shard.of(first, built.sha256),
                )
        self.parts.clear(files)

    def _index(self, spec: str | None) -> tuple[tuple[RowsRecord, ...], RowIndex]:
        """The parts that are committed now, and which rows they have."""
        records = self.committed(spec)
        known = self._indexes.get(spec or "")
        if known is None or known[0] != records:
            known = records, RowIndex([self._hashes(record) for record in records])
            self._indexes[spec or ""] = known
        return known

    def _hashes(self, record: RowsRecord) -> NDArray[np.uint8]:
        data = self.copies.reading(record.hashes, Path.read_bytes)
        if len(data) != 32 * record.rows:
            raise StoreError(
                f"{self.where}/{record.hashes.file}: is damaged. Run `featcache cache verify --repair`: it drops the "
                "part, and only its rows are extracted again."
            )
        return np.frombuffer(data, np.uint8).reshape(-1, 32)

    def _row_shape(self, records: Sequence[RowsRecord]) -> tuple[int, ...]:
        spec = bool(records) and records[0].spec
        return (records[0].views, self.info.features) if spec else (self.info.features,)

    def _read_part(self, record: RowsRecord, order: NDArray[np.int64]) -> NDArray[Any]:
        hashes = self._hashes(record)[order]

        def read(file: Path) -> NDArray[Any]:
            if not file.exists():
                raise FileNotFoundError(file)
            with open_file(file) as opened:
                if identity_of(opened) != self.path.stem:
                    raise StoreError(
                        f"{self.where}/{record.part.file}: is a part of another store. Run `featcache cache verify "
                        "--repair`: it drops the part, and only its rows are extracted again."
                    )
                return checked_rows(opened, record.spec, order, hashes)

        try:
            return self.copies.reading(record.part, read)
        except StoreError:
            if self.place.file_of(record.part.file) is not None:
                raise
            self.copies.forget(record.part)  # it may be the copy alone that is damaged
            return self.copies.reading(record.part, read)

    def _dataset(self, fingerprint: str, path: str) -> DatasetRecord | None:
        root = dataset_tables.text_of(Path(path))
        found = [r for r in self.every_dataset() if r.fingerprint == fingerprint]
        return max(found, key=lambda one: (one.root == root, one.number), default=None)

    def _json(self, name: str) -> Any:
        found: dict[str, Any] = {}
        for notes in self.manifest.listed().of(NotesRecord, self.info):
            value = getattr(notes, name)
            found |= {k: max(v, found.get(k, v)) for k, v in value.items()} if name == "float16" else value
        return found
