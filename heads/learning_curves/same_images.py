"""Backbones are compared on the same images, whatever they are called: told before any training."""

from __future__ import annotations

from collections.abc import Sequence

from featcache.data import load_manifest
from featcache.errors import DataError, FeatcacheError
from featcache.options import Options
from featcache.records import Manifest


def require_same_images(every: Sequence[Options]) -> None:
    """Raise DataError where options name different images; what cannot be read is left to who measures it."""
    named = {(one.data.model_dump_json(), str(one.cache.dir)): one for one in reversed(every)}
    if len(named) < 2:
        return
    found: list[tuple[str, Manifest]] = []
    for one in reversed(named.values()):
        try:
            found.append((one.experiment_name, load_manifest(one.data, one.cache.folder)[0]))
        except FeatcacheError:
            continue
    for name, manifest in found[1:]:
        require_same(name, manifest, *found[0])


def require_same(name: str, manifest: Manifest, first: str, of_first: Manifest) -> None:
    """Raise DataError unless two manifests have the same contents under the same labels in the same splits; what files
    are called says nothing: an archive and a table may hold the same images."""
    if manifest.fingerprint != of_first.fingerprint:
        raise DataError(
            f"{name}: is on other images than {first}: curves are compared on the same training, validation and test "
            "images, labels and splits. Ask for each by itself."
        )
