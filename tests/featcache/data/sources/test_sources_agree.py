"""The same pictures through each source are the same data: equal manifests, one set of rows, equal heads, also where a
source cannot keep the names."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from conftest import TINY
from PIL import Image
from source_makers import (
    Pictured,
    arrow_table,
    contents,
    load,
    make_arrow,
    make_csv,
    make_parquet,
    make_tar,
    make_zip,
    pictured,
)

from featcache.data.image_order import by_name
from featcache.extraction.one_backbone import extract
from featcache.options.loading import parse_options
from heads import train_model
from heads.leaderboard import leaderboard
from heads.leaderboard.compared_run import ComparedRun

Config = Callable[..., dict[str, Any]]
Made = tuple[Path, dict[str, Any]]

HEADER = ["path", "label", "split"]
SPLITS = ("train", "val", "test")


def _files(them: list[Pictured]) -> list[tuple[str, bytes]]:
    return [(one.name, one.data) for one in them]


def _rows(them: list[Pictured]) -> list[list[str]]:
    return [[one.name, one.label, one.split] for one in them]


def _json(file: Path, them: list[Pictured]) -> Path:
    lines = [json.dumps({"file_name": one.name, "category": one.label, "set": one.split}) for one in them]
    file.write_text("\n".join(lines))
    return file


def _label_studio(file: Path, them: list[Pictured]) -> Path:
    def task(one: Pictured) -> dict[str, Any]:
        choice = {"type": "choices", "from_name": "c", "value": {"choices": [one.label]}}
        data = {"image": f"/data/local-files/?d={one.name}", "split": one.split}
        return {"data": data, "annotations": [{"result": [choice]}]}

    file.write_text(json.dumps([task(one) for one in them]))
    return file


def _shards(folder: Path, them: list[Pictured]) -> str:
    """Two tars for each split; a sample is a picture and its class."""
    for split in SPLITS:
        own = [one for one in them if one.split == split]
        for n in range(2):
            parts = [((o.name, o.data), (f"{o.name[:-4]}.cls", o.label.encode())) for o in own[n::2]]
            make_tar(folder / f"{split}-{n:03d}.tar", [file for sample in parts for file in sample])
    return str(folder / "{train,val,test}-{000..001}.tar")


def _saved(folder: Path, them: list[Pictured]) -> Path:
    """As `save_to_disk` lays a data set out."""
    for split in SPLITS:
        (folder / "set" / split).mkdir(parents=True)
        own = arrow_table([one for one in them if one.split == split], split=False)
        make_arrow(folder / "set" / split / "data-00000-of-00001.arrow", own)
    (folder / "set" / "dataset_dict.json").write_text("{}")
    return folder / "set"


def _beside(folder: Path, table: str) -> Path:
    """The folder itself with a table of each split's pictures in it, as `imagefolder` and Roboflow have them."""
    for split in SPLITS:
        own = [(f"{one.label}/{Path(one.name).name}", one.label) for one in pictured(folder) if one.split == split]
        classes = sorted({label for _, label in own})
        if table == "metadata.csv":
            make_csv(folder / split / table, ["file_name", "label"], own)
        else:
            flags = [[name, *(int(label == one) for one in classes)] for name, label in own]
            make_csv(folder / split / table, ["filename", *(f" {one}" for one in classes)], flags)
    return folder


