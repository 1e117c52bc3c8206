"""The store: one HDF5 file of features for each identity; the only place that touches HDF5."""

from featcache.store.feature_store import FeatureStore
from featcache.store.row_writer import RowWriter
from featcache.store.upkeep import list_stores, prune, stores, why_new
from featcache.store.verification import describe, repair, verify
from featcache.store.versions import provenance

__all__ = [
    "FeatureStore",
    "RowWriter",
    "describe",
    "list_stores",
    "provenance",
    "prune",
    "repair",
    "stores",
    "verify",
    "why_new",
]
