"""An audit of the data that finished runs were trained on, by the stores of their features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from featcache import __version__
from featcache.audit import Audit, audit_stores, find_audit, is_complete
from featcache.data import quarantined
from featcache.records import Progress
from featcache.store import FeatureStore
from heads.runs.run import Run, cache_of


def audit_runs(runs: Sequence[Run], cache_dir: Path | None, progress: Progress, reuse: Path | None = None) -> Audit:
    """Audit the data of `runs`, which is the same for all, by their stores (in `cache_dir`, default: where each kept
    them). An audit below the results folder `reuse` that is by the same ones, and looked for all that is looked
    for today, is given back.

    Raises StoreError where a store is missing or damaged.
    """
    paths = list(dict.fromkeys(path for run in runs for path in _stores(run, cache_dir)))
    fingerprint = str(runs[0].summary["data"]["fingerprint"])
    manifest = FeatureStore.at(paths[0]).dataset(fingerprint)
    bad = quarantined(manifest, paths[0].parent)
    known = find_audit(reuse, fingerprint) if reuse is not None else None
    if (
        known is not None
        and is_complete(known)
        and (known.featcache, known.quarantined) == (__version__, bad)
        and [b.store for b in known.backbones] == [path.name for path in paths]
    ):
        return known
    return audit_stores(paths, manifest, bad, progress)


def exclude_of(run: Run) -> str | None:
    """The run's data.exclude; None where there is none, or the run does not say."""
    try:
        exclude = json.loads((run.folder / "options.json").read_text(encoding="utf-8"))["data"]["exclude"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(exclude) if exclude is not None else None


def _stores(run: Run, cache_dir: Path | None) -> list[Path]:
    """The stores that a run was trained on."""
    folder = cache_dir or cache_of(run)
    return [folder / str(name) for name in run.summary["stores"]]
