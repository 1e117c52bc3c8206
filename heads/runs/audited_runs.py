"""An audit of the data that finished runs were trained on, by the stores of their features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from featcache import __version__
from featcache.audit import Audit, audit_stores, find_audit, is_complete
from featcache.data import group_images, quarantined, regroup
from featcache.options import DataOptions, GroupRule
from featcache.records import Progress
from featcache.store import store_at
from heads.runs.run import Run, cache_of


def audit_runs(runs: Sequence[Run], cache_dir: Path | None, progress: Progress, reuse: Path | None = None) -> Audit:
    """Audit the data of `runs`, which is the same for all, by their stores (in `cache_dir`, default: where each kept
    them). An audit below the results folder `reuse` that is by the same ones, and looked for all that is looked
    for today, is given back.

    Raises StoreError where a store is missing or damaged, DataError where the table that data.groups names is.
    """
    paths = list(dict.fromkeys(path for run in runs for path in _stores(run, cache_dir)))
    of = runs[0].summary["data"]
    fingerprint = str(of["fingerprint"])
    manifest = store_at(paths[0]).dataset(fingerprint, str(of["path"]))
    data = data_options_of(runs[0])
    if data is not None and data.groups is None:
        manifest = regroup(manifest, data, paths[0].parent)
    images, _ = group_images(manifest.images, groups_of(runs[0]))
    manifest = replace(manifest, images=tuple(images))
    bad = quarantined(manifest, paths[0].parent)
    folds = all(run.summary["data"]["folds"] is not None for run in runs)
    known = find_audit(reuse, fingerprint) if reuse is not None else None
    if (
        known is not None
        and is_complete(known)
        and (known.featcache, known.quarantined, known.folds) == (__version__, bad, folds)
        and [b.store for b in known.backbones] == [path.name for path in paths]
        and known.groups == {i.name: i.group for i in images if i.group is not None}
    ):
        return known
    return audit_stores(paths, manifest, bad, progress, folds=folds)


def exclude_of(run: Run) -> str | None:
    """The run's data.exclude; None where there is none, or the run does not say."""
    data = data_options_of(run)
    return data.exclude if data is not None else None


def groups_of(run: Run) -> GroupRule | None:
    """The run's data.groups; None where there is none, or the run does not say."""
    data = data_options_of(run)
    return data.groups if data is not None else None


def data_options_of(run: Run) -> DataOptions | None:
    """The run's section `data`; None where the run does not say."""
    try:
        data = json.loads((run.folder / "options.json").read_text(encoding="utf-8"))["data"]
        return DataOptions.model_validate_json(json.dumps(data))
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None


def _stores(run: Run, cache_dir: Path | None) -> list[Path]:
    """The stores that a run was trained on."""
    folder = cache_dir or cache_of(run)
    return [folder / str(name) for name in run.summary["stores"]]
