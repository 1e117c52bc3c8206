"""Which kind of store a cache holds of an identity, or is to hold: one file, or many parts."""

from __future__ import annotations

from pathlib import Path

from featcache.options import CacheOptions, cache_url
from featcache.records import BackboneInfo
from featcache.store.feature_store import FeatureStore
from featcache.store.object_storage import ObjectStorage
from featcache.store.part_copies import MOST_GB
from featcache.store.place_choice import place_of
from featcache.store.shard_manifest import FOLDER, ShardManifest
from featcache.store.sharded_store import ROWS_A_PART, ShardedStore


def open_store(cache: CacheOptions, info: BackboneInfo) -> FeatureStore:
    """The store of an identity that options name; see `store_in`."""
    return store_in(cache.folder, info, cache.rows_a_part, cache.max_copies_gb)


def store_in(
    folder: Path, info: BackboneInfo, rows_a_part: int | None = None, most_gb: float = MOST_GB
) -> FeatureStore:
    """The store of an identity in the cache whose folder `cache_folder` gave. One that is there is taken as it is; a
    new one is sharded where `rows_a_part` is given, and always where the cache is at a URL. Of a remote store, copies
    take up to `most_gb` of this machine's disk."""
    single = FeatureStore(folder, info)
    if cache_url(folder) is None and (single.exists() or not (rows_a_part or is_sharded(single.path))):
        return single
    return ShardedStore(folder, info, rows_a_part or ROWS_A_PART, most_gb)


def store_at(path: Path) -> FeatureStore:
    """The store that is called `path` in a cache's folder, as it describes itself: needs neither the network nor its
    weights. Raises StoreError where there is none, or it is damaged."""
    return ShardedStore.at(path) if is_sharded(path) else FeatureStore.at(path)


def has_store(path: Path) -> bool:
    """Whether a cache's folder has a store that is called `path`."""
    return bool(ShardManifest(place_of(path)).names()) if is_sharded(path) else path.exists()


def is_sharded(path: Path) -> bool:
    """Whether the store that is called `path` is in parts. Where there is a file too, as after a conversion that was
    killed at its end, the file counts: it has the same rows."""
    if cache_url(path.parent) is not None:
        return True
    return not path.exists() and (path.with_suffix("") / FOLDER).is_dir()


def stores(folder: Path) -> list[Path]:
    """What every store of a cache is called, those with nothing but committed rows on this machine included."""
    stems = {p.stem for p in folder.glob("*.h5")} | {p.stem for p in folder.glob("*.parts")}
    stems |= {p.parent.name for p in folder.glob(f"*/{FOLDER}")}
    if (url := cache_url(folder)) is not None:
        stems |= set(ObjectStorage(url).folders())
    return sorted(folder / f"{stem}.h5" for stem in stems)
