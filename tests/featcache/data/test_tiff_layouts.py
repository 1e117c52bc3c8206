"""TIFF files that Pillow has no mode for are read as any other."""

from __future__ import annotations

import io
import lzma
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from made_images import ramp, tiff

from featcache.data import file_formats, tiff_layouts
from featcache.data.depth_decision import ValueRange
from featcache.data.image_files import decode_image, read_picture, read_samples
from featcache.data.unreadable_image import UnreadableImageError
from featcache.records import Depth

W, H = 16, 12
TWELVE = ramp(W, H, 4095)
EIGHT = TWELVE.astype(int) * 255 // 4095
FLOAT = {339: (3, (3,))}


def shown(data: bytes, depth: Depth | None = None) -> np.ndarray[Any, Any]:
    return np.asarray(decode_image(data, depth or Depth("12"))).astype(int)


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f8"])
@pytest.mark.parametrize("deflated", [False, True])
def test_floating_point_values_of_16_and_64_bits(dtype: str, deflated: bool) -> None:
    pixels = (EIGHT / 255).astype(dtype).tobytes()
    further = {**FLOAT, 259: (3, (8,))} if deflated else FLOAT
    pixels = zlib.compress(pixels) if deflated else pixels
    data = tiff(pixels, (W, H), int(dtype[-1]) * 8, big_endian=dtype[0] == ">", further=further)
    assert np.array_equal(shown(data)[..., 0], EIGHT)
    assert read_picture(data).pages == 1


def test_floating_point_colours() -> None:
    values = np.stack([EIGHT, EIGHT[::-1], EIGHT // 2], axis=2)
    data = tiff((values / 255).astype("<f4").tobytes(), (W, H), (32, 32, 32), 2, further={339: (3, (3, 3, 3))})
    assert np.array_equal(shown(data), values)


def test_big_endian_32_bits() -> None:
    assert np.array_equal(shown(tiff(TWELVE.astype(">u4").tobytes(), (W, H), 32, big_endian=True))[..., 0], EIGHT)


def test_big_endian_16_bits_whose_zero_is_white() -> None:
    data = tiff(TWELVE.astype(">u2").tobytes(), (W, H), 16, 0, big_endian=True)
    assert np.array_equal(shown(data)[..., 0], 255 - EIGHT)


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_with_alpha(bits: int) -> None:
    grey = TWELVE if bits == 16 else EIGHT
    alpha = np.full_like(grey, 2**bits - 1 if bits == 8 else 4095)
    alpha[0, 0] = 0
    pixels = np.stack([grey, alpha], axis=2).astype(f"<u{bits // 8}").tobytes()
    found = shown(tiff(pixels, (W, H), (bits, bits), further={338: (3, (2,))}))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(found[1:, :, 0], EIGHT[1:])


def test_a_range_that_the_file_says() -> None:
    data = tiff(TWELVE.astype("<f8").tobytes(), (W, H), 64, further={**FLOAT, 341: (3, (4095,))})
    assert np.abs(shown(data)[..., 0] - EIGHT).max() <= 1


def test_what_is_neither_grey_nor_rgb() -> None:
    with pytest.raises(UnreadableImageError, match="1 channel, photometric 3"):
        decode_image(tiff(TWELVE.tobytes(), (W, H), 16, 3))


def test_limits_hold_before_anything_is_decoded() -> None:
    bomb = zlib.compress(b"\0" * 10_000_000)
    data = tiff(bomb, (W, H), 64, further={**FLOAT, 259: (3, (8,))})
    with pytest.raises(UnreadableImageError, match="more than the image has pixels"):
        decode_image(data)
    with pytest.raises(UnreadableImageError, match="60000 x 60000"):
        decode_image(tiff(b"", (60_000, 60_000), 64, further=FLOAT))


def test_a_torn_file_is_no_matter_of_packages() -> None:
    whole = tiff(TWELVE.astype("<f8").tobytes(), (W, H), 64, further=FLOAT)
    with pytest.raises(UnreadableImageError, match="a TIFF whose directory is not in it: cut short"):
        decode_image(whole[:8])


def test_without_tifffile_the_reason_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(tiff_layouts.importlib, "import_module", missing)
    doubles = tiff(TWELVE.astype("<f8").tobytes(), (W, H), 64, further=FLOAT)
    with pytest.raises(UnreadableImageError, match=r"tifffile, which is installed and cannot be imported \(tifffile\)"):
        decode_image(doubles)
    monkeypatch.setattr(file_formats, "installed", lambda packages: {})
    with pytest.raises(
        UnreadableImageError, match=r"tifffile, which is not installed: pip install 'featcache\[images\]'"
    ):
        decode_image(doubles)


@pytest.mark.parametrize("inverted", [False, True])
def test_grey_bytes_with_a_sign(inverted: bool) -> None:
    values = np.linspace(-100, 100, W * H).astype(np.int8).reshape(H, W)
    data = tiff(values.tobytes(), (W, H), 8, photometric=0 if inverted else 1, further={339: (3, (2,))})
    found = shown(data, Depth("minmax"))[:, :, 0]
    expected = np.round((values.astype(float) + 100) * 255 / 200)
    assert np.abs(found - (255 - expected if inverted else expected)).max() <= 1


def test_a_size_that_is_no_number() -> None:
    data = bytearray(tiff(TWELVE.astype("<f8").tobytes(), (W, H), 64, further=FLOAT))
    data[12:14] = b"\x02\0"  # the type of the width: text
    with pytest.raises(UnreadableImageError):
        decode_image(bytes(data))


@pytest.mark.parametrize("most", [4095, 65535])
def test_planes_of_16_bits(most: int) -> None:
    planes = np.stack([ramp(W, H, most), ramp(W, H, most // 2), ramp(W, H, most // 4)])
    file = io.BytesIO()
    tifffile.imwrite(file, planes, photometric="rgb", planarconfig="separate")
    data = file.getvalue()
    found = shown(data, Depth("12" if most == 4095 else None))
    assert np.array_equal(found, np.moveaxis(planes, 0, -1).astype(int) * 255 // most)
    samples = read_samples(data)
    assert samples is not None and ValueRange.of(samples).changes  # rows of before do not serve


def test_other_compressions_are_left_alone() -> None:
    data = tiff(lzma.compress(bytes(W * H * 2)), (W, H), 16, further={**FLOAT, 259: (3, (34925,))})
    with pytest.raises(UnreadableImageError, match="uncompressed or deflated"):
        decode_image(data)


def test_strips_together_are_bounded() -> None:
    strip = zlib.compress(bytes(60_000))
    further = {**FLOAT, 259: (3, (8,)), 278: (4, (1,)), 273: (4, (0,) * H), 279: (4, (len(strip),) * H)}
    with pytest.raises(UnreadableImageError, match="more than the image has pixels"):
        decode_image(tiff(strip, (W, H), 16, further=further))


def test_values_of_too_many_bytes() -> None:
    data = tiff(zlib.compress(bytes(100)), (13000, 13000), (64,) * 4, 2, further={339: (3, (3,) * 4), 259: (3, (8,))})
    with pytest.raises(UnreadableImageError, match="bytes of values are more than"):
        decode_image(data)
