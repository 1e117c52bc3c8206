"""The parts of an export by themselves: preparing images, comparing, inputs, requests, licences, the ranked figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featcache.data import EvalTransform
from featcache.errors import InputError, OptionsError
from featcache.records import Preprocessing
from heads.export import ExportRequest, Limits
from heads.export.companion_files import LAYOUTS
from heads.export.compared_images import ComparedImages
from heads.export.export_parity import compare
from heads.export.model_inputs import ModelInputs
from heads.export.ranked_figure import corrected_text
from heads.export.standalone_preprocess import batch_of
from heads.runs import Run

SHORTER = Preprocessing(32, 37, interpolation="bicubic")
SQUASH = Preprocessing(40, 40, resize_mode="squash", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
CUT = Preprocessing(48, 30)  # larger than what is resized: the rest is black


def recipe_of(preprocessing: Preprocessing, kind: str) -> dict[str, Any]:
    names = ("input_size", "resize_size", "resize_mode", "interpolation", "mean", "std")
    return {"kind": kind, **{name: getattr(preprocessing, name) for name in names}}


@pytest.mark.parametrize("preprocessing", [SHORTER, SQUASH, CUT])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "turned"])
def test_images_are_prepared_to_the_last_bit_as_in_the_run(
    preprocessing: Preprocessing, mode: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for width, height in ((57, 31), (31, 90), (37, 37)):
        image = Image.fromarray(rng.integers(0, 256, (height, width, 4), np.uint8), "RGBA")
        exif = Image.Exif()
        exif[0x0112] = 6 if mode == "turned" else 1
        image.convert("RGB" if mode == "turned" else mode).save(tmp_path / "a.png", exif=exif)
        own = EvalTransform(preprocessing)(tmp_path / "a.png").numpy()
        recipe = {"inputs": [recipe_of(preprocessing, "normalised"), recipe_of(preprocessing, "uint8")]}
        normalised, pixels = batch_of([tmp_path / "a.png"], recipe)
        np.testing.assert_allclose(normalised[0], own, atol=1e-6)
        mean, std = (np.array(v)[:, None, None] for v in (preprocessing.mean, preprocessing.std))
        np.testing.assert_array_equal(pixels[0].transpose(2, 0, 1), np.round((own * std + mean) * 255))


@pytest.mark.parametrize("values", [np.uint16, np.int32, np.float32])
def test_values_of_more_than_8_bits_are_refused_since_pillow_would_cut_them(values: Any, tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 3000, values)).save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image, pytest.raises(ValueError, match="scale it to 8 bits first"):
        batch_of([image], {"inputs": [recipe_of(SHORTER, "uint8")]})


def test_parts_that_differ_in_scaling_alone_share_bytes_and_no_numbers() -> None:
    other = Preprocessing(32, 37, interpolation="bicubic", mean=(0.5, 0.5, 0.5))
    shared = ModelInputs.of([SHORTER, SQUASH, other], "uint8")
    assert (shared.names, shared.of_part) == (["images_1", "images_2"], (0, 1, 0))
    apart = ModelInputs.of([SHORTER, SQUASH, other], "normalised")
    assert (apart.names, apart.of_part) == (["images_1", "images_2", "images_3"], (0, 1, 2))
    pixels = [torch.randint(0, 256, (5, 3, p.input_size, p.input_size), dtype=torch.uint8) for p in (SHORTER, SQUASH)]
    first, second = ModelInputs.of([SHORTER, SQUASH], "uint8").batch(pixels, 1, 3)
    assert first.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(second[1].transpose(2, 0, 1), pixels[1][2].numpy())
    assert set(LAYOUTS) == {"uint8", "normalised"}


def planted(found: np.ndarray) -> Any:
    """The parity of planted logits with those of 4 images and 2 classes."""
    expected = np.array([[2.0, 0], [3, 1], [0, 4], [1, 0]], np.float32)
    images = ComparedImages((torch.zeros(4, 3, 8, 8, dtype=torch.uint8),), "planted images")
    inputs = ModelInputs.of([Preprocessing(8, 8)], "uint8")
    return compare(expected, images, inputs, lambda batch: expected[: len(batch[0])] + found, "by hand")


def test_differences_and_agreement_are_counted() -> None:
    change = np.zeros((4, 2), np.float32)
    change[2, 0], change[3, 1] = 0.5, 2
    seen = planted(change)
    assert (seen.agreement, seen.largest_difference, seen.largest_logit) == (0.75, 2.0, 4.0)
    assert seen.difference_share == 0.5
    assert seen.faults(Limits(0.5, 0.75)) == []
    assert len(seen.faults(Limits(0.4, 0.8))) == 2
    assert planted(np.full((4, 2), np.nan)).faults(Limits(None, None)) == ["it gives logits that are no finite numbers"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"to": "tflite"}, "expected onnx, torch, safetensors or timm"),
        ({"to": "onnx", "input": "float"}, "expected uint8 or normalised"),
        ({"to": "onnx", "precision": "int4"}, "expected float32, float16 or int8"),
        ({"to": "torch", "precision": "int8"}, "of --to onnx alone"),
        ({"to": "timm", "opset": 20}, "of --to onnx alone"),
        ({"to": "onnx", "opset": 9}, "18 and later"),
        ({"to": "timm", "input": "uint8"}, "timm's networks take normalised images"),
    ],
)
def test_requests_that_make_no_sense(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionsError, match=said):
        ExportRequest(**asked).check()


def test_a_missing_package_is_said_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heads.export.request.find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(InputError, match=r"needs onnxscript, .*pip install 'featcache\[onnx\]'"):
        ExportRequest("onnx").check()
    ExportRequest("torch").check()


def test_limits_follow_the_precision_of_export_and_run() -> None:
    assert ExportRequest("onnx").limits(exact=True) == Limits(1e-3, None)
    assert ExportRequest("onnx").limits(exact=False) == Limits(None, 0.99)
    assert ExportRequest("onnx", precision="int8").limits(exact=True) == Limits(None, 0.95)
    assert ExportRequest("onnx", precision="int8", tolerance=0.1, agreement=0.5).limits(True) == Limits(0.1, 0.5)


def test_the_ranked_figure_is_of_the_run_alone(tmp_path: Path) -> None:
    board = tmp_path / "leaderboard.csv"
    header = "run,corrected_top1,corrected_top1_low,corrected_top1_high\n"
    board.write_text(f"{header}best,0.91,0.85,0.95\nother,,,\n")
    assert "0.9100 on val [0.8500, 0.9500]" in corrected_text(Run(tmp_path / "best", {}, {}))[0]
    assert corrected_text(Run(tmp_path / "other", {}, {})) == ()
    assert corrected_text(Run(tmp_path / "none", {}, {})) == ()
    board.write_text("rank,run\n1,best\n")
    assert corrected_text(Run(tmp_path / "best", {}, {})) == ()
    board.unlink()
    assert corrected_text(Run(tmp_path / "best", {}, {})) == ()
