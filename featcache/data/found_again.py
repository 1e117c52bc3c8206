"""A manifest that a store remembers, its images found again where `data.path` has them: a store knows names alone."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from featcache.data.manifest import list_source
from featcache.data.sources import Row, is_folder
from featcache.errors import FeatcacheError
from featcache.options import DataOptions
from featcache.places import NoContentError
from featcache.records import Manifest


def locate(manifest: Manifest, options: DataOptions, cache_dir: Path) -> Manifest:
    """`manifest` with each image where its source has it; the source is only looked into when one is read."""
    if is_folder(manifest.root):  # a name says where the file is
        return manifest
    source = _Source(options, cache_dir)
    return replace(manifest, images=tuple(replace(i, place=_NamedPlace(source, i.name)) for i in manifest.images))


def regroup(manifest: Manifest, options: DataOptions, cache_dir: Path) -> Manifest:
    """`manifest` with the groups that its source gives, such as a column of its table; without any where the source is
    not there any more."""
    if is_folder(manifest.root):
        return manifest
    rows = _Source(options, cache_dir).rows()
    groups = {name: row.group for name, row in rows.items()}
    return replace(manifest, images=tuple(replace(i, group=groups.get(i.name)) for i in manifest.images))


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
