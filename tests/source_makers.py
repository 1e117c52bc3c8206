"""The same pictures as every kind of source has them."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
from pyarrow import parquet

from featcache.data import load_manifest
from featcache.options import DataOptions
from featcache.records import Manifest


class Pictured(NamedTuple):
    """A picture of a folder: its name there, its bytes, its class and split."""

    name: str
    data: bytes
    label: str
    split: str


def pictured(folder: Path) -> list[Pictured]:
    """The pictures of a folder `split/class/name`, in no order that anything could be made of."""
    files = sorted(folder.rglob("*.p[gnp]*"), key=lambda p: (p.name, p))
    return [
        Pictured(p.relative_to(folder).as_posix(), p.read_bytes(), p.parent.name, p.parent.parent.name) for p in files
    ]


def make_zip(
    file: Path, pictures: Iterable[tuple[str, bytes]], top: str = "", method: int = zipfile.ZIP_DEFLATED
) -> Path:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in pictures:
            archive.writestr(top + name, data)
    return file


def make_tar(file: Path, pictures: Iterable[tuple[str, bytes]], top: str = "") -> Path:
    with tarfile.open(file, "w:gz" if file.name.endswith("gz") else "w") as archive:
        for name, data in pictures:
            info = tarfile.TarInfo(top + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file


def make_csv(file: Path, header: list[str], rows: Iterable[Iterable[Any]], encoding: str = "utf-8", **how: Any) -> Path:
    with file.open("w", newline="", encoding=encoding) as stream:
        table = csv.writer(stream, **how)
        table.writerow(header)
        table.writerows(rows)
    return file


def arrow_table(pictures: list[Pictured], *, split: bool = True) -> pyarrow.Table:
    """As the `datasets` library lays it out: an image feature, numbers for classes, their names in the metadata."""
    names = sorted({one.label for one in pictures}, reverse=True)
    columns: dict[str, Any] = {
        "image": [{"bytes": one.data, "path": one.name} for one in pictures],
        "label": [names.index(one.label) for one in pictures],
    }
    if split:
        columns["split"] = [one.split for one in pictures]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    return pyarrow.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def make_parquet(file: Path, table: pyarrow.Table) -> Path:
    parquet.write_table(table, file, row_group_size=7)
    return file


def make_arrow(file: Path, table: pyarrow.Table) -> Path:
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table, max_chunksize=5)
    return file


def load(path: Path | str, cache: Path, **options: Any) -> Manifest:
    """The manifest of a source."""
    manifest, _ = load_manifest(DataOptions(path=str(path), workers=2, **options), cache)
    return manifest


def contents(manifest: Manifest) -> list[tuple[str, str, str, str]]:
    """What makes manifests equal: name, content, class and split of each image, in order."""
    return [(i.name, i.sha256, manifest.classes[i.label], i.split) for i in manifest.images]
