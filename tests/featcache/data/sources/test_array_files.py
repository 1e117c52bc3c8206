"""Arrays of pictures: every value kept, the same bytes as the file that Pillow would write where there is one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from source_makers import contents, load, make_csv

from featcache.data.image_files import read_picture, read_samples
from featcache.data.sources import list_images
from featcache.data.sources.raw_pictures import picture_bytes
from featcache.errors import DataError
from featcache.options import DataOptions

RNG = np.random.default_rng(0)
PLAIN = {"images": np.zeros((3, 3, 3), np.uint8)}


def medmnist(colours: bool = True) -> dict[str, NDArray[Any]]:
    shape = (10, 9, 3) if colours else (10, 9)
    arrays: dict[str, NDArray[Any]] = {}
    for split, count in (("train", 20), ("val", 6), ("test", 5)):
        arrays[f"{split}_images"] = RNG.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count)[:, None] % 2).astype(np.uint8)
    return arrays


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("colours", [True, False])
def test_medmnist_holds_what_a_folder_of_the_same_pictures_does(tmp_path: Path, save: Any, colours: bool) -> None:
    arrays = medmnist(colours)
    save(tmp_path / "x.npz", **arrays)
    for split in ("train", "val", "test"):
        for n, (pixels, (label,)) in enumerate(zip(arrays[f"{split}_images"], arrays[f"{split}_labels"], strict=True)):
            file = tmp_path / "folder" / split / str(label) / f"{n:07d}.ppm"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
    found = [(sha, label, split) for _, sha, label, split in contents(load(tmp_path / "x.npz", tmp_path / "cache"))]
    expected = [(sha, label, split) for _, sha, label, split in contents(load(tmp_path / "folder", tmp_path / "cache"))]
    assert found == expected and len(found) == 31


@pytest.mark.parametrize(
    "names", [("images", "labels"), ("x", "y"), ("x_train", "y_train"), ("data", "targets")], ids=" ".join
)
def test_names_of_arrays_and_of_classes(tmp_path: Path, names: tuple[str, str]) -> None:
    labels = np.arange(60) % 3
    arrays = {names[0]: RNG.integers(0, 256, (60, 4, 4), dtype=np.uint8), names[1]: labels}
    np.savez(tmp_path / "x.npz", **arrays, class_names=np.array(["red", "green", "blue"]))
    manifest = load(tmp_path / "x.npz", tmp_path / "cache")
    assert manifest.classes == ("blue", "green", "red") and len(manifest.images) == 60
    for image in manifest.images:
        assert manifest.classes[image.label] == ["red", "green", "blue"][labels[int(image.name[-7:])]]


@pytest.mark.parametrize("names", [(), ("red", "green", "blue")])
def test_the_class_minus_one_is_none_and_not_the_last_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    labels = np.arange(60) % 4 - 1
    pictures = RNG.integers(0, 256, (60, 4, 4), dtype=np.uint8)
    known = {"class_names": np.array(names)} if names else {}
    np.savez(tmp_path / "x.npz", images=pictures, labels=labels, **known)
    manifest = load(tmp_path / "x.npz", tmp_path / "cache")
    assert manifest.classes == (tuple(sorted(names)) or ("0", "1", "2")) and len(manifest.images) == 45
    assert {int(i.name[-7:]) for i in manifest.images} == set(np.flatnonzero(labels >= 0).tolist())
    assert any("15 images without a label left out, such as images/0000000" in line for line in manifest.notices)
    table = make_csv(
        tmp_path / "t.csv", ["path", "label"], [[f"images/{n:07d}", "ab"[n % 2]] for n in range(60)]
    )  # for whose images no label of the arrays is needed
    assert len(load(table, tmp_path / "cache", root=str(tmp_path / "x.npz")).images) == 60


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros(3)}, "'a'"),
        ({"images": np.zeros((4, 3, 3), np.uint8), "labels": np.zeros(3, int)}, "4 pictures"),
        ({"images": np.zeros((2, 3, 3), np.uint8), "labels": np.ones((2, 2), int)}, "one class for each picture"),
        ({"images": np.zeros((2, 3, 3), np.uint8), "labels": np.array([None, 1])}, "cannot be read"),
        ({"images": np.zeros((2, 3, 8, 8), np.uint8), "labels": np.arange(2)}, r"channels come first.*0, 2, 3, 1"),
        ({"images": np.zeros((2, 8, 8, 5), np.uint8), "labels": np.arange(2)}, r"no picture's.*1 to 4 channels\.$"),
        ({"images": np.zeros((2, 64), np.uint8), "labels": np.arange(2)}, "no picture's"),
        ({**PLAIN, "labels": np.array([0, 1, -2])}, "the class -2: none is negative but -1"),
        ({**PLAIN, "labels": np.array([0, -2, 1]), "classes": np.array(["a", "b"])}, "the class -2: none"),
        ({**PLAIN, "labels": np.array([0, 1, 5]), "classes": np.array(["a", "b"])}, "class 5, and there are 2 names"),
        ({**PLAIN, "labels": np.array([-1, 1, 1])}, r"1 image without a label \(the class -1.*all of the class '1'"),
        ({**PLAIN, "labels": np.array([-1, -1, -1])}, "3 images without a label.*there are no others"),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=words):
        load(tmp_path / "x.npz", tmp_path / "cache")


@pytest.mark.parametrize(
    ("kind", "channels"),
    [*((np.uint8, c) for c in (1, 2, 3, 4)), *((k, c) for k in (np.uint16, np.int16, np.float32) for c in (1, 3))],
)
def test_every_value_is_in_the_file_of_a_picture(kind: Any, channels: int) -> None:
    values = (RNG.random((5, 7, channels)) * (1 if kind is np.float32 else 250)).astype(kind)
    data = picture_bytes(values if channels > 1 else values[..., 0])
    assert hashlib.sha256(data).digest() == hashlib.sha256(picture_bytes(values.copy(order="F"))).digest()
    if kind is np.uint8:
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
        white = Image.new("RGBA", (7, 5), (255, 255, 255, 255))
        expected = Image.fromarray(values if channels > 1 else values[..., 0], mode).convert("RGBA")
        assert np.array_equal(read_picture(data).image, Image.alpha_composite(white, expected).convert("RGB"))
    else:
        samples = read_samples(data)
        assert samples is not None and np.array_equal(samples.values.reshape(values.shape), values)


def test_labels_as_encoders_write_them(tmp_path: Path) -> None:
    """Rows of 0.0 with a single 1.0, and whole numbers that are floats."""
    pictures = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
    for labels in (np.eye(3)[[0, 1, 2, 0, 1, 2]], np.array([0.0, 1, 2, 0, 1, 2])):
        np.savez(tmp_path / "x.npz", images=pictures, labels=labels)
        options = DataOptions(path=str(tmp_path / "x.npz"))
        assert [row.label for row in list_images(options.path, options).rows] == [*"012012"]


def test_what_is_no_picture() -> None:
    for value in (np.zeros(3), np.zeros((2, 2, 5)), np.zeros((2, 2), complex), np.full((2, 2), 1 << 40)):
        with pytest.raises(ValueError, match=r"picture|pixels"):
            picture_bytes(value)
    with pytest.raises(ValueError, match=r"\[3, 8, 8\] is no picture: its channels come first"):
        picture_bytes(np.zeros((3, 8, 8), np.uint8))
