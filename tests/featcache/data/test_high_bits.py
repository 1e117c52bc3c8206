"""Values of more than 8 bits are shown between what their makers meant as black and white."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from made_images import chunk, png16, ramp, saved, tiff
from PIL import Image, ImageCms

from featcache.data.image_files import decode_image, read_samples
from featcache.data.unreadable_image import UnreadableImageError
from featcache.records import Depth

W, H = 16, 12
TWELVE = ramp(W, H, 4095)


def grey(data: bytes, integers: str | None = None, floats: str | None = None) -> np.ndarray[Any, Any]:
    decoded = np.asarray(decode_image(data, Depth(integers, floats)))
    assert np.array_equal(decoded[..., 0], decoded[..., 2])
    return decoded[..., 0]


def by_hand(values: np.ndarray[Any, Any], white: float) -> np.ndarray[Any, Any]:
    return np.minimum(values.astype(np.int64) * 255 // int(white), 255).astype(np.uint8)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_is_white_at_the_depth_of_its_data_set(bits: int, kind: str) -> None:
    values = ramp(W, H, 2**bits - 1)
    data = saved(Image.fromarray(values), kind)
    shown = grey(data, str(bits))
    assert np.array_equal(shown, by_hand(values, 2**bits - 1))
    assert (shown[0, 0], shown[-1, -1]) == (0, 255)
    assert np.array_equal(grey(data), values // 257)  # as ever, where nothing was decided


def test_what_is_brighter_than_the_depth_is_white() -> None:
    assert grey(png16(np.array([[4095, 65535]])), "12").tolist() == [[255, 255]]


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_16_bits_keep_their_lower_bytes(channels: int) -> None:
    values = np.stack([np.roll(TWELVE, 7 * c) for c in range(channels)], axis=2)
    if channels in {2, 4}:
        values[..., -1] = 4095  # opaque
    shown = np.asarray(decode_image(png16(values), Depth("12")))
    expected = by_hand(values, 4095)
    assert np.array_equal(shown, np.repeat(expected[..., :1], 3, axis=2) if channels == 2 else expected[..., :3])


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("deflated", [False, True])
def test_16_bit_colours_of_a_tiff(big_endian: bool, deflated: bool) -> None:
    values = np.stack([TWELVE, TWELVE[::-1], TWELVE.T.reshape(H, W)], axis=2)
    pixels = values.astype(">u2" if big_endian else "<u2").tobytes()
    pixels = zlib.compress(pixels) if deflated else pixels
    further = {259: (3, (8,))} if deflated else None
    data = tiff(pixels, (W, H), (16, 16, 16), 2, big_endian=big_endian, further=further)
    assert np.array_equal(np.asarray(decode_image(data, Depth("12"))), by_hand(values, 4095))
    assert np.array_equal(np.asarray(decode_image(data)), values >> 8)


# --- what the file says of itself


def test_sbit_of_values_that_were_not_spread() -> None:
    data = png16(TWELVE, chunk(b"sBIT", b"\x0c"))
    for depth in (None, "16", "minmax"):  # the file's word counts, whatever the data set's
        assert np.array_equal(grey(data, depth), by_hand(TWELVE, 4095))


def test_sbit_of_values_spread_over_16_bits_as_the_standard_says() -> None:
    for spread in (TWELVE << 4, TWELVE << 4 | TWELVE >> 8):
        data = png16(spread, chunk(b"sBIT", b"\x0c"))
        assert np.array_equal(grey(data), spread // 257)
        assert np.array_equal(grey(data, "12"), spread // 257)


def test_sbit_of_colours() -> None:
    values = np.stack([TWELVE, TWELVE[::-1], TWELVE], axis=2)
    data = png16(values, chunk(b"sBIT", b"\x0c\x0c\x0c"))
    assert np.array_equal(np.asarray(decode_image(data)), by_hand(values, 4095))


def test_sample_range_of_a_tiff() -> None:
    tags = {340: (3, (100,)), 341: (3, (1100,))}
    data = tiff(np.array([[100, 600, 1100, 2000]], "<u2").tobytes(), (4, 1), 16, further=tags)
    assert grey(data, "16").tolist() == [[0, 127, 255, 255]]


def test_12_bits_packed_in_a_tiff() -> None:
    values = TWELVE.reshape(-1)
    packed = bytearray()
    for a, b in zip(values[::2].tolist(), values[1::2].tolist(), strict=True):
        packed += bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255])
    assert np.array_equal(grey(tiff(bytes(packed), (W, H), 12)), by_hand(TWELVE, 4095))


def test_white_is_zero() -> None:
    values = ramp(W, H, 65535)
    data = tiff(values.tobytes(), (W, H), 16, 0)
    assert np.array_equal(grey(data), 255 - values // 257)


def test_big_endian_grey() -> None:
    data = tiff(TWELVE.astype(">u2").tobytes(), (W, H), 16, big_endian=True)
    assert np.array_equal(grey(data, "12"), by_hand(TWELVE, 4095))


@pytest.mark.parametrize("most", [15, 255, 1023, 4095, 65535])
def test_a_pgm_says_its_white(most: int) -> None:
    values = ramp(W, H, most)
    pixels = values.astype(np.uint8 if most < 256 else ">u2").tobytes()
    shown = grey(b"P5 %d %d %d\n" % (W, H, most) + pixels)
    assert np.abs(shown - values * (255 / most)).max() <= 1
    assert (shown[0, 0], shown[-1, -1]) == (0, 255)


# --- wider, signed and floating-point values


def test_values_below_zero_and_beyond_16_bits() -> None:
    signed = tiff(np.array([[-1000, 0, 1000]], "<i2").tobytes(), (3, 1), 16, further={339: (3, (2,))})
    with pytest.raises(UnreadableImageError, match="from -1000 to 1000 have no agreed range"):
        decode_image(signed)
    assert grey(signed, "minmax").tolist() == [[0, 127, 255]]
    wide = tiff(np.array([[0, 70_000, 140_000]], "<i4").tobytes(), (3, 1), 32, further={339: (3, (2,))})
    assert grey(wide, "minmax").tolist() == [[0, 127, 255]]
    unsigned = tiff(np.array([[0, 2**31, 2**32 - 1]], "<u4").tobytes(), (3, 1), 32)
    assert grey(unsigned, "minmax").tolist() == [[0, 127, 255]]


def test_32_bit_integers_that_fit_16() -> None:
    values = ramp(W, H, 4095).astype("<i4")
    data = tiff(values.tobytes(), (W, H), 32, further={339: (3, (2,))})
    assert np.array_equal(grey(data, "12"), by_hand(values, 4095))
    assert np.array_equal(grey(data), values // 257)


def floating(values: list[float], big_endian: bool = False) -> bytes:
    pixels = struct.pack((">" if big_endian else "<") + f"{len(values)}f", *values)
    return tiff(pixels, (len(values), 1), 32, big_endian=big_endian, further={339: (3, (3,))})


@pytest.mark.parametrize("big_endian", [False, True])
def test_floating_point_values_up_to_one(big_endian: bool) -> None:
    values = [k / 255 for k in range(0, 256, 5)]
    assert grey(floating(values, big_endian)).tolist() == [list(range(0, 256, 5))]


def test_floating_point_values_of_another_range() -> None:
    data = floating([0, 100, 200, 255, float("nan"), float("inf")])
    with pytest.raises(UnreadableImageError, match="floating-point values from 0 to 255 have no agreed range"):
        decode_image(data)
    assert grey(data, floats="8").tolist() == [[0, 100, 200, 255, 0, 255]]
    assert grey(floating([-5, 0, 5]), floats="minmax").tolist() == [[0, 128, 255]]


def test_percentiles_pass_over_a_hot_pixel() -> None:
    values = np.full((40, 40), 1000, "<u2")
    values[:20] = 2000
    values[0, 0] = 65535
    shown = grey(png16(values), "percentile")
    assert (shown[0, 0], shown[10, 10], shown[30, 30]) == (255, 255, 0)


def test_an_even_image_has_a_tone() -> None:
    assert grey(png16(np.full((4, 4), 700)), "minmax").max() == 0


# --- colour spaces


def test_lab() -> None:
    image = Image.new("RGB", (8, 8), (200, 60, 40))
    lab = ImageCms.profileToProfile(
        image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    shown = np.asarray(decode_image(saved(lab, "TIFF"))).astype(int)
    assert np.abs(shown - (200, 60, 40)).max() <= 3


def test_8_bits_and_fewer_do_not_depend_on_the_depth() -> None:
    bilevel = saved(Image.fromarray((TWELVE > 2000).astype(np.uint8) * 255).convert("1"), "TIFF")
    assert set(grey(bilevel, "12").ravel().tolist()) == {0, 255}
    assert np.array_equal(grey(bilevel, "12") > 0, TWELVE > 2000)
    for kind in ("PNG", "TIFF", "BMP"):
        data = saved(Image.fromarray(TWELVE.astype(np.uint8)), kind)
        assert np.array_equal(grey(data, "12"), TWELVE.astype(np.uint8))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_16_bit_tiff_with_predictor(compression: str) -> None:
    how: dict[str, Any] = {"compression": compression}
    if compression != "packbits":
        how["tiffinfo"] = {317: 2}
    data = saved(Image.fromarray(TWELVE), "TIFF", **how)
    assert np.array_equal(grey(data, "12"), by_hand(TWELVE, 4095))


def test_a_tiff_of_8_bits_is_not_decoded_to_know_that(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(Image.fromarray(TWELVE.astype(np.uint8)), "TIFF")
    deep = saved(Image.fromarray(TWELVE), "TIFF")
    assert read_samples(deep) is not None
    monkeypatch.setattr("featcache.data.image_files.load_image", None)
    assert read_samples(data) is None


def jpeg_2000(bits: int, most: int) -> bytes:
    """A JPEG 2000 of so many bits: Pillow writes 16, so its header is changed, and the values with it."""
    data = bytearray(saved(Image.fromarray(ramp(64, 64, most) + np.uint16(2**15 - 2 ** (bits - 1))), "JPEG2000"))
    data[data.index(b"\xff\x4f\xff\x51") + 42] = bits - 1
    data[data.index(b"ihdr") + 14] = bits - 1
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [b"P5\n# 99\n64 64\n4095\n" + ramp(64, 64, 100, ">u2").tobytes(), jpeg_2000(12, 100)],
    ids=["pgm", "jpeg 2000"],
)
def test_a_dark_image_that_says_its_white_stays_dark(data: bytes) -> None:
    assert np.asarray(decode_image(data, Depth("12"))).max() == 100 * 255 // 4095
    samples = read_samples(data)
    assert samples is not None and samples.stated is not None


def test_a_jpeg_2000_of_16_bits_leaves_it_open() -> None:
    samples = read_samples(saved(Image.fromarray(ramp(64, 64, 4095)), "JPEG2000"))
    assert samples is not None and samples.stated is None


@pytest.mark.parametrize("rule", [None, "12", "minmax", "percentile"])
def test_an_image_without_a_number_is_black_at_every_depth(rule: str | None) -> None:
    data = tiff(np.full((8, 8), np.nan, "<f4").tobytes(), (8, 8), 32, further={339: (3, (3,))})
    assert np.asarray(decode_image(data, Depth(floats=rule))).max() == 0


def test_pillow_says_nothing_beside_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UnreadableImageError):
        decode_image(tiff(b"", (8, 8), (16,) * 20000, 2))
    assert not caplog.records
