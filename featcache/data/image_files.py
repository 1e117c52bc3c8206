"""An image file becomes upright 8-bit RGB pixels, or the reason why it cannot be read."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import PIL
from PIL import ExifTags, Image, ImageCms

from featcache.counted_nouns import counted
from featcache.data.dicom_files import read_dicom
from featcache.data.file_formats import HEAD_BYTES, MissingPackageError, is_dicom
from featcache.data.guarded_decoding import DECODE_TIMEOUT_S, is_suspect, within_limits
from featcache.data.high_bits import FULL, colour_samples, grey_samples, has_high_bits, may_state_range
from featcache.data.pillow_files import Loaded, SizeError, load_image, open_image
from featcache.data.png_chunks import SIGNATURE, without_broken, without_descriptions
from featcache.data.sample_range import NoRangeError, Samples, to_8_bit
from featcache.data.tiff_directory import count_pages
from featcache.data.tiff_layouts import SIGNATURES as TIFF_SIGNATURES
from featcache.data.tiff_layouts import is_garbled, is_tiff, read_tiff
from featcache.data.truncated_files import MAX_MISSING, read_truncated
from featcache.data.unreadable_image import UnreadableImageError
from featcache.records import PLAIN_DEPTH, Depth

TURNED = {  # EXIF's orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

MAX_REASON = 160  # characters of what a library says

POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")  # what an EPS file begins with, without a preview and with one
PAGED = {"PNG", "WEBP", "AVIF", "HEIF"}  # a camera's MPO has previews beside its picture, no pages


@dataclass(frozen=True, eq=False)
class Picture:
    """What could be read of a file."""

    image: Image.Image  # upright, 8-bit RGB
    pages: int = 1  # or frames; this is the first
    repaired: str = ""  # what of the file is broken, and was read in spite of it
    truncated: bool = False  # some of the file is missing at its end


def decode_image(source: str | Path | bytes, depth: Depth = PLAIN_DEPTH) -> Image.Image:
    """The image in a file (or its bytes) as upright 8-bit RGB, as `read_picture` reads it."""
    return read_picture(source, depth).image


def read_picture(
    source: str | Path | bytes, depth: Depth = PLAIN_DEPTH, timeout_s: float | None = DECODE_TIMEOUT_S
) -> Picture:
    """The image in a file (or its bytes), and what is to be said of it; docs/images.md has every rule.

    The content decides the format, not the name. The first frame or page; EXIF orientation applied; transparency on
    white; more than 8 bits by what the file says of their range, else by `depth`; CMYK, LAB, grey and palette
    converted. What is broken without touching the pixels is passed over; up to 5% of them may be missing. Raises
    UnreadableImageError, GivenUpError after `timeout_s` seconds (None: it may take any time, and memory).
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    if timeout_s is None or not is_suspect(data):
        return _picture(data, depth)
    return within_limits(_picture, (data, depth), timeout_s)


def _picture(data: bytes, depth: Depth) -> Picture:
    with _reasons():
        values = _read_otherwise(data)
        if values is not None:
            return Picture(to_rgb(_shown(values[0], depth)), values[1])
        loaded, repaired, truncated = _load(data)
        orientation, broken_exif = _orientation(loaded.image)
        samples = _samples(loaded, depth)
        image = to_rgb(_turned(_shown(samples or loaded.image, depth), orientation))
        said = "; ".join(r for r in (repaired, broken_exif) if r)
        return Picture(image, _pages(loaded), said, truncated)


def read_samples(data: bytes, timeout_s: float | None = DECODE_TIMEOUT_S) -> Samples | None:
    """The values of a file's image, where they have more than 8 bits; raises as `read_picture` does."""
    if timeout_s is None or not is_suspect(data):
        return _high_samples(data)
    return within_limits(_high_samples, (data,), timeout_s)


def _high_samples(data: bytes) -> Samples | None:
    with _reasons():
        values = _read_otherwise(data)
        if values is not None:
            return values[0] if isinstance(values[0], Samples) else None
        with contextlib.suppress(Exception):  # what is broken is looked at when it is repaired
            if not has_high_bits(open_image(data)):
                return None  # its header says so: no pixel is decoded
        loaded, _, _ = _load(data)
        return grey_samples(loaded.image, loaded.data) or colour_samples(loaded)


