"""Where the parts of a store lie, by the cache that it is in."""

from __future__ import annotations

from pathlib import Path

from featcache.options import cache_url
from featcache.store.object_storage import ObjectStorage
from featcache.store.shared_place import SharedFolder, SharedPlace


def place_of(path: Path) -> SharedPlace:
    """The place of the store that is called `path` in a cache's folder: below its URL, or a folder of its name."""
    url = cache_url(path.parent)
    return SharedFolder(path.with_suffix("")) if url is None else ObjectStorage(f"{url}/{path.stem}")