# Kind -> what makes such a source of a folder's pictures, and the options that it needs.
MAKERS: dict[str, Callable[[Path, Path, list[Pictured]], Made]] = {
    "zip": lambda to, folder, them: (make_zip(to / "x.zip", _files(them)), {}),
    "zip of a folder": lambda to, folder, them: (make_zip(to / "x.zip", _files(them), "a folder/deep/"), {}),
    "tar": lambda to, folder, them: (make_tar(to / "x.tar", _files(them), "./"), {}),
    "tar.gz": lambda to, folder, them: (make_tar(to / "x.tar.gz", _files(them), "top/"), {}),
    "csv": lambda to, folder, them: (make_csv(folder / "x.csv", HEADER, _rows(them)), {}),
    "csv elsewhere": lambda to, folder, them: (make_csv(to / "x.csv", HEADER, _rows(them)), {"root": str(folder)}),
    "tsv": lambda to, folder, them: (make_csv(folder / "x.tsv", HEADER, _rows(them), delimiter="\t"), {}),
    "Excel": lambda to, folder, them: (
        make_csv(folder / "x.csv", ["Image Path", "Class", "Subset"], _rows(them), "utf-16", delimiter=";"),
        {},
    ),
    "Label Studio": lambda to, folder, them: (_label_studio(to / "x.json", them), {"root": str(folder)}),
    "imagefolder": lambda to, folder, them: (_beside(folder, "metadata.csv"), {}),
    "Roboflow": lambda to, folder, them: (_beside(folder, "_classes.csv"), {}),
    "json lines": lambda to, folder, them: (_json(folder / "x.jsonl", them), {}),
    "parquet": lambda to, folder, them: (make_parquet(to / "x.parquet", arrow_table(them)), {}),
    "saved by datasets": lambda to, folder, them: (_saved(to, them), {}),
    "shards": lambda to, folder, them: (_shards(to, them), {}),
    "arrow": lambda to, folder, them: (make_arrow(to / "x.arrow", arrow_table(them)), {}),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_source_holds_what_the_folder_does(digits: Path, tmp_path: Path, kind: str) -> None:
    expected = load(digits, tmp_path / "cache")
    path, options = MAKERS[kind](tmp_path, digits, pictured(digits))
    found = load(path, tmp_path / "cache", **options)
    assert contents(found) == contents(expected) and len(found.images) == 84
    assert found.fingerprint == expected.fingerprint and found.classes == expected.classes
    assert [one.place.read() for one in found.images] == [one.place.read() for one in expected.images]
    assert contents(load(path, tmp_path / "cache", **options)) == contents(found)  # from the memo


@pytest.mark.parametrize("kind", ["zip", "shards"])
def test_rows_and_heads_are_those_of_the_folder(config: Config, digits: Path, tmp_path: Path, kind: str) -> None:
    model = {"backbone": TINY, "pretrained": True}
    expected = train_model(config("folder", model=model), results_dir=tmp_path / "results", allow_custom=True)
    path, options = MAKERS[kind](tmp_path, digits, pictured(digits))
    data = {"path": str(path), **options}
    extraction = extract(parse_options(config("other", model=model, data=data)), allow_custom=True)
    assert (extraction.new, extraction.reused) == (0, 84)
    run = train_model(config("other", model=model, data=data), results_dir=tmp_path / "results", allow_custom=True)
    assert run.summary["data"]["fingerprint"] == expected.summary["data"]["fingerprint"]
    one, other = (torch.load(r.folder / "best_model.pth", weights_only=True) for r in (expected, run))
    assert _tensors(one) and all(torch.equal(v, _tensors(other)[k]) for k, v in _tensors(one).items())
    a, b = (np.load(r.folder / "predictions.npz") for r in (expected, run))
    assert all(np.array_equal(a[key], b[key]) for key in a.files)


def _bytes_alone(to: Path, them: list[Pictured]) -> str:
    columns = {"image": [o.data for o in them], "label": [o.label for o in them], "split": [o.split for o in them]}
    return str(make_parquet(to / "x.parquet", pyarrow.table(columns)))


def _samples(to: Path, them: list[Pictured]) -> str:
    """A tar for each split, the samples called by number."""
    for split in SPLITS:
        own = [(f"{n:05d}", o) for n, o in enumerate(reversed(them)) if o.split == split]
        files = [(f"{key}.{end}", what) for key, o in own for end, what in (("png", o.data), ("cls", o.label.encode()))]
        make_tar(to / f"{split}-0.tar", files)
    return str(to / "{train,val,test}-0.tar")


def _arrays(to: Path, them: list[Pictured]) -> str:
    found: dict[str, Any] = {}
    for split in SPLITS:
        own = [o for o in them if o.split == split]
        found[f"{split}_images"] = np.stack([np.asarray(Image.open(io.BytesIO(o.data))) for o in own])
        found[f"{split}_labels"] = np.array([o.label for o in own])
    np.savez(to / "x.npz", **found)
    return str(to / "x.npz")


def _as_pgm(folder: Path) -> None:
    """As arrays have pictures: the same pixels in another file are another content."""
    for file in sorted(folder.rglob("*.png")):
        Image.open(file).convert("L").save(file.with_suffix(".pgm"))
        file.unlink()


# Kind -> what makes such a source of a folder's pictures: none of them can say what the files were called.
NAMELESS: dict[str, Callable[[Path, list[Pictured]], str]] = {
    "a column of bytes": _bytes_alone,
    "samples": _samples,
    "arrays": _arrays,
}


@pytest.mark.parametrize("kind", NAMELESS)
def test_heads_are_those_of_the_folder_where_a_source_keeps_no_names(
    config: Config, digits: Path, tmp_path: Path, kind: str
) -> None:
    for copy in ("train/digit 0/zzz.png", "val/digit 1/aaa.png"):  # one within its class, one across splits
        (digits / copy).write_bytes((digits / f"train/{copy.split('/')[1]}/000.png").read_bytes())
    if kind == "arrays":
        _as_pgm(digits)
    model, results = {"backbone": TINY, "pretrained": True}, tmp_path / "results"
    expected = train_model(config("folder", model=model), results_dir=results, allow_custom=True)
    options = config("other", model=model, data={"path": NAMELESS[kind](tmp_path, pictured(digits))})
    extraction = extract(parse_options(options), allow_custom=True)
    assert (extraction.new, extraction.reused) == (0, 84)
    assert len(extraction.manifest.images) == 86
    run = train_model(options, results_dir=results, allow_custom=True)
    one, other = (torch.load(r.folder / "best_model.pth", weights_only=True) for r in (expected, run))
    assert _tensors(one) and all(torch.equal(v, _tensors(other)[k]) for k, v in _tensors(one).items())
    a, b = (np.load(r.folder / "predictions.npz") for r in (expected, run))
    assert sorted(a.files) == sorted(b.files)
    for key in a.files:
        assert np.array_equal(a[key], b[key]) != key.endswith("_images"), key  # names alone are others
    rows = [asdict(leaderboard([r]).rows[0]) for r in (expected, run)]
    assert all(rows[0][name] == rows[1][name] for name in rows[0].keys() - {"run", "head_seconds"})
    board = leaderboard([expected, run])
    assert len(board.rows) == 2 and not board.left_out
    of, alike = (ComparedRun(r).scores("top1").units for r in (expected, run))
    assert of == alike and len(set(of)) == 21  # paired image by image


def _tensors(value: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """Every tensor in what was saved, by where it is."""
    if isinstance(value, torch.Tensor):
        return {prefix: value}
    found: dict[str, torch.Tensor] = {}
    for key, one in value.items() if isinstance(value, dict) else ():
        found.update(_tensors(one, f"{prefix}/{key}"))
    return found


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "parquet"])
def test_rows_of_a_source_alone_are_those_of_the_folder(
    config: Config, digits: Path, tmp_path: Path, kind: str
) -> None:
    """Extracted from the source itself, in its order: not found in the cache."""
    model = {"backbone": TINY, "pretrained": True}
    expected = extract(parse_options(config(model=model)), allow_custom=True)
    path, options = MAKERS[kind](tmp_path, digits, pictured(digits))
    cache = {"dir": str(tmp_path / "cache of its own")}
    own = extract(
        parse_options(config(model=model, data={"path": str(path), **options}, cache=cache)), allow_custom=True
    )
    hashes = [i.sha256 for i in expected.manifest.images]
    assert own.new == 84 and np.array_equal(own.store.read(hashes), expected.store.read(hashes))


def test_arrays_of_the_same_pixels_have_the_same_features(config: Config, digits: Path, tmp_path: Path) -> None:
    """Their contents are others, and so their rows; what the backbone sees is the same."""
    arrays: dict[str, Any] = {}
    for split in SPLITS:
        files = sorted((digits / split).rglob("*.png"))
        arrays[f"{split}_images"] = np.stack([np.asarray(Image.open(file)) for file in files])
        arrays[f"{split}_labels"] = np.array([file.parent.name for file in files])
    np.savez(tmp_path / "x.npz", **arrays)
    model = {"backbone": TINY, "pretrained": True}
    one = extract(parse_options(config(model=model)), allow_custom=True)
    other = extract(parse_options(config(model=model, data={"path": str(tmp_path / "x.npz")})), allow_custom=True)
    assert (other.new, other.reused) == (84, 0)
    a, b = (e.store.read([i.sha256 for i in by_name(e.manifest.images)]) for e in (one, other))
    assert np.array_equal(a, b) and [i.label for i in one.manifest.images] == [i.label for i in other.manifest.images]
