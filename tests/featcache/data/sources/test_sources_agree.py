"""The same pictures through each source are the same data: equal manifests, one set of rows, equal heads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
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

from featcache.extraction.one_backbone import extract
from featcache.options.loading import parse_options
from heads import train_model

Config = Callable[..., dict[str, Any]]
Made = tuple[Path, dict[str, Any]]

HEADER = ["path", "label", "split"]


def _files(them: list[Pictured]) -> list[tuple[str, bytes]]:
    return [(one.name, one.data) for one in them]


def _rows(them: list[Pictured]) -> list[list[str]]:
    return [[one.name, one.label, one.split] for one in them]


def _json(file: Path, them: list[Pictured]) -> Path:
    import json

    lines = [json.dumps({"file_name": one.name, "category": one.label, "set": one.split}) for one in them]
    file.write_text("\n".join(lines))
    return file


# Kind -> what makes such a source of a folder's pictures, and the options that it needs.
MAKERS: dict[str, Callable[[Path, Path, list[Pictured]], Made]] = {
    "zip": lambda to, folder, them: (make_zip(to / "x.zip", _files(them)), {}),
    "zip of a folder": lambda to, folder, them: (make_zip(to / "x.zip", _files(them), "a folder/deep/"), {}),
    "tar": lambda to, folder, them: (make_tar(to / "x.tar", _files(them), "./"), {}),
    "tar.gz": lambda to, folder, them: (make_tar(to / "x.tar.gz", _files(them), "top/"), {}),
    "csv": lambda to, folder, them: (make_csv(folder / "x.csv", HEADER, _rows(them)), {}),
    "csv elsewhere": lambda to, folder, them: (make_csv(to / "x.csv", HEADER, _rows(them)), {"root": str(folder)}),
    "json lines": lambda to, folder, them: (_json(folder / "x.jsonl", them), {}),
    "parquet": lambda to, folder, them: (make_parquet(to / "x.parquet", arrow_table(them)), {}),
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


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "parquet"])
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
