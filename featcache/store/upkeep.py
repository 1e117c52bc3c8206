"""The stores of a cache folder: listed, pruned; and why a new store was begun though one nearly matches."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from featcache.records import FORMAT_VERSION, Identity
from featcache.store.entries import Entry
from featcache.store.locks import StoreLocks
from featcache.store.opening import is_sharded, stores
from featcache.store.plain_structure import reading
from featcache.store.sharded_store import ShardedStore
from featcache.store.sharded_upkeep import remove_sharded, remove_uncommitted, sharded_entry

LEFTOVER_SECONDS = 3600  # a temporary file that has not changed for so long has no living writer


@dataclass(frozen=True)
class Pruned:
    """A store that was chosen for removal, and why; `kept` says that it was in use and stays."""

    entry: Entry
    reason: str
    kept: bool


def list_stores(cache_dir: Path) -> list[Entry]:
    """Every store, the one used last first."""
    entries = (sharded_entry(path) if is_sharded(path) else _entry(path) for path in stores(cache_dir))
    return sorted(entries, key=lambda e: e.idle_seconds)


def prune(
    cache_dir: Path,
    *,
    older_than_days: float | None = None,
    max_gb: float | None = None,
    used: frozenset[str] | None = None,
    dry_run: bool = False,
) -> list[Pruned]:
    """Remove stores that were not used for so many days, or whose file name is not among `used`, or, the longest
    unused first, until all together take at most `max_gb`. A store that a process works with stays."""
    entries = list_stores(cache_dir)
    reasons: dict[Path, str] = {}
    for entry in entries:
        if older_than_days is not None and entry.idle_days > older_than_days:
            reasons[entry.path] = f"not used for {entry.idle_days:.1f} days"
        elif used is not None and entry.path.name not in used:
            reasons[entry.path] = "no run was trained on it"
    pruned = [Pruned(e, reasons[e.path], not _remove(e.path, dry_run)) for e in entries if e.path in reasons]
    if max_gb is not None:
        left = sum(e.size_bytes for e in entries) - sum(p.entry.size_bytes for p in pruned if not p.kept)
        for entry in reversed(entries):
            if left > max_gb * 1e9 and entry.path not in reasons:
                one = Pruned(entry, f"the cache takes more than {max_gb:g} GB", not _remove(entry.path, dry_run))
                pruned.append(one)
                left -= 0 if one.kept else entry.size_bytes
    if not dry_run:
        _remove_leftovers(cache_dir)
    return pruned


def why_new(cache_dir: Path, identity: Identity) -> str | None:
    """Why no store serves `identity` although some hold the same backbone; None where there is none of it."""
    wanted = _flat(identity.as_dict())
    nearest: tuple[list[str], Path] | None = None
    for path in stores(cache_dir):
        if not path.name.startswith(identity.stem.rsplit("-", 2)[0] + "-"):
            continue
        try:
            has = _flat(_identity(path))
        except (OSError, RuntimeError, KeyError, ValueError):
            continue
        if has.get("backbone") != identity.backbone:
            continue
        differs = [k for k in sorted({*has, *wanted}) if has.get(k) != wanted.get(k)]
        if differs and (nearest is None or len(differs) < len(nearest[0])):
            changes = [f"{k} is {_short(has.get(k))} there, {_short(wanted.get(k))} here" for k in differs]
            nearest = (changes, path)
    if nearest is None:
        return None
    return f"the nearest store, {nearest[1].name}, does not match: {'; '.join(nearest[0])}"


def _identity(path: Path) -> dict[str, Any]:
    if is_sharded(path):
        return ShardedStore.at(path).info.identity.as_dict()
    with reading(path) as file:
        identity: dict[str, Any] = json.loads(file.attrs["identity"])
        return identity


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}{key}.") if isinstance(inner, Mapping) else {f"{prefix}{key}": inner}
    return flat


def _short(value: Any) -> str:
    text = str(value)
    return text[:8] if len(text) == 64 else text  # a digest


def _entry(path: Path) -> Entry:
    parts = path.with_suffix(".parts")
    files = [path, *parts.glob("*")] if parts.is_dir() else [path]
    stats = [f.stat() for f in files if f.exists()]
    size = sum(s.st_size for s in stats)
    idle = max(0.0, time.time() - max((s.st_mtime for s in stats), default=0.0))
    try:
        with reading(path) as file:
            identity = json.loads(file.attrs["identity"])
            version = file.attrs.get("format_version")
            groups = file["augmented"].values() if "augmented" in file else []
            return Entry(
                path=path,
                backbone=identity["backbone"],
                input_size=identity["preprocessing"]["input_size"],
                weights=json.loads(file.attrs["origin"])["label"],
                dtype=str(file["features"].dtype),
                rows=len(file["sha256"]),
                views=sum(len(g["row"]) * g["features"].shape[1] for g in groups),
                datasets=_titles(file),
                size_bytes=size,
                created=json.loads(file.attrs["provenance"])["created"],
                idle_seconds=idle,
                fault="" if version == FORMAT_VERSION else f"format {version}, this version reads {FORMAT_VERSION}",
            )
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        fault = "nothing folded in yet" if not path.exists() else f"cannot be read: {error}"
        return Entry(path, path.stem.rsplit("-", 2)[0], None, "-", "-", 0, 0, (), size, "", idle, fault)


def _remove(path: Path, dry_run: bool) -> bool:
    """Remove a store, unless a process works with it."""
    with StoreLocks(path).alone() as alone:
        if alone and not dry_run:
            if is_sharded(path):
                remove_sharded(path)
            path.unlink(missing_ok=True)
            shutil.rmtree(path.with_suffix(".parts"), ignore_errors=True)
        return alone


def _remove_leftovers(cache_dir: Path) -> None:
    """Temporary files of killed processes, and parts that they put and did not commit."""
    for path in stores(cache_dir):
        if is_sharded(path):
            remove_uncommitted(path, LEFTOVER_SECONDS)
    for file in cache_dir.rglob(".*.tmp"):
        try:
            if time.time() - file.stat().st_mtime > LEFTOVER_SECONDS:
                file.unlink()
        except OSError:
            continue  # its writer was faster


def _titles(file: h5py.File) -> tuple[str, ...]:
    """What its data sets are called, each once; earlier versions put no hash of names behind that of the contents."""
    groups = file.get("datasets", {}).items()
    return tuple(sorted({name.rsplit("-", 2 if "number" in one.attrs else 1)[0] for name, one in groups}))