def picture_of(image: Image.Image, depth: Depth = PLAIN_DEPTH) -> Image.Image:
    """An open Pillow image as upright 8-bit RGB. Its file's sBIT, and the lower bytes of 16-bit colours, are not in it:
    decode the file where these matter. Raises UnreadableImageError."""
    with _reasons():
        return to_rgb(_turned(_shown(grey_samples(image) or image, depth), _orientation(image)[0]))


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB of whatever mode of 8 bits, and pixels alone: an orientation that came with them would turn them again."""
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    rgb = _lab_to_rgb(image) if image.mode == "LAB" else image.convert("RGB")
    rgb.info = {}
    return rgb


@contextlib.contextmanager
def _reasons() -> Iterator[None]:
    """Whatever goes wrong inside is the reason why an image cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; what matters raises
            yield
    except (UnreadableImageError, MemoryError):
        raise
    except (SizeError, NoRangeError, MissingPackageError) as error:
        raise UnreadableImageError(str(error)) from None
    except Exception as error:  # the formats' parsers raise whatever they meet
        said = " ".join(str(error).split())  # some say it in several lines, with advice to who builds them
        said = said if len(said) <= MAX_REASON else f"{said[: MAX_REASON - 3]}..."
        raise UnreadableImageError(f"{type(error).__name__}: {said}" if said else type(error).__name__) from None


def _read_otherwise(data: bytes) -> tuple[Image.Image | Samples, int] | None:
    """What Pillow has no mode for, and its pages; None where Pillow reads the file."""
    if is_dicom(data[:HEAD_BYTES]):
        return read_dicom(data)
    if is_tiff(data):
        try:
            image = open_image(data)
        except PIL.UnidentifiedImageError:
            return read_tiff(data)
        if is_garbled(image):
            return read_tiff(data)
    return None


def _load(data: bytes) -> tuple[Loaded, str, bool]:
    """The image with its pixels, what had to be passed over, and whether some of the file is missing."""
    if not data:
        raise UnreadableImageError("empty file")
    if data.startswith(POSTSCRIPT):  # Pillow would hand it to Ghostscript where that is installed, and it runs it
        raise UnreadableImageError("an EPS file: a program in PostScript, which is not run")
    try:
        return load_image(data), "", False
    except (SizeError, MissingPackageError, MemoryError, Image.DecompressionBombError):
        raise
    except Exception as error:  # the plugins raise whatever the format's parser meets
        found = _repaired(data)
        if found is None:
            if isinstance(error, PIL.UnidentifiedImageError) and data.startswith(TIFF_SIGNATURES):
                raise UnreadableImageError("a TIFF whose directory is not in it: cut short, or damaged") from None
            if isinstance(error, PIL.UnidentifiedImageError):
                raise UnreadableImageError(f"not an image that Pillow knows ({counted(len(data), 'byte')})") from None
            raise
        return found


def _repaired(data: bytes) -> tuple[Loaded, str, bool] | None:
    said = []
    if data.startswith(SIGNATURE):
        for without in (without_broken, without_descriptions):
            data, dropped = without(data)
            if dropped:
                said.append(f"its {', '.join(dropped)} cannot be read: passed over")
                with contextlib.suppress(Exception):
                    return load_image(data), "; ".join(said), False
    found = None
    with contextlib.suppress(Exception):
        found = read_truncated(data)
    if found is None:
        return None
    loaded, missing = found
    if missing > MAX_MISSING:
        raise UnreadableImageError(
            f"truncated or damaged: {missing:.1%} of its pixels are missing, more than the {MAX_MISSING:.0%} that are "
            "passed over"
        )
    said.append(f"its end is missing, and with it {missing:.1%} of its pixels")
    return loaded, "; ".join(said), True


def _samples(loaded: Loaded, depth: Depth) -> Samples | None:
    """The values of an image of more than 8 bits; of colours only where they may not fill all 16."""
    samples = grey_samples(loaded.image, loaded.data)
    if samples is not None:
        return samples
    full = depth.integers in {None, "16"}
    if full and not may_state_range(loaded):
        return None  # Pillow's upper bytes are right
    samples = colour_samples(loaded)
    if samples is None or samples.stated == FULL or (samples.stated is None and full):
        return None
    return samples


def _shown(found: Image.Image | Samples, depth: Depth) -> Image.Image:
    return to_8_bit(found, depth) if isinstance(found, Samples) else found


def _orientation(image: Image.Image) -> tuple[int, str]:
    """EXIF's orientation, and what is to be said where it cannot be read."""
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return 1, ""  # the codestream has an orientation of its own, which was applied, and EXIF's is void
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1)), ""
    except Exception:  # parsers of metadata raise whatever they meet
        return 1, "its EXIF cannot be read: shown as it is stored"


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNED[orientation]) if orientation in TURNED else image


def _pages(loaded: Loaded) -> int:
    """How many pages or frames the file has, as far as they can be counted."""
    image = loaded.image
    if image.format == "TIFF":
        return count_pages(loaded.data)
    if image.format == "GIF":  # counting moves through the file
        with contextlib.suppress(Exception), Image.open(io.BytesIO(loaded.data)) as again:
            return int(getattr(again, "n_frames", 1))
        return 1
    return int(getattr(image, "n_frames", 1)) if image.format in PAGED else 1


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # in place only where asked for
    return converted
