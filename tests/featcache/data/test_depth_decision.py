"""The depth of values is decided once for a data set, said, remembered, and part of what names its rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from made_images import png16, saved, tiff
from PIL import Image
from sklearn.datasets import load_digits

from featcache import load_run
from featcache.data import depth_decision, load_manifest
from featcache.data.image_order import by_name
from featcache.extraction import extract, read_plain
from featcache.extraction.side_by_side import CachedFeatures
from featcache.options import Options
from featcache.options.loading import parse_options
from featcache.records import PLAIN_DEPTH, Depth, Identity, Preprocessing, canonical_json
from heads import train_model

Config = Callable[..., dict[str, Any]]
Write = Callable[[np.ndarray[Any, Any]], bytes]


def folder_of(root: Path, write: Write, bits: int, each: int = 6) -> Path:
    """Handwritten digits 0 and 1 whose values fill `bits`."""
    digits = load_digits(n_class=2)
    for split in ("train", "val", "test"):
        for label in (0, 1):
            place = root / split / str(label)
            place.mkdir(parents=True, exist_ok=True)
            chosen = digits.images[digits.target == label]
            start = {"train": 0, "val": each, "test": 2 * each}[split]
            for i, pixels in enumerate(chosen[start : start + each]):
                values = np.kron(pixels / 16, np.ones((5, 5))) * (2**bits - 1)
                (place / f"{i}.png").write_bytes(write(values.astype(np.uint16)))
    return root


def options_of(config: Config, root: Path, **data: Any) -> Options:
    model = {"backbone": TINY, "pretrained": True, "classifier_dims": ["auto", 16, "auto"]}
    sections: dict[str, Any] = {"model": model, "data": {"path": str(root), **data}}
    return parse_options(config(**sections))


def load(options: Options) -> Any:
    return load_manifest(options.data, options.cache.dir)[0]


# --- the identity


def test_what_nothing_was_decided_of_keeps_its_name() -> None:
    identity = Identity("resnet18", "timm", "ab" * 32, Preprocessing(224, 256), "pooled", "float32", "auto")
    # The spelling that stores of before there was a depth were named by.
    spelt = (
        '{"backbone":"resnet18","dtype":"auto","format_version":2,"precision":"float32","preprocessing":{"antialias":true,'
        '"crop":"center","input_size":224,"interpolation":"bilinear","mean":[0.485,0.456,0.406],"resize_mode":"shorter",'
        '"resize_size":256,"std":[0.229,0.224,0.225]},"source":"timm","tap":"pooled","weights":"' + "ab" * 32 + '"}'
    )
    assert canonical_json(identity.as_dict()) == spelt
    assert Identity.from_dict(json.loads(spelt)) == identity
    deep = identity.at_depth(Depth("12"))
    assert deep.short != identity.short and deep.preprocessing.at(96).depth == Depth("12")
    assert Identity.from_dict(json.loads(canonical_json(deep.as_dict()))) == deep


def test_ordinary_images_are_not_read_to_decide(config: Config, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_decision, "read_samples", None)
    for depth in ("auto", 12, "minmax"):
        manifest = load(options_of(config, digits, depth=depth))
        assert manifest.depth == PLAIN_DEPTH and not manifest.notices


# --- the decision


@pytest.mark.parametrize(
    ("bits", "expected"), [(8, "8"), (9, "10"), (10, "10"), (12, "12"), (13, "14"), (15, None), (16, None)]
)
def test_auto_goes_by_the_largest_value_of_all(config: Config, tmp_path: Path, bits: int, expected: str | None) -> None:
    manifest = load(options_of(config, folder_of(tmp_path / "x", png16, bits, each=2)))
    assert manifest.depth == Depth(expected)
    (notice,) = manifest.notices
    assert f"are shown as {expected or 16} bits" in notice and "12 of 12 different images" in notice


@pytest.mark.parametrize("depth", [8, 10, 12, 14, "minmax", "percentile"])
def test_an_option_says_otherwise(config: Config, tmp_path: Path, depth: int | str) -> None:
    root = folder_of(tmp_path / "x", png16, 12, each=2)
    assert load(options_of(config, root, depth=depth)).depth == Depth(str(depth))
    assert load(options_of(config, root, depth=16)).depth == PLAIN_DEPTH


def tiff_of(dtype: str, kind: int, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Write:
    def write(values: np.ndarray[Any, Any]) -> bytes:
        body = change(values.astype(np.float64)).astype(dtype).tobytes()
        size = int(dtype[-1]) * 8
        return tiff(body, (values.shape[1], values.shape[0]), size, further={339: (3, (kind,))})

    return write


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (tiff_of("<f4", 3, lambda v: v / 4095), PLAIN_DEPTH),
        (tiff_of("<f4", 3, lambda v: v / 16.1), Depth(floats="8")),
        (tiff_of("<f4", 3, lambda v: v * 1.0), Depth(floats="12")),
        (tiff_of("<f4", 3, lambda v: v - 1000), Depth(floats="minmax")),
        (tiff_of("<i2", 2, lambda v: v - 1000), Depth("minmax")),
        (tiff_of("<i4", 2, lambda v: v), Depth("12")),
        (tiff_of("<i4", 2, lambda v: v * 100), Depth("minmax")),
        (tiff_of("<u4", 1, lambda v: v * 1_000_000), Depth("minmax")),
    ],
)
def test_wider_signed_and_floating_point_values(config: Config, tmp_path: Path, write: Write, expected: Depth) -> None:
    options = options_of(config, folder_of(tmp_path / "x", write, 12, each=2))
    assert load(options).depth == expected
    done = extract(options, allow_custom=True)
    assert not done.bad and done.new == 12


def test_images_that_say_their_range_themselves_name_their_rows_anew(config: Config, tmp_path: Path) -> None:
    """They were nearly black, and rows of then must not serve."""

    def write(values: np.ndarray[Any, Any]) -> bytes:
        return tiff(values.tobytes(), (40, 40), 16, further={341: (3, (4095,))})

    manifest = load(options_of(config, folder_of(tmp_path / "x", write, 12, each=2)))
    assert manifest.depth == Depth("16")
    assert "12 say their own range" in manifest.notices[0]


def test_it_is_read_once_and_remembered(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = options_of(config, folder_of(tmp_path / "x", png16, 12, each=2))
    first = load(options)
    monkeypatch.setattr(depth_decision, "read_samples", None)
    assert load(options) == first


def test_a_memo_of_before_there_were_depths_is_completed(config: Config, tmp_path: Path) -> None:
    options = options_of(config, folder_of(tmp_path / "x", png16, 12, each=2))
    first = load(options)
    (memo,) = (Path(options.cache.dir) / "memo").glob("files-*.json")
    known = json.loads(memo.read_text())
    memo.write_text(json.dumps({"files": known["files"], "bad": {}}))
    assert load(options).depth == first.depth == Depth("12")


def test_an_image_that_is_brighter_changes_the_decision_and_it_is_said(config: Config, tmp_path: Path) -> None:
    root = folder_of(tmp_path / "x", png16, 12, each=2)
    options = options_of(config, root)
    assert "before" not in load(options).notices[0]
    (root / "train" / "0" / "bright.png").write_bytes(png16(np.full((40, 40), 60_000)))
    for _ in range(2):  # as long as it stands
        manifest = load(options)
        assert manifest.depth == PLAIN_DEPTH
        assert "(in train/0/bright.png) are shown as 16 bits" in manifest.notices[0]
        assert "with other images there they were shown as 12 bits" in manifest.notices[0]


# --- from files to features


def test_12_bit_images_from_files_to_predictions(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = folder_of(tmp_path / "x", png16, 12)
    done = extract(options_of(config, root), allow_custom=True)
    assert done.info.identity.preprocessing.depth == Depth("12")
    assert any("are shown as 12 bits (data.depth: auto)" in record.getMessage() for record in caplog.records)
    rows = read_plain(CachedFeatures((done,), done.dims), by_name(done.manifest.images))

    def as_8_bits(values: np.ndarray[Any, Any]) -> bytes:
        return saved(Image.fromarray((values.astype(int) * 255 // 4095).astype(np.uint8)), "PNG")

    plain = extract(options_of(config, folder_of(tmp_path / "y", as_8_bits, 12)), allow_custom=True)
    assert np.array_equal(read_plain(CachedFeatures((plain,), plain.dims), by_name(plain.manifest.images)), rows)
    black = extract(options_of(config, root, depth=16), allow_custom=True)
    assert black.info.identity == plain.info.identity and black.new == 36
    dark = read_plain(CachedFeatures((black,), black.dims), by_name(black.manifest.images))
    assert np.abs(rows - dark).max() > 0.1

    run = train_model(options_of(config, root), results_dir=tmp_path / "results", allow_custom=True)
    loaded = load_run(run.folder, allow_custom=True)
    assert loaded.transform.preprocessing.depth == Depth("12")
    deep, ordinary = (sorted(image.place.path for image in one.manifest.of("test")) for one in (done, plain))
    assert torch.equal(loaded.predict(deep), loaded.predict(ordinary))


def test_bits_of_whole_values_leave_floating_point_ones_up_to_1_alone(config: Config, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "x", tiff_of("<f4", 3, lambda v: v / 4095), 12, each=2)
    assert load(options_of(config, folder, depth=12)).depth == PLAIN_DEPTH
    assert load(options_of(config, folder, depth="minmax")).depth == Depth(floats="minmax")
