"""Files that are broken beside their pixels, or lack their last bytes, are read and listed; others are bad."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from made_images import chunk, noise, png16, ramp, saved, with_chunk
from PIL import Image, PngImagePlugin

from featcache.data import image_files
from featcache.data.image_files import read_picture
from featcache.data.unreadable_image import UnreadableImageError
from featcache.records import Depth

PICTURE = noise(160, 120)


def pixels_of(image: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(image.convert("RGB")).astype(int)


def read_repaired(data: bytes, said: str) -> np.ndarray[Any, Any]:
    picture = read_picture(data)
    assert said in picture.repaired
    return pixels_of(picture.image)


# --- what only describes the picture


@pytest.mark.parametrize(
    "broken",
    [
        chunk(b"tEXt", b"Comment\0hello", sound=False),
        chunk(b"gAMA", b"\0\0\xb1\x8f", sound=False),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 10))),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 10))),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK + 10))),
    ],
    ids=["text", "gamma", "long zTXt", "long ICC", "long iTXt"],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_chunk_that_cannot_be_read_is_passed_over(broken: bytes, late: bool) -> None:
    whole = saved(PICTURE, "PNG")
    data = whole[:-12] + broken + whole[-12:] if late else with_chunk(whole, broken)
    picture = read_picture(data)
    assert np.array_equal(pixels_of(picture.image), pixels_of(PICTURE))
    assert (broken[4:8].decode() in picture.repaired) or late  # after the pixels Pillow may not look
    assert not picture.truncated


def test_very_many_texts() -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (PngImagePlugin.MAX_TEXT_CHUNK - 10)))
    data = with_chunk(saved(PICTURE, "PNG"), text * 70)  # together beyond Pillow's MAX_TEXT_MEMORY
    assert np.array_equal(read_repaired(data, "zTXt cannot be read"), pixels_of(PICTURE))


def test_a_palette_with_a_wrong_checksum_is_no_picture() -> None:
    data = saved(PICTURE.quantize(8), "PNG")
    at = data.index(b"PLTE") - 4
    size = struct.unpack(">I", data[at : at + 4])[0]
    wrong = data[: at + 8 + size] + b"\0\0\0\0" + data[at + 12 + size :]
    with pytest.raises(UnreadableImageError):
        read_picture(wrong)


@pytest.mark.parametrize("exif", [b"not exif at all", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0\xff\xff\xff\x7f"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_broken_exif(kind: str, exif: bytes) -> None:
    how: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    clean = saved(PICTURE, kind, **how)
    data = (
        with_chunk(clean, chunk(b"eXIf", exif))
        if kind == "PNG"
        else saved(PICTURE, kind, exif=b"Exif\0\0" + exif, **how)
    )
    picture = read_picture(data)
    assert np.array_equal(pixels_of(picture.image), pixels_of(read_picture(clean).image))


def test_a_broken_exif_is_said() -> None:
    data = with_chunk(saved(PICTURE, "PNG"), chunk(b"eXIf", b"not exif at all"))
    assert np.array_equal(read_repaired(data, "its EXIF cannot be read"), pixels_of(PICTURE))


def test_a_raw_exif_profile_that_is_no_hexadecimal() -> None:
    data = with_chunk(saved(PICTURE, "PNG"), chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  10\nzzzz"))
    assert np.array_equal(read_repaired(data, "its EXIF cannot be read"), pixels_of(PICTURE))


def test_the_orientation_counts_where_other_tags_of_the_exif_are_broken() -> None:
    # Orientation 6, and a tag whose value lies beyond the end.
    body = b"II*\0\x08\0\0\0" + struct.pack("<H", 2)
    body += struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x010F, 2, 5000, 4000) + b"\0\0\0\0"
    turned = PICTURE.transpose(Image.Transpose.ROTATE_90)
    data = with_chunk(saved(turned, "PNG"), chunk(b"eXIf", body))
    assert np.array_equal(pixels_of(read_picture(data).image), pixels_of(PICTURE))


# --- an end that is missing


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("lost", [2, 30])
def test_a_jpeg_without_its_last_bytes(how: dict[str, Any], lost: int) -> None:
    whole = saved(PICTURE, "JPEG", quality=90, **how)
    picture = read_picture(whole[:-lost])
    assert picture.truncated and "its end is missing" in picture.repaired
    expected, found = pixels_of(read_picture(whole).image), pixels_of(picture.image)
    differs = (expected != found).any(axis=2)
    assert differs.mean() <= (0.001 if lost == 2 else 0.05)
    assert not differs[:96].any() or how.get("progressive")


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_jpeg_that_lacks_more(how: dict[str, Any], part: float) -> None:
    whole = saved(PICTURE, "JPEG", quality=90, **how)
    with pytest.raises(UnreadableImageError, match="truncated"):
        read_picture(whole[: int(len(whole) * part)])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "GIF"])
def test_other_formats_without_their_last_bytes(kind: str) -> None:
    whole = saved(PICTURE, kind)
    picture = read_picture(whole[: int(len(whole) * 0.97)])
    assert picture.truncated and "its end is missing" in picture.repaired
    expected, found = pixels_of(read_picture(whole).image), pixels_of(picture.image)
    bad = np.flatnonzero((expected != found).any(axis=(1, 2)))
    assert 0 < len(bad) <= 6  # of 120
    if kind == "BMP":  # from the bottom up
        assert bad.max() < 6 and np.array_equal(found[0], expected[bad.max() + 1])
    elif kind == "GIF":  # interlaced: every second row at the end
        assert np.diff(bad).tolist()[1:] == [2] * (len(bad) - 2)
    else:
        assert bad.min() >= 114 and np.array_equal(found[-1], expected[bad.min() - 1])
    with pytest.raises(UnreadableImageError):
        read_picture(whole[: int(len(whole) * 0.9)])


def test_16_bit_values_without_their_end() -> None:
    values = ramp(40, 60, 65535)
    whole = png16(values + np.random.default_rng(0).integers(0, 9, values.shape).astype(np.uint16) % 5)
    picture = read_picture(whole[:-150])
    assert picture.truncated
    assert np.array_equal(pixels_of(picture.image)[:50], pixels_of(read_picture(whole).image)[:50])


def test_an_interlaced_png_without_its_end() -> None:
    values = pixels_of(PICTURE).astype(np.uint8)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in values[y::dy, x::dx])
    header = struct.pack(">IIBBBBB", 160, 120, 8, 2, 0, 0, 1)
    body = zlib.compress(rows)
    whole = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    assert np.array_equal(pixels_of(read_picture(whole).image), values)
    picture = read_picture(whole[: int(len(whole) * 0.97)])
    assert picture.truncated
    assert np.array_equal(pixels_of(picture.image)[:110], values[:110])


def test_what_is_whole_is_not_repaired() -> None:
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        picture = read_picture(saved(PICTURE, kind))
        assert (picture.pages, picture.repaired, picture.truncated) == (1, "", False)


# --- several pages or frames


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_of_several(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), c) for c in ("red", "blue", "lime")]
    how: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **how)
    picture = read_picture(data)
    assert picture.pages == 3
    assert np.array_equal(pixels_of(picture.image), pixels_of(frames[0]))


def test_previews_of_a_camera_are_no_pages() -> None:
    buffer = io.BytesIO()
    PICTURE.save(buffer, "MPO", save_all=True, append_images=[PICTURE.resize((40, 30))])
    assert read_picture(buffer.getvalue()).pages == 1


@pytest.mark.parametrize("further", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_jpeg_that_lacks_a_byte_or_two(further: dict[str, Any], cut: int) -> None:
    whole = saved(PICTURE, "JPEG", **further)
    pixels = read_repaired(whole[:-cut], "its end is missing")
    assert np.array_equal(pixels[:-16], pixels_of(Image.open(io.BytesIO(whole)))[:-16])


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("stated", [False, True])
def test_colours_of_12_bits_in_a_png_whose_end_is_missing(channels: int, stated: bool) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (64, 48, channels)).astype("<u2")
    if channels != 3:
        values[..., -1] = 65535
    before = [chunk(b"sBIT", bytes([12] * channels))] if stated else []
    whole = png16(values, *before)
    depth = Depth(None if stated else "12")
    picture = read_picture(whole[: int(len(whole) * 0.97)], depth)
    assert picture.truncated
    expected = pixels_of(read_picture(whole, depth).image)
    found = pixels_of(picture.image)
    same = int((found == expected).all(axis=(1, 2)).sum())
    assert 0.95 * 64 <= same < 64
    assert np.array_equal(found[-1], expected[same - 1])  # repeated


def test_what_a_library_says_takes_one_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> None:
        raise ValueError("one\n  two" + " more" * 100)

    monkeypatch.setattr(image_files, "load_image", fail)
    monkeypatch.setattr(image_files, "read_truncated", lambda _: None)
    with pytest.raises(UnreadableImageError, match=r"^ValueError: one two more") as caught:
        read_picture(saved(PICTURE, "PNG"))
    assert len(str(caught.value)) < 180


def test_a_broken_jpeg_xl_has_a_reason_of_its_own() -> None:
    pytest.importorskip("pillow_jxl")
    with pytest.raises(UnreadableImageError, match="ValueError: broken, or its end is missing"):
        read_picture(saved(PICTURE, "JXL")[:-100])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF", "GIF"])
def test_how_much_is_missing_is_said_where_it_is_too_much(kind: str) -> None:
    whole = saved(PICTURE, kind)
    with pytest.raises(UnreadableImageError, match=r"\d\d\.\d% of its pixels are missing, more than the 5%") as caught:
        read_picture(whole[: len(whole) * 7 // 10])
    assert 25 <= float(str(caught.value).split(": ")[1].split("%")[0]) <= 40


@pytest.mark.parametrize(("place", "cut"), [(0.2, 0), (0.6, 0), (0.98, 0), (0.2, 12), (0.6, 12), (0.6, 100)])
def test_a_png_with_changed_pixels_is_bad_and_not_cut(place: float, cut: int) -> None:
    whole = saved(PICTURE.resize((320, 240)), "PNG", compress_level=0)
    assert whole.count(b"IDAT") > 2
    changed = bytearray(whole[: len(whole) - cut])
    changed[int(len(changed) * place)] ^= 1
    with pytest.raises(UnreadableImageError):
        read_picture(bytes(changed))


@pytest.mark.parametrize("how", [{"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}])
def test_a_tiff_without_its_directory_is_called_one(how: dict[str, str]) -> None:
    whole = saved(PICTURE, "TIFF", **how)  # with the directory at its end
    with pytest.raises(UnreadableImageError, match="a TIFF whose directory is not in it: cut short"):
        read_picture(whole[: len(whole) * 9 // 10])
