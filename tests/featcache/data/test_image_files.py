"""Image files of every kind become the same upright RGB pixels as the libraries' own transforms see."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import EpsImagePlugin, Image, ImageFile
from sklearn.datasets import load_sample_image
from torchvision import models

from featcache.backbones import find_source
from featcache.data.image_files import decode_image
from featcache.data.transforms import EvalTransform, normalise
from featcache.data.unreadable_image import UnreadableImageError
from featcache.records import Preprocessing

SMALL = Preprocessing(input_size=24, resize_size=28)
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A real photograph, 640 x 427."""
    return Image.fromarray(load_sample_image("china.jpg"))


def blocks() -> Image.Image:
    """48 x 32: no two of its four corners, and neither of its sides, are alike."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :16], pixels[:16, 16:] = (200, 40, 40), (40, 200, 40)
    pixels[16:, :16], pixels[16:, 16:] = (40, 40, 200), (220, 220, 60)
    return Image.fromarray(pixels)


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def pixels(source: bytes | Path) -> Pixels:
    decoded = decode_image(source)
    assert decoded.mode == "RGB"
    return np.asarray(decoded)


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG file written by hand, for what Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def reason(source: bytes | Path) -> str:
    with pytest.raises(UnreadableImageError) as unreadable:
        decode_image(source)
    return str(unreadable.value)


# --- formats


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_the_content_decides_the_format(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "picture.jpg"
    file.write_bytes(saved(blocks(), kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert np.array_equal(pixels(file), np.asarray(blocks()))


def test_a_path_a_string_and_bytes_decode_alike(tmp_path: Path, photo: Image.Image) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(saved(photo, "JPEG"))
    expected = pixels(file)
    assert np.array_equal(np.asarray(decode_image(str(file))), expected)
    assert np.array_equal(np.asarray(decode_image(file.read_bytes())), expected)
    assert np.abs(expected.astype(int) - np.asarray(photo)).mean() < 6  # JPEG loses a little


def test_a_palette() -> None:
    assert np.array_equal(pixels(saved(blocks().quantize(8), "PNG")), np.asarray(blocks()))


def test_a_palette_with_transparency_shows_white() -> None:
    image = Image.new("P", (4, 2), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((0, 0), 0)
    decoded = pixels(saved(image, "PNG", transparency=0))
    assert decoded[0, 0].tolist() == [255, 255, 255]
    assert decoded[1, 3].tolist() == [200, 100, 50]


def test_a_transparent_gif_shows_white() -> None:
    image = Image.new("P", (4, 2), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((0, 0), 0)
    decoded = pixels(saved(image, "GIF", transparency=0))
    assert decoded[0, 0].tolist() == [255, 255, 255]
    assert decoded[1, 3].tolist() == [200, 100, 50]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_shows_white(kind: str) -> None:
    image = Image.new("RGBA", (4, 4), (200, 0, 100, 255))
    image.putpixel((1, 1), (200, 0, 100, 0))
    image.putpixel((2, 2), (200, 0, 100, 51))  # a fifth of the colour, four of white
    decoded = pixels(saved(image, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {})))
    assert decoded[0, 0].tolist() == [200, 0, 100]
    assert decoded[1, 1].tolist() == [255, 255, 255]
    assert np.abs(decoded[2, 2].astype(int) - [244, 204, 224]).max() <= 1


def test_a_transparent_colour_shows_white() -> None:
    image = blocks()
    decoded = pixels(saved(image, "PNG", transparency=(200, 40, 40)))
    assert decoded[0, 0].tolist() == [255, 255, 255]
    assert decoded[0, 47].tolist() == [40, 200, 40]


def test_grey_and_grey_with_transparency() -> None:
    assert pixels(saved(Image.new("L", (3, 3), 77), "PNG"))[1, 1].tolist() == [77, 77, 77]
    image = Image.new("LA", (3, 3), (77, 255))
    image.putpixel((0, 0), (77, 0))
    decoded = pixels(saved(image, "PNG"))
    assert decoded[0, 0].tolist() == [255, 255, 255]
    assert decoded[1, 1].tolist() == [77, 77, 77]


def test_one_bit() -> None:
    image = Image.new("1", (4, 1), 0)
    image.putpixel((2, 0), 1)
    assert pixels(saved(image, "PNG"))[0, :, 0].tolist() == [0, 0, 255, 0]


def test_cmyk_jpeg() -> None:
    # Inks: none is white, all of one is its colour; a reader that inverts them shows the negative.
    for ink, colour in (((0, 0, 0, 0), (255, 255, 255)), ((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0))):
        decoded = pixels(saved(Image.new("CMYK", (16, 16), ink), "JPEG", quality=95))
        assert np.abs(decoded.astype(int) - colour).max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_tones(kind: str) -> None:
    # Pillow's own conversion clips everything above 255 to white.
    values = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    decoded = pixels(saved(Image.fromarray(values), kind))
    assert decoded[..., 0].ravel().tolist() == list(range(256))
    assert np.array_equal(decoded[..., 0], decoded[..., 2])


def test_16_bit_grey_between_whole_tones() -> None:
    values = np.array([[0, 100, 32767, 32768, 65407, 65535]], dtype=np.uint16)
    decoded = pixels(saved(Image.fromarray(values), "PNG"))[0, :, 0].astype(float)
    assert np.abs(decoded - values[0] / 257).max() < 1
    assert decoded[-1] == 255


def test_16_bit_colour_and_16_bit_grey_with_transparency() -> None:
    colours = b"\0" + b"".join(struct.pack(">HHH", v * 257, 0, 65535) for v in (0, 128, 255))
    assert pixels(png(3, 1, 16, 2, colours))[0].tolist() == [[0, 0, 255], [128, 0, 255], [255, 0, 255]]
    greys = b"\0" + struct.pack(">HHHH", 128 * 257, 65535, 128 * 257, 0)
    assert pixels(png(2, 1, 16, 4, greys))[0].tolist() == [[128] * 3, [255] * 3]


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue", "green")]
    decoded = pixels(saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50))
    assert decoded.shape == (8, 8, 3)
    assert decoded[4, 4].tolist() == [255, 0, 0]


# How a camera stores an upright picture under each EXIF orientation (Exif 2.32, tag 0x0112).
STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda u: u,
    2: lambda u: u[:, ::-1],
    3: lambda u: u[::-1, ::-1],
    4: lambda u: u[::-1],
    5: lambda u: u.transpose(1, 0, 2),
    6: lambda u: np.rot90(u, 1),
    7: lambda u: u[::-1, ::-1].transpose(1, 0, 2),
    8: lambda u: np.rot90(u, -1),
}


def turned(orientation: int, kind: str = "PNG", **how: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](np.asarray(blocks())))
    return saved(Image.fromarray(stored), kind, exif=exif, **how)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_upright(orientation: int) -> None:
    assert np.array_equal(pixels(turned(orientation)), np.asarray(blocks()))
    jpeg = pixels(turned(orientation, "JPEG", quality=95, subsampling=0))
    assert np.abs(jpeg.astype(int) - np.asarray(blocks())).max() < 20


# --- what cannot be read


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"")
    assert reason(tmp_path / "x.png") == "empty file"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_file_cut_short(photo: Image.Image, kind: str, part: float) -> None:
    whole = saved(photo.resize((160, 120)), kind)
    assert reason(whole[: int(len(whole) * part)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_cut_short_says_so(photo: Image.Image, kind: str) -> None:
    whole = saved(photo.resize((160, 120)), kind)
    assert "truncated" in reason(whole[: len(whole) // 2])


@pytest.mark.parametrize("content", [b"just some words\n" * 50, b"<html><body>Not found</body></html>", b"\0" * 4096])
def test_a_file_that_is_no_image(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "picture.jpg"
    file.write_bytes(content)
    message = reason(file)
    assert "not an image" in message
    assert f"{len(content)} bytes" in message


@pytest.mark.parametrize("start", [b"", b"\xc5\xd0\xd3\xc6" + struct.pack("<7i", 32, 99, 0, 0, 0, 0, -1)])
def test_a_program_in_postscript_is_not_run(monkeypatch: pytest.MonkeyPatch, start: bytes) -> None:
    # Where Ghostscript is installed, Pillow has it run the file.
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("it was run"))
    assert "PostScript" in reason(start + b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")


def test_a_decompression_bomb_is_not_opened() -> None:
    # The header alone claims 900 megapixels; the limit must hold before any memory is taken.
    message = reason(png(30_000, 30_000, 8, 2, b"\0"))
    assert "900000000 pixels" in message


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (2, 4000)])
def test_a_strip_too_narrow_to_resize(size: tuple[int, int]) -> None:
    # At any input size: what can be read must not depend on the backbone.
    assert f"{size[0]} x {size[1]}" in reason(saved(Image.new("RGB", size), "PNG"))


def test_pixels_without_an_agreed_range() -> None:
    assert "0 to 1)" in reason(saved(Image.new("F", (4, 4), 1.5), "TIFF"))
    wide = Image.fromarray(np.array([[0, 70_000]], dtype=np.int32))
    assert "70000" in reason(saved(wide, "TIFF"))


def test_a_file_that_vanished_is_no_bad_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):  # a fault of the disk, not of the picture: no quarantine
        decode_image(tmp_path / "none.png")


# --- the network's input


def both_ways(photo: Image.Image) -> list[Image.Image]:
    return [photo, photo.rotate(90, expand=True), photo.crop((0, 0, 301, 299)), photo.resize((57, 91))]


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",  # bilinear, 256 to 224
        "efficientnet_b0",  # bicubic
        "mobilenet_v3_large",  # bilinear, 232 to 224
    ],
)
def test_input_equals_torchvisions_own(name: str, photo: Image.Image) -> None:
    with torch.device("meta"):  # the preprocessing is wanted, not the weights
        _, preprocessing = find_source(name, "torchvision").build(name, None, None, None)
    theirs = models.get_model_weights(name).DEFAULT.transforms()
    for image in both_ways(photo):
        assert torch.equal(EvalTransform(preprocessing)(image), theirs(image))


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv4_conv_small",  # bicubic
        "ghostnet_100",  # bilinear
        "dm_nfnet_f0",  # both sides squashed
    ],
)
def test_input_equals_timms_own(name: str, photo: Image.Image) -> None:
    with torch.device("meta"):
        network, preprocessing = find_source(name, "timm").build(name, None, None, None)
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    for image in both_ways(photo):
        assert torch.equal(EvalTransform(preprocessing)(image), theirs(image))


def test_another_size_keeps_the_share_that_is_cropped() -> None:
    assert Preprocessing(224, 256).at(112) == Preprocessing(112, 128)
    assert Preprocessing(224, 224, "squash").at(96) == Preprocessing(96, 96, "squash")


def test_normalise_of_a_batch_is_that_of_each_image() -> None:
    batch = torch.randint(0, 256, (3, 3, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    before = batch.clone()
    normal = normalise(batch, SMALL)
    assert normal.dtype == torch.float32
    assert torch.equal(batch, before)
    for index in range(3):
        assert torch.equal(normal[index], normalise(batch[index : index + 1], SMALL)[0])
    by_hand = (batch[1, 2, 3, 4].item() / 255 - SMALL.mean[2]) / SMALL.std[2]
    assert normal[1, 2, 3, 4].item() == pytest.approx(by_hand, abs=1e-6)


def palette_with_transparency() -> bytes:
    return saved(blocks().quantize(8), "PNG", transparency=2)


def sixteen_bit() -> bytes:
    ramp = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    return saved(Image.fromarray(ramp), "PNG")


@pytest.mark.parametrize(
    "make",
    [
        lambda: saved(blocks(), "JPEG"),
        lambda: saved(blocks().convert("L"), "PNG"),
        lambda: saved(blocks().convert("CMYK"), "JPEG"),
        lambda: saved(blocks().convert("RGBA").rotate(30), "PNG"),
        palette_with_transparency,
        sixteen_bit,
        lambda: turned(6),
        lambda: turned(2),
    ],
    ids=["jpeg", "grey", "cmyk", "transparent", "palette", "16-bit", "on its side", "mirrored"],
)
def test_a_path_bytes_and_an_open_image_give_one_input(tmp_path: Path, make: Callable[[], bytes]) -> None:
    # What a user passes at prediction must be what stage one saw.
    file = tmp_path / "picture"
    file.write_bytes(make())
    transform = EvalTransform(SMALL)
    from_path = transform(file)
    assert from_path.shape == (3, 24, 24)
    assert from_path.dtype == torch.float32
    assert torch.equal(transform(str(file)), from_path)
    assert torch.equal(transform(file.read_bytes()), from_path)
    assert torch.equal(transform(decode_image(file)), from_path)
    with Image.open(file) as opened:
        assert torch.equal(transform(opened), from_path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_ordinary_files_are_opened_and_decoded_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    loaded: list[int] = []
    real_open, real_load = Image.open, ImageFile.ImageFile.load

    def counting(*arguments: Any, **how: Any) -> Any:
        opened.append(1)
        return real_open(*arguments, **how)

    def loading(self: Any) -> Any:
        loaded.extend([1] * bool(self.tile))
        return real_load(self)

    data = saved(blocks(), kind)
    monkeypatch.setattr(Image, "open", counting)
    monkeypatch.setattr(ImageFile.ImageFile, "load", loading)
    decode_image(data)
    assert len(opened) == 1 and len(loaded) <= 1
