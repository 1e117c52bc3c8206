"""The store: one HDF5 file of features for each identity, or many of its parts; the only place that touches HDF5."""

from featcache.store.checkup import describe, repair, verify
from featcache.store.conversion import merge, split
from featcache.store.feature_store import FeatureStore
from featcache.store.opening import has_store, open_store, store_at, store_in, stores
from featcache.store.part_records import Shard
from featcache.store.row_writer import RowWriter
from featcache.store.sharded_store import ShardedStore
from featcache.store.upkeep import list_stores, prune, why_new
from featcache.store.versions import provenance

__all__ = [
    "FeatureStore",
    "RowWriter",
    "Shard",
    "ShardedStore",
    "describe",
    "has_store",
    "list_stores",
    "merge",
    "open_store",
    "provenance",
    "prune",
    "repair",
    "split",
    "store_at",
    "store_in",
    "stores",
    "verify",
    "why_new",
]
