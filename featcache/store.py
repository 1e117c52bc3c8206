"""The store: one HDF5 file of features for each identity; the only place that touches HDF5.

HDF5 has no journal, so the file is never changed in place. New rows are first committed as parts (`<stem>.parts/`:
small archives with a checksum for each member, synced, then renamed); parts are folded in by writing a new file beside
the old one and renaming it. Whatever moment the process dies at, the file is the old one or the new one, and
committed parts are found by the next writer.
"""

from __future__ import annotations

import datetime
import io
import json
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from featcache.atomic import make_folder, replacing
from featcache.errors import NonFiniteError, StoreError
from featcache.records import FORMAT_VERSION, SPLITS, BackboneInfo, Manifest

Features = NDArray[np.float16] | NDArray[np.float32]

COMMIT_SECONDS = 1.0  # rows in flight are at most those of this time
CHUNK_BYTES = 1 << 20
MAX_FLOAT16 = 65504 / 8  # room for later rows to be larger than those seen first
MAX_RELATIVE_ERROR = 1e-3  # of a row's norm, when rounded to float16: 2^-11 unless values are subnormal


class FeatureStore:
    """The rows of one identity: `features[i]` belongs to the image whose content hash is `sha256[i]`.

    Base rows are view 0. Rows of augmented views `[V-1, F]` lie under `/augmented/<spec>/`, one for each image.
    """

    def __init__(self, cache_dir: str | Path, info: BackboneInfo) -> None:
        self.info = info
        self.path = Path(cache_dir) / f"{info.identity.stem}.h5"
        self._parts = self.path.with_suffix(".parts")
        # The operating system frees it when its process dies, so a dead writer's lock blocks nobody.
        self._lock = FileLock(self.path.with_suffix(".lock"))

    def rows(self, spec: str | None = None) -> dict[str, int]:
        """Content hash -> row of everything folded in (base rows, or those of an augmentation spec)."""
        if not self.path.exists():
            return {}
        with self._open() as file:
            hashes = [h.tobytes().hex() for h in file["sha256"][:]]
            if spec is None:
                return {h: i for i, h in enumerate(hashes)}
            group = f"augmented/{spec}"
            return {hashes[r]: i for i, r in enumerate(file[f"{group}/row"][:])} if group in file else {}

    def read(self, sha256: Sequence[str], spec: str | None = None) -> NDArray[np.float32]:
        """The features of these contents, in their order: float32 `[N, F]`, or `[N, V-1, F]` with a spec."""
        rows = self.rows(spec)
        missing = [s for s in sha256 if s not in rows]
        if missing:
            raise StoreError(
                f"{self.path}: has no row for {len(missing)} of {len(sha256)} images. Run `featcache extract` first."
            )
        wanted = np.array([rows[s] for s in sha256], dtype=np.int64)
        order = np.unique(wanted)  # HDF5 reads in order or crawls
        with self._open() as file:
            data = file["features" if spec is None else f"augmented/{spec}/features"]
            values = _read_rows(data, order)
        return values[np.searchsorted(order, wanted)].astype(np.float32)

    def profiles(self) -> dict[str, Any]:
        """What was measured with this backbone: key -> profile as JSON values."""
        return dict(self._attribute("profile", {}))

    def extraction(self) -> dict[str, Any]:
        """How the last extraction went: images, seconds, images_per_second, device."""
        return dict(self._attribute("extraction", {}))

    def dtype(self) -> str:
        """The type of the stored rows: float16 or float32."""
        with self._open() as file:
            return str(file["features"].dtype)

    def save_profile(self, key: str, profile: Mapping[str, Any]) -> None:
        """Record a measurement."""
        with self._locked():
            self._rewrite(lambda file: _set_json(file, "profile", {**self.profiles(), key: dict(profile)}))

    def save_dataset(self, manifest: Manifest) -> None:
        """Write which rows make up a data set, so that the file explains itself to anyone with h5py."""
        name = f"datasets/{_safe(manifest.name)}-{manifest.fingerprint[:8]}"
        if not self.path.exists():
            return
        with self._open() as file:
            if name in file:
                return
        rows = self.rows()

        def add(file: h5py.File) -> None:
            if name in file:  # another process was first
                return
            group = file.create_group(name)
            group.attrs["classes"] = list(manifest.classes)
            group.attrs["root"] = os.fsencode(manifest.root).decode("utf-8", "backslashreplace")
            group.attrs["fingerprint"] = manifest.fingerprint
            for split in SPLITS:
                images = manifest.of(split)
                part = group.create_group(split)
                part["row"] = np.array([rows[i.sha256] for i in images], dtype=np.int64)
                part["label"] = np.array([i.label for i in images], dtype=np.int64)
                part.create_dataset("path", data=[i.name for i in images], dtype=h5py.string_dtype())

        with self._locked():
            self._rewrite(add)

    @contextmanager
    def writing(self, waiting: Callable[[str], None] = lambda _: None) -> Iterator[RowWriter]:
        """The one writer of this store. A second process waits here, after `waiting` has been told why.

        What a killed writer left committed is folded in first; what this writer commits, when the block ends, even by
        an exception.
        """
        with self._locked(waiting):
            self._fold()
            writer = RowWriter(self)
            try:
                yield writer
            finally:
                writer.commit()
                self._fold(writer)

    @contextmanager
    def _locked(self, waiting: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        make_folder(self.path.parent)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            waiting(f"{self.path.name}: another process is writing it; waiting for it to finish")
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def _fold(self, writer: RowWriter | None = None) -> None:
        """Move the committed parts into the file."""
        parts = sorted(self._parts.glob("*.npz")) if self._parts.is_dir() else []
        loaded = [part for part in map(_load_part, parts) if part is not None]
        if loaded:
            self._rewrite(lambda file: _append(file, self.info, loaded, writer))
        shutil.rmtree(self._parts, ignore_errors=True)

    def _rewrite(self, change: Callable[[h5py.File], None]) -> None:
        with replacing(self.path) as temporary:
            if self.path.exists():
                shutil.copyfile(self.path, temporary)
            with h5py.File(temporary, "a", libver="v112") as file:  # v112: checksums in the file's own structures
                change(file)

    @contextmanager
    def _open(self) -> Iterator[h5py.File]:
        try:
            file = h5py.File(self.path, "r")
        except OSError as error:
            raise StoreError(
                f"{self.path}: cannot be read ({error}). Remove it and run again: its rows are extracted anew."
            ) from None
        with file:
            if file.attrs.get("format_version") != FORMAT_VERSION:
                raise StoreError(
                    f"{self.path}: has the format {file.attrs.get('format_version')}, expected {FORMAT_VERSION}. "
                    "Remove it and run again."
                )
            yield file

    def _attribute(self, name: str, default: Any) -> Any:
        if not self.path.exists():
            return default
        with self._open() as file:
            return json.loads(file.attrs[name]) if name in file.attrs else default


class RowWriter:
    """Commits rows to one store; made by `FeatureStore.writing`."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._pending: dict[str | None, list[tuple[str, Features]]] = {}
        self._last = time.monotonic()
        self._number = 0
        self.dtype = store.dtype() if store.path.exists() else store.info.identity.dtype
        self.precision_loss: dict[str, float] = {}
        self.extraction = store.extraction()

    def append(self, sha256: Sequence[str], features: NDArray[np.float32], spec: str | None = None) -> None:
        """Rows `[n, F]` (or `[n, V-1, F]` with a spec) for these contents; committed within about a second.

        Raises NonFiniteError that names the contents whose features are not finite; they are not stored.
        """
        finite: list[bool] = np.isfinite(features).reshape(len(features), -1).all(axis=1).tolist()  # type: ignore[assignment]
        if not all(finite):
            raise NonFiniteError(",".join(s for s, ok in zip(sha256, finite, strict=True) if not ok))
        stored = self._narrow(features)
        self._pending.setdefault(spec, []).extend(zip(sha256, stored, strict=True))
        if time.monotonic() - self._last >= COMMIT_SECONDS:
            self.commit()

    def commit(self) -> None:
        """Everything appended so far survives a kill or a power cut from here on."""
        for spec, rows in self._pending.items():
            make_folder(self._store._parts)
            archive = io.BytesIO()  # numpy would seek in the file; the checksums are the archive's own
            np.savez(
                archive,
                sha256=np.array([list(bytes.fromhex(s)) for s, _ in rows], dtype=np.uint8),
                features=np.stack([f for _, f in rows]),
                spec=np.array(spec or ""),
            )
            with replacing(self._store._parts / f"{os.getpid()}-{self._number:08d}.npz") as temporary:
                temporary.write_bytes(archive.getvalue())
            self._number += 1
        self._pending = {}
        self._last = time.monotonic()

    def _narrow(self, features: NDArray[np.float32]) -> Features:
        """`features` in the type that rows are stored in; `auto` is decided on the first rows, and never by loss."""
        if self.dtype == "float32":
            return features.astype(np.float32)
        with np.errstate(over="ignore"):
            narrow = features.astype(np.float16)
            largest = float(np.abs(features).max(initial=0))
            norm = np.linalg.norm(features, axis=-1)
            error = np.linalg.norm(narrow.astype(np.float32) - features, axis=-1) / np.maximum(norm, 1e-30)
        loss = {"max_abs": largest, "max_relative_error": float(error.max(initial=0))}
        fits = largest <= MAX_FLOAT16 and loss["max_relative_error"] <= MAX_RELATIVE_ERROR
        if self._store.info.identity.dtype == "float16" and not np.isfinite(narrow).all():
            raise NonFiniteError(f"features up to {largest:.3g} do not fit cache.dtype float16 (65504)")
        if self._store.info.identity.dtype == "auto" and not fits:
            self.dtype = "float32"  # rows stored before are exact in it as they are
            self.precision_loss = {}
            return features.astype(np.float32)
        self.dtype = "float16"
        self.precision_loss = {k: max(v, self.precision_loss.get(k, 0.0)) for k, v in loss.items()}
        return narrow


def _append(file: h5py.File, info: BackboneInfo, parts: list[dict[str, Any]], writer: RowWriter | None) -> None:
    """Add the parts' rows that `file` lacks; base rows first, since augmented ones point at them."""
    if "format_version" not in file.attrs:
        file.attrs["format_version"] = FORMAT_VERSION
        _set_json(file, "identity", info.identity.as_dict())
        _set_json(file, "origin", asdict(info.origin))
        file.attrs["params"] = info.params
        _set_json(file, "provenance", provenance())
        file.create_dataset(
            "sha256", shape=(0, 32), maxshape=(None, 32), chunks=(4096, 32), dtype="u1", fletcher32=True
        )
    for spec in sorted({p["spec"] for p in parts}):  # "" first: augmented rows point at base rows
        hashes = [h.tobytes().hex() for h in file["sha256"][:]]
        base = set(hashes)
        place = f"augmented/{spec}" if spec else "/"
        known = base
        if spec:
            known = {hashes[r] for r in file[f"{place}/row"][:]} if place in file else set()
        fresh: dict[str, Features] = {}
        for part in (p for p in parts if p["spec"] == spec):
            for name, row in zip(part["sha256"], part["features"], strict=True):
                fresh.setdefault(name.tobytes().hex(), row)
        # An augmented row whose base row was in a part that was lost has nothing to point at: it is extracted again.
        keep = [h for h in fresh if h not in known and (not spec or h in base)]
        if not keep:
            continue
        group = file.require_group(place)
        _grow(group, "features", np.stack([fresh[h] for h in keep]))
        if spec:
            row_of = {h: i for i, h in enumerate(hashes)}
            _grow(group, "row", np.array([row_of[h] for h in keep], dtype=np.int64))
        else:
            _grow(group, "sha256", np.array([list(bytes.fromhex(h)) for h in keep], dtype=np.uint8))
    if writer and writer.precision_loss and file["features"].dtype == np.float16:
        before = json.loads(file.attrs["float16"]) if "float16" in file.attrs else {}
        _set_json(file, "float16", {k: max(v, before.get(k, 0.0)) for k, v in writer.precision_loss.items()})
    if writer and writer.extraction:
        _set_json(file, "extraction", writer.extraction)


def _grow(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    """Append `values` to a dataset, made on first use, in the wider of the two types; a checksum for each chunk."""
    old = (
        group[name][:]
        if name in group and group[name].dtype != np.result_type(group[name].dtype, values.dtype)
        else None
    )
    if old is not None:
        del group[name]
        values = np.concatenate([old.astype(values.dtype), values])
    if name not in group:
        row_bytes = max(1, values[0].nbytes)
        chunk = (max(1, min(4096, CHUNK_BYTES // row_bytes)), *values.shape[1:])
        group.create_dataset(
            name,
            shape=(0, *values.shape[1:]),
            maxshape=(None, *values.shape[1:]),
            chunks=chunk,
            dtype=values.dtype,
            fletcher32=True,
        )
    data = group[name]
    start = len(data)
    data.resize(start + len(values), axis=0)
    data[start:] = values


def _read_rows(data: h5py.Dataset, order: NDArray[np.int64]) -> NDArray[Any]:
    """Rows `order` (ascending): whole blocks at a time, since picking single rows through HDF5 is very slow."""
    block = max(1, data.chunks[0]) * max(1, (64 << 20) // max(1, data.chunks[0] * int(np.prod(data.shape[1:])) * 4))
    pieces = []
    for start in range(0, len(data), block):
        inside = order[np.searchsorted(order, start) : np.searchsorted(order, start + block)] - start
        if len(inside):
            pieces.append(data[start : start + block][inside])
    return np.concatenate(pieces) if pieces else np.empty((0, *data.shape[1:]), data.dtype)


def _load_part(path: Path) -> dict[str, Any] | None:
    """A part's arrays; None when a power cut left it torn: its rows are then extracted again."""
    try:
        # From memory: numpy leaves a file open when its archive is torn.
        with np.load(io.BytesIO(path.read_bytes())) as part:
            return {"sha256": part["sha256"], "features": part["features"], "spec": str(part["spec"])}
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError):
        return None


def _set_json(file: h5py.File, name: str, value: Any) -> None:
    file.attrs[name] = json.dumps(value, sort_keys=True)


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name)


def provenance() -> dict[str, Any]:
    """Versions and time: what made this, for whoever wonders later."""
    import platform
    from importlib.metadata import version

    packages = (
        "featcache",
        "torch",
        "torchvision",
        "timm",
        "h5py",
        "numpy",
        "pillow",
        "scikit-learn",
        "fvcore",
    )
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {p: version(p) for p in packages},
    }
