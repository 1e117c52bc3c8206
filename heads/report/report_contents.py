"""All that a report says, read from results/ and cache/ before a line of it is written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featcache.audit import Audit, exact_leaks, find_audit
from featcache.counted_nouns import counted
from featcache.data import locate
from featcache.errors import FeatcacheError
from featcache.records import SILENT, ImageRecord, Manifest, Progress, Split
from featcache.store import store_at
from heads.leaderboard import (
    Agreement,
    Leaderboard,
    RankedResults,
    Row,
    agreements,
    joins_text,
    left_out_lines,
    recipe_notes,
    verdict,
)
from heads.learning_curves import SavedCurves, load_curves
from heads.redundancy import BackboneComparison
from heads.report.feature_maps_2d import FeatureMap, choose_images, feature_maps
from heads.report.recipe_searches import load_recipe_searches
from heads.report.run_details import Detail, detail
from heads.report.sweep_results import Sweep, load_sweeps
from heads.runs import Run, cache_of, data_options_of, leakage, leaks_by_content, predictions_of

log = logging.getLogger("featcache")

SWEEPS, RECIPES = "sweeps", "recipes"  # the folders of sweeps, and of searches of Phase 2's recipe, below results/


@dataclass(frozen=True)
class Contents:
    """What a report is written from."""

    board: Leaderboard
    runs: Mapping[str, Run]  # by name, those on the board
    verdict: tuple[str, ...]
    left_out: tuple[str, ...]  # which finished runs are not on the board, and why
    agreements: tuple[Agreement, ...]
    recipe_notes: Mapping[str, Sequence[str]]  # by run, of those that anything is to be said against
    comparison: BackboneComparison  # of the feature maps with each other
    joins: str  # whether any two of them are worth joining
    details: Mapping[str, Detail]  # by run
    map_images: tuple[ImageRecord, ...]  # the points of every map
    maps: Mapping[str, FeatureMap]  # by the names of the stores
    map_of: Mapping[str, str]  # run -> its map; Phase 2 runs have none, their features are nowhere kept
    manifest: Manifest | None  # as a store knows it; None where none of the runs' stores is there any more
    leakage: Mapping[str, Mapping[str, Mapping[str, Any]]]  # by run and split; empty where nothing leaked
    group_leakage: Mapping[str, Mapping[str, Mapping[str, Any]]]  # the same of groups (data.groups), of runs with any
    audit: Audit | None
    sweeps: tuple[Sweep, ...]
    curves: tuple[SavedCurves, ...]  # learning curves of runs on the board, the earliest written first
    cache_dir: Path

    @property
    def rows(self) -> tuple[Row, ...]:
        """The leaderboard's."""
        return self.board.rows


def collect(
    ranked: RankedResults,
    *,
    cache_dir: Path | None = None,
    progress: Progress = SILENT,
) -> Contents:
    """Read what is ranked; features from `cache_dir`, by default from where each run kept them."""
    if cache_dir not in (None, ranked.cache_dir):
        ranked = replace(ranked, cache_dir=cache_dir)
    board = ranked.board
    here = {row.run: ranked.run(row) for row in board.rows}
    caches = {name: cache_dir or cache_of(run) for name, run in here.items()}
    stores = {
        name: tuple(caches[name] / store for store in run.summary["stores"])
        for name, run in here.items()
        if run.summary["phase"] == 1
    }
    of = next(iter(here.values())).summary["data"]
    fingerprint = str(of["fingerprint"])
    manifest = _manifest([path for paths in stores.values() for path in paths], fingerprint, str(of["path"]))
    data = data_options_of(next(iter(here.values())))
    if manifest is not None and data is not None:
        manifest = locate(manifest, data, caches[board.rows[0].run])
    images = choose_images(manifest) if manifest is not None else []
    called = manifest.images if manifest is not None else ()
    details = {row.run: detail(here[row.run], called) for row in board.rows}
    audit = find_audit(ranked.results_dir, fingerprint)
    maps = _maps(stores, images, caches, progress)
    return Contents(
        board=board,
        runs=here,
        verdict=tuple(verdict(ranked)),
        left_out=tuple(left_out_lines(ranked)),
        agreements=tuple(agreements(board.feature_maps)),
        recipe_notes=recipe_notes(ranked),
        comparison=ranked.comparison,
        joins=joins_text(ranked),
        details=details,
        map_images=tuple(images),
        maps=maps,
        map_of={name: _key(paths) for name, paths in stores.items() if _key(paths) in maps},
        manifest=manifest,
        leakage=_leakage(here, manifest, audit),
        group_leakage={name: one for name, run in here.items() if (one := run.summary.get("group_leakage"))},
        audit=audit,
        sweeps=(
            *load_sweeps(ranked.results_dir / SWEEPS, fingerprint),
            *load_recipe_searches(ranked.results_dir / RECIPES, fingerprint),
        ),
        curves=tuple(c for c in load_curves(ranked.results_dir, fingerprint) if not set(c.runs).isdisjoint(here)),
        cache_dir=caches[board.rows[0].run],
    )


def _key(paths: Sequence[Path]) -> str:
    return " + ".join(path.name for path in paths)


def _manifest(paths: Sequence[Path], fingerprint: str, source: str) -> Manifest | None:
    """The data set as the first store knows it that is there and whole, by the names that its `source` gives."""
    for path in dict.fromkeys(paths):
        try:
            return store_at(path).dataset(fingerprint, source)
        except FeatcacheError as error:
            log.warning("%s", error)
    return None


def _maps(
    stores: Mapping[str, Sequence[Path]], images: Sequence[ImageRecord], caches: Mapping[str, Path], progress: Progress
) -> dict[str, FeatureMap]:
    """The map of each run's features; runs on the same features share one."""
    wanted = {_key(paths): (paths, caches[name]) for name, paths in stores.items()}
    found: dict[str, FeatureMap] = {}
    progress.begin("maps", len(wanted), "map")
    for key, made in zip(wanted, feature_maps(list(wanted.values()), images), strict=True):
        if made is not None:
            found[key] = made
        progress.advance(1)
    progress.end(f"{counted(len(found), 'feature map')} in two dimensions")
    return found


def _leakage(
    runs: Mapping[str, Run], manifest: Manifest | None, audit: Audit | None
) -> dict[str, dict[str, dict[str, Any]]]:
    """What leaked images do to each run's accuracies; near copies count where there is an audit."""
    leaks: dict[Split, frozenset[str]] = {"val": frozenset(), "test": frozenset()}
    contents: dict[str, str] = {}
    if audit is not None:
        leaks = {"val": frozenset(audit.leaked.val), "test": frozenset(audit.leaked.test)}
        contents = audit.contents
    elif manifest is not None:
        leaks = exact_leaks(manifest)
        contents = {image.name: image.sha256 for image in manifest.images}
    if not any(leaks.values()):
        return {}
    hashes = leaks_by_content(leaks, contents)
    splits: tuple[Split, ...] = ("val", "test")
    found = {}
    for name, run in runs.items():
        seen = {split: one for split in splits if (one := predictions_of(run.folder, split)) is not None}
        if len(seen) < len(splits):
            continue
        folded = run.summary["data"]["folds"] is not None
        own = leaks if seen["val"].contents is None else hashes  # of an earlier version
        found[name] = leakage(seen, {**own, "val": frozenset()} if folded else own)
        if folded:  # exact copies share a fold, near ones need not: what is without them is not known
            found[name]["val"] |= {"top1_without": None, "top3_without": None}
    return found
