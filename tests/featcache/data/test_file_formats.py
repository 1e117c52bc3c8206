"""Formats are told by their first bytes; those of packages beside Pillow are read, or the package is named."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401  registers itself
import pytest
from made_images import noise, png16, ramp, saved
from PIL import Image

from featcache.data import file_formats
from featcache.data.file_formats import is_heif, is_jxl, may_exceed_8_bits
from featcache.data.image_files import decode_image, read_picture
from featcache.data.jxl_header import jxl_size
from featcache.data.sources.image_folder import list_folder
from featcache.data.unreadable_image import UnreadableImageError
from featcache.options import DataOptions

PICTURE = noise(160, 120)


def heic(image: Image.Image, **how: Any) -> bytes:
    pillow_heif.register_heif_opener()
    return saved(image, "HEIF", **how)


def test_heic() -> None:
    data = heic(PICTURE, quality=-1, chroma=444)
    assert is_heif(data) and not is_jxl(data)
    assert np.abs(np.asarray(decode_image(data)).astype(int) - np.asarray(PICTURE)).max() <= 8


def test_heic_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = decode_image(
        heic(PICTURE.transpose(Image.Transpose.ROTATE_90), quality=-1, chroma=444, exif=exif.tobytes())
    )
    assert shown.size == PICTURE.size
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(PICTURE)).max() <= 8


def test_avif_needs_no_package() -> None:
    data = saved(PICTURE, "AVIF", quality=95)
    assert not is_heif(data[:64])
    assert np.abs(np.asarray(decode_image(data)).astype(int) - np.asarray(PICTURE)).mean() < 4


@pytest.mark.parametrize("container", [False, True])
def test_jpeg_xl(container: bool) -> None:
    data = saved(PICTURE, "JXL", lossless=True, use_container=container)
    assert is_jxl(data)
    assert np.array_equal(np.asarray(decode_image(data)), np.asarray(PICTURE))
    assert read_picture(data).pages == 1


def test_jpeg_xl_of_a_jpeg(tmp_path: Path) -> None:
    file = tmp_path / "x.jpg"
    PICTURE.save(file, quality=95)
    with Image.open(file) as opened, pytest.warns(UserWarning, match="reconstruction"):
        data = saved(opened, "JXL")
    assert np.abs(np.asarray(decode_image(data)).astype(int) - np.asarray(PICTURE)).mean() < 6


def test_the_exif_of_a_jpeg_xl_does_not_turn_it_but_that_of_a_jpeg_in_it_does(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(PICTURE, "JXL", lossless=True, exif=exif.tobytes())
    assert np.array_equal(np.asarray(decode_image(data)), np.asarray(PICTURE))
    file = tmp_path / "x.jpg"
    PICTURE.transpose(Image.Transpose.ROTATE_90).save(file, quality=95, exif=exif)
    with Image.open(file) as opened, pytest.warns(UserWarning, match="reconstruction"):
        data = saved(opened, "JXL")
    assert decode_image(data).size == PICTURE.size


def test_jpeg_xl_with_high_bits() -> None:
    values = ramp(20, 16, 65535)
    data = saved(Image.fromarray(values), "JXL", lossless=True)
    assert np.array_equal(np.asarray(decode_image(data))[..., 0], values // 257)


@pytest.mark.parametrize(
    "size", [(8, 8), (256, 256), (257, 256), (160, 120), (3000, 40), (17, 1000), (64, 48), (70, 35)]
)
def test_the_size_of_a_jpeg_xl_before_it_is_decoded(size: tuple[int, int]) -> None:
    for container in (False, True):
        data = saved(Image.new("RGB", size, "red"), "JXL", use_container=container)
        assert jxl_size(data) == size


def test_a_jpeg_xl_that_claims_too_much_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    # SizeHeader: not small; both lengths by 30 bits.
    bits = 0 | 3 << 1 | (60_000 - 1) << 3 | 0 << 33 | 3 << 36 | (60_000 - 1) << 38
    data = b"\xff\x0a" + bits.to_bytes(9, "little") + b"\0" * 50
    with pytest.raises(UnreadableImageError, match="60000 x 60000"):
        decode_image(data)


@pytest.mark.parametrize(("kind", "package"), [("HEIF", "pillow-heif"), ("JXL", "pillow-jxl-plugin")])
def test_without_its_package_the_reason_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, kind: str, package: str
) -> None:
    data = heic(PICTURE) if kind == "HEIF" else saved(PICTURE, "JXL")

    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(file_formats, "_registered", set())
    monkeypatch.setattr(file_formats.importlib, "import_module", missing)
    monkeypatch.setattr(file_formats, "installed", lambda packages: {})
    with pytest.raises(
        UnreadableImageError, match=rf"{package}, which is not installed: pip install 'featcache\[images\]'"
    ):
        read_picture(data, timeout_s=None)


def test_what_can_be_read_is_known_by_every_package_that_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(name in file_formats.READER for name in ("pillow-", "pillow-heif-", "pillow-jxl-plugin-", "pydicom-"))

    def version(package: str) -> str:
        if package == "pydicom":
            raise file_formats.PackageNotFoundError
        return "1"

    monkeypatch.setattr(file_formats, "version", version)
    assert "pydicom" not in file_formats._reader()


def test_which_files_are_looked_at_for_high_bits() -> None:
    ordinary = [saved(PICTURE, k) for k in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF")] + [heic(PICTURE)]
    assert not any(may_exceed_8_bits(data[:132]) for data in ordinary)
    others = [png16(ramp(4, 4, 9)), saved(PICTURE, "TIFF"), b"P5 4 4 65535\n", b"\0" * 128 + b"DICM"]
    assert all(may_exceed_8_bits(data[:132]) for data in others)


def test_names_of_images(tmp_path: Path) -> None:
    names = ["a.heic", "b.HEIF", "c.jxl", "d.dcm", "e.IMA", "1.2.840.113619.2.55.3", "noending", "f.png"]
    for label in ("one", "two"):
        (tmp_path / label).mkdir()
        for name in [*names, "notes.txt", "run.1", "DICOMDIR"]:
            (tmp_path / label / name).write_bytes(struct.pack("<I", 0))
    listing = list_folder(str(tmp_path), DataOptions(path=str(tmp_path)))
    assert sorted(row.name for row in listing.rows if row.label == "one") == sorted(f"one/{name}" for name in names)
    assert sorted(listing.ignored) == ["one/notes.txt", "one/run.1", "two/notes.txt", "two/run.1"]
