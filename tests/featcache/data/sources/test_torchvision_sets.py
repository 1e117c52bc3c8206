"""Data sets of torchvision by name: arrays and files, with their splits, and nothing downloaded."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from command_runs import done
from PIL import Image
from source_makers import contents, load

from featcache.errors import DataError


def write_mnist(root: Path) -> dict[str, np.ndarray]:
    """The files of MNIST, with 40 and 20 pictures of 10 classes."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pictures = {}
    for part, count in (("train", 40), ("t10k", 20)):
        values = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + values.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
        pictures[part] = values
    return pictures


def test_a_data_set_of_arrays(tmp_path: Path) -> None:
    pictures = write_mnist(tmp_path / "data")
    manifest = load(f"torchvision:MNIST:{tmp_path / 'data'}", tmp_path / "cache")
    assert manifest.name == "MNIST" and manifest.classes[3] == "3 - three"
    assert len(manifest.of("test")) == 20 and len(manifest.of("train")) + len(manifest.of("val")) == 40
    for image in manifest.of("test"):
        number = int(image.name.removeprefix("test/"))
        assert image.label == number % 10
        expected = b"P5\n28 28\n255\n" + pictures["t10k"][number].tobytes()
        assert image.place.read() == expected
    table, root = tmp_path / "t.csv", f"torchvision:MNIST:{tmp_path / 'data'}"
    said = done("split", root, "--out", table, "--cache-dir", tmp_path / "cache")
    assert f"--set data.path={table} --set data.root={root}" in said.output
    assert load(table, tmp_path / "cache", root=root).fingerprint == manifest.fingerprint


def test_a_data_set_of_files_gives_the_files(tmp_path: Path) -> None:
    root = tmp_path / "data" / "food-101"
    (root / "meta").mkdir(parents=True)
    names = ["apple_pie", "sushi"]
    for part, numbers in (("train", range(6)), ("test", range(6, 9))):
        listed = {name: [f"{name}/{n}" for n in numbers] for name in names}
        (root / "meta" / f"{part}.json").write_text(json.dumps(listed))
    for name in names:
        (root / "images" / name).mkdir(parents=True)
        for n in range(9):
            Image.new("RGB", (8, 8), (n, 9 * n, len(name))).save(root / "images" / name / f"{n}.jpg")
    manifest = load(f"torchvision:Food101:{tmp_path / 'data'}", tmp_path / "cache")
    assert len(manifest.of("test")) == 6 and len(manifest.images) == 18
    for name, _, label, _split in contents(manifest):
        assert name.startswith(f"food-101/images/{label}/")
    image = manifest.images[0]
    assert image.place.read() == (tmp_path / "data" / image.name).read_bytes()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("torchvision:CIFAR11:ROOT", "no data set 'CIFAR11'.*CIFAR10"),
        ("torchvision:CIFAR10:ROOT", r"torchvision\.datasets\.CIFAR10\(.*download=True"),
        ("torchvision:CIFAR10:ROOT/none", "is not there"),
        ("torchvision:CIFAR10", "no folder is named. Expected torchvision:CIFAR10:ROOT"),
        ("torchvision:FakeData:ROOT", "torchvision:FakeData takes no folder"),
        ("torchvision:wrap_dataset_for_transforms_v2:ROOT", "takes no folder"),
        ("torchvision:EMNIST:ROOT", r"torchvision\.datasets\.EMNIST\(.*download=True"),
        ("torchvision:FER2013:ROOT", r"torchvision\.datasets\.FER2013\(.* reads it.*does not download this one"),
        ("torchvision:DatasetFolder:ROOT", "without further arguments"),
        ("keras:CIFAR10:ROOT", "'keras' is no kind of source"),
    ],
)
def test_what_is_not_there(tmp_path: Path, path: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load(path.replace("ROOT", str(tmp_path)), tmp_path / "cache")
