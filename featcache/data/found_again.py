"""A manifest that a store remembers, its images found again where `data.path` has them: a store knows names alone."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from featcache.data.manifest import list_source
from featcache.data.sources import Row, entered, is_folder, recognise
from featcache.errors import FeatcacheError
from featcache.options import DataOptions
from featcache.places import FilePlace, NoContentError
from featcache.records import Manifest


def locate(manifest: Manifest, options: DataOptions, cache_dir: Path) -> Manifest:
    """`manifest` with each image where its source has it; the source is only looked into when one is read."""
    path = _path(manifest, options)
    if is_folder(path):  # a name says where the file is
        root = entered(Path(path).expanduser().absolute())
        return replace(manifest, images=tuple(replace(i, place=FilePlace.at(root / i.name)) for i in manifest.images))
    source = _Source(options.model_copy(update={"path": path}), cache_dir)
    return replace(manifest, images=tuple(replace(i, place=_NamedPlace(source, i.name)) for i in manifest.images))


def regroup(manifest: Manifest, options: DataOptions, cache_dir: Path) -> Manifest:
    """`manifest` with the groups that its source gives, such as a column of its table; without any where the source is
    not there any more."""
    path = _path(manifest, options)
    if is_folder(path):
        return manifest
    rows = _Source(options.model_copy(update={"path": path}), cache_dir).rows()
    groups = {name: row.group for name, row in rows.items()}
    return replace(manifest, images=tuple(replace(i, group=groups.get(i.name)) for i in manifest.images))


def _path(manifest: Manifest, options: DataOptions) -> str:
    """What data.path names, or, where that is not to be found from here, what the store says of the same images, which
    may be another source of them."""
    try:
        recognise(options.path)
    except (FeatcacheError, OSError):
        return str(manifest.root)
    return options.path


class _Source:
    """A source that is listed once, when it is first asked for."""

    def __init__(self, options: DataOptions, cache_dir: Path) -> None:
        self._options, self._cache_dir = options, cache_dir
        self._rows: dict[str, Row] | None = None
        self._lock = threading.Lock()

    def rows(self) -> dict[str, Row]:
        """Its rows by name; none where it cannot be used now."""
        with self._lock:
            if self._rows is None:
                try:
                    self._rows = {row.name: row for row in list_source(self._options, self._cache_dir).rows}
                except (FeatcacheError, OSError):
                    self._rows = {}
            return self._rows


@dataclass(frozen=True)
class _NamedPlace:
    """An image by its name in a source."""

    source: _Source
    name: str

    @property
    def key(self) -> str:
        """The name."""
        return f"\0{self.name}"

    @property
    def position(self) -> tuple[str, int]:
        """Not known."""
        return "", 0

    def stamp(self) -> tuple[int, int] | None:
        """Of the place that has it."""
        return self._row().place.stamp()

    def read(self) -> bytes:
        """What the source has under that name."""
        return self._row().place.read()

    def _row(self) -> Row:
        row = self.source.rows().get(self.name)
        if row is None:
            raise NoContentError("the source does not hold it any more")
        return row
