"""The files of a sharded store, made on this machine before they are put: each a store's file of some of its rows.

A part has the layout of a whole store (`layout`), and the seal. One with views has their content hashes in `/sha256`
and no `/features`: the plain rows lie in a part of their own.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.atomic import make_folder, raising_disk_full
from featcache.records import BackboneInfo, Manifest
from featcache.store import dataset_tables, layout
from featcache.store.file_seal import seal
from featcache.store.hdf5_io import editing
from featcache.store.part_files import Features, Part, Parts, hash_bytes, spec_of
from featcache.store.part_records import Stored

_READ = 1 << 20


class StagedParts(Parts):
    """Rows that wait in a folder of this machine until there are enough of a spec for a part; then `ripe` is told, by
    whoever writes."""

    def __init__(self, folder: Path, rows_a_part: int) -> None:
        super().__init__(folder)
        self._rows_a_part = rows_a_part
        self.ripe: Callable[[str], None] = lambda _: None
        self._waiting = Counter[str]()

    def write(self, spec: str, sha256: Sequence[str], features: Features) -> None:
        """These rows survive a kill from here on; exactly `rows_a_part` of them make a part."""
        start = 0
        while start < len(sha256):
            waiting = self._waiting[spec] % self._rows_a_part
            stop = min(len(sha256), start + self._rows_a_part - waiting)
            super().write(spec, sha256[start:stop], features[start:stop])
            self._waiting[spec] += stop - start
            start = stop
            if self._waiting[spec] % self._rows_a_part == 0:
                self.ripe(spec)

    def clear(self, files: Sequence[Path]) -> None:
        """These are put."""
        for file in files:
            self._waiting[spec_of(file)] = 0
        super().clear(files)

    def of(self, spec: str) -> list[Path]:
        """The files that wait, of one spec."""
        return [file for file in self.files() if spec_of(file) == spec]

    def specs(self) -> list[str]:
        """The specs that have rows here, base rows first."""
        return list(dict.fromkeys(map(spec_of, self.files())))


@dataclass(frozen=True)
class BuiltPart:
    """A file that is ready to be put."""

    file: Path
    sha256: tuple[str, ...]  # in the order of its rows
    views: int
    dtype: str

    @property
    def hashes(self) -> NDArray[np.uint8]:
        """`[R, 32]`."""
        return hash_bytes(self.sha256)


@contextmanager
def temporary_file(folder: Path, name: str) -> Iterator[Path]:
    """A path in `folder` that is gone when the block ends; `cache prune` removes those of killed processes. Raises
    DiskFullError where there is no room."""
    make_folder(folder)
    temporary = folder / f".{name}.{os.getpid()}-{threading.get_ident()}.tmp"
    temporary.unlink(missing_ok=True)
    try:
        with raising_disk_full(temporary):
            yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def build_part(
    file: Path, info: BackboneInfo, parts: Iterable[Part], known: set[str], made: str | None = None
) -> BuiltPart | None:
    """Write the rows of `parts`, all of one spec, without those that are `known`; None where none is left. `made` is
    the provenance of rows that were made before."""
    hashes: list[str] = []
    views, dtype = 0, ""
    with editing(file) as (target, _):
        if made is not None:
            target.attrs["provenance"] = made
        layout.start_file(target, info)
        appender = layout.Appender(target)
        for part in parts:
            fresh = {h: i for i, h in enumerate(part.sha256) if h not in known}
            known = known | fresh.keys()
            if not fresh:
                continue
            if part.spec:
                appender.names(list(fresh))
            appender.rows(part.spec, list(fresh), part.features[list(fresh.values())])
            hashes += fresh
            views = part.features.shape[1] if part.spec else 1
            dtype = str(target[layout.group_name(part.spec)]["features"].dtype)
        layout.finish_file(target)
    seal(file)
    return BuiltPart(file, tuple(hashes), views, dtype) if hashes else None


def build_dataset(file: Path, info: BackboneInfo, manifest: Manifest, number: int) -> None:
    """Write the table of a data set, beside the content hashes that it points at."""
    with editing(file) as (target, _):
        layout.start_file(target, info)
        layout.Appender(target).names(list(dict.fromkeys(i.sha256 for i in manifest.images)))
        dataset_tables.write_dataset(target, manifest)
        target[dataset_tables.dataset_name(manifest)].attrs["number"] = number
        layout.finish_file(target)
    seal(file)


def stored_as(name: str, ending: str, file: Path) -> Stored:
    """A file as a record names it: by its own digest, so that no two contents have one name."""
    sha256 = file_digest(file)
    return Stored(f"part-{name}-{sha256[:8]}{ending}", file.stat().st_size, sha256)


def file_digest(file: Path) -> str:
    """The sha256 of all bytes."""
    value = hashlib.sha256()
    with file.open("rb") as source:
        while piece := source.read(_READ):
            value.update(piece)
    return value.hexdigest()


def identity_of(file: h5py.File) -> str:
    """The stem of the store that a part is of."""
    return layout.read_info(file).identity.stem
