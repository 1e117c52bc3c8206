"""The store: one HDF5 file of features for each identity; the only place that touches HDF5."""

from featcache.store.store import FeatureStore
from featcache.store.writer import RowWriter

__all__ = ["FeatureStore", "RowWriter"]
