"""An audit of a data set from stores alone: neither its images nor the networks need to be at hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from featcache.audit.audit_from_features import audit
from featcache.audit.audit_records import Audit, AuditedBackbone
from featcache.records import SILENT, BadImage, Manifest, Progress
from featcache.store import store_at


def audit_stores(
    paths: Sequence[Path],
    manifest: Manifest,
    bad: Iterable[BadImage] = (),
    progress: Progress = SILENT,
    *,
    folds: bool = False,
) -> Audit:
    """Audit the images of `manifest` by view 0 of the stores at `paths`; `bad` are the files that cannot be read. With
    `folds` heads are judged in folds of train and val.

    Raises StoreError where a store is missing or damaged, or lacks some of the images.
    """
    stores = [store_at(path) for path in paths]
    hashes = [i.sha256 for i in manifest.images]
    counted = Counter(s.info.identity.backbone for s in stores)
    # Two stores of one backbone differ by its weights or input size: their files' names tell them apart.
    names = [
        s.info.identity.backbone if counted[s.info.identity.backbone] == 1 else s.info.identity.stem for s in stores
    ]
    features = {name: store.read(hashes) for name, store in zip(names, stores, strict=True)}
    backbones = [
        AuditedBackbone(name, store.info.origin.label, store.path.name)
        for name, store in zip(names, stores, strict=True)
    ]
    return audit(manifest, features, bad, backbones=backbones, folds=folds, progress=progress)
