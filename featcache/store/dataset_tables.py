"""The tables of data sets in a store's file: which row, which label, which split, what each image was called."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from featcache.places import FilePlace
from featcache.records import SPLITS, ImageRecord, Manifest, Split, digest
from featcache.store.layout import base_rows


def dataset_name(manifest: Manifest) -> str:
    """The group of a data set: the same images in another place, or called otherwise, have one of their own."""
    names = digest([text_of(manifest.root), *(i.name for i in manifest.images)])
    return f"datasets/{_safe(manifest.name)}-{manifest.fingerprint[:8]}-{names[:8]}"


def knows_dataset(file: h5py.File, manifest: Manifest) -> bool:
    """Whether `read_dataset` gives this data set for its path, not one of before files were renamed there."""
    name = dataset_name(manifest)
    return name in file and file[name] == _dataset(file, manifest.fingerprint, manifest.root)


def write_dataset(file: h5py.File, manifest: Manifest) -> None:
    """Which rows make up a data set, so that the file explains itself to anyone with h5py."""
    name = dataset_name(manifest)
    number = 1 + max((_number(group) for group in file.get("datasets", {}).values()), default=0)
    if name in file:
        file[name].attrs["number"] = number
        return
    rows = base_rows(file)
    group = file.create_group(name)
    group.attrs["number"] = number  # in the order that they were last written in
    group.attrs["classes"] = list(manifest.classes)
    group.attrs["root"] = text_of(manifest.root)
    group.attrs["fingerprint"] = manifest.fingerprint
    for split in SPLITS:
        images = manifest.of(split)
        part = group.create_group(split)
        part["row"] = np.array([rows[i.sha256] for i in images], dtype=np.int64)
        part["label"] = np.array([i.label for i in images], dtype=np.int64)
        part.create_dataset("path", data=[i.name for i in images], dtype=h5py.string_dtype())


def read_dataset(file: h5py.File, fingerprint: str, path: str = "") -> Manifest | None:
    """What `write_dataset` wrote of the data set with this fingerprint, of several sources of it that of `path`, else
    the last; None where it is not there."""
    group = _dataset(file, fingerprint, Path(path))
    if group is None:
        return None
    root = Path(group.attrs["root"])
    hashes = file["sha256"][:]

    def images(split: Split) -> list[ImageRecord]:
        part = group[split]
        columns = zip(part["path"].asstr()[:], part["row"][:], part["label"][:], strict=True)
        return [
            ImageRecord(FilePlace.at(root / n), n, hashes[row].tobytes().hex(), int(label), split)
            for n, row, label in columns
        ]

    classes = tuple(str(c) for c in group.attrs["classes"])
    return Manifest(root.name or "data", root, classes, tuple(i for split in SPLITS for i in images(split)))


def names_in_order(file: h5py.File) -> list[str]:
    """The data sets of a file, the one that was written last at the end."""
    groups = file.get("datasets", {})
    return sorted(groups, key=lambda name: _number(groups[name]))


def contents(file: h5py.File, name: str) -> list[str]:
    """The content hashes that a data set's table points at."""
    rows = np.unique(np.concatenate([file[f"datasets/{name}/{split}/row"][:] for split in SPLITS]))
    return [one.tobytes().hex() for one in file["sha256"][:][rows]]


def copy_dataset(source: h5py.File, name: str, target: h5py.File, number: int) -> None:
    """Write a data set's table into another file, which has rows of its own; not where it lacks some of them: the next
    command that uses the data set writes its table."""
    old, rows = source[f"datasets/{name}"], base_rows(target)
    hashes = [one.tobytes().hex() for one in source["sha256"][:]]
    if any(one not in rows for one in contents(source, name)):
        return
    group = target.create_group(f"datasets/{name}")
    for key, value in old.attrs.items():
        group.attrs[key] = value
    group.attrs["number"] = number
    for split in SPLITS:
        part = group.create_group(split)
        part["row"] = np.array([rows[hashes[row]] for row in old[split]["row"][:]], dtype=np.int64)
        part["label"] = old[split]["label"][:]
        part.create_dataset("path", data=old[split]["path"].asstr()[:], dtype=h5py.string_dtype())


def _dataset(file: h5py.File, fingerprint: str, root: Path) -> h5py.Group | None:
    found = [group for group in file.get("datasets", {}).values() if group.attrs["fingerprint"] == fingerprint]
    return max(found, key=lambda one: (one.attrs["root"] == text_of(root), _number(one)), default=None)


def _number(group: h5py.Group) -> int:
    """When it was written, beside others; earlier versions noted nothing."""
    return int(group.attrs.get("number", 0))


def text_of(path: Path) -> str:
    """A path as it is written down."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
