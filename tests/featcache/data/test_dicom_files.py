"""A DICOM file is shown after its own window, as a viewer shows it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from made_images import noise, ramp, saved
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
)

from featcache.data import file_formats
from featcache.data.image_files import decode_image, read_picture
from featcache.data.unreadable_image import UnreadableImageError
from featcache.records import Depth

TWELVE = ramp(20, 10, 4095)


def dicom(values: np.ndarray[Any, Any], syntax: Any = ExplicitVRLittleEndian, frames: int = 1, **further: Any) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3.4"
    bits = values.dtype.itemsize * 8
    colour = values.ndim == 3 and frames == 1
    dataset.Rows, dataset.Columns = values.shape[-2:] if not colour else values.shape[:2]
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes()
    for name, value in further.items():
        setattr(dataset, name, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def grey(data: bytes, integers: str | None = None) -> np.ndarray[Any, Any]:
    decoded = np.asarray(decode_image(data, Depth(integers)))
    assert np.array_equal(decoded[..., 0], decoded[..., 2])
    return decoded[..., 0].astype(int)


def test_the_bits_that_are_stored() -> None:
    shown = grey(dicom(TWELVE, BitsStored=12, HighBit=11))
    assert np.array_equal(shown, TWELVE.astype(int) * 255 // 4095)


def test_16_bits_in_use_or_not_are_shown_at_the_depth_of_the_data_set() -> None:
    data = dicom(TWELVE)
    assert np.array_equal(grey(data), TWELVE // 257)
    assert np.array_equal(grey(data, "12"), TWELVE.astype(int) * 255 // 4095)


def test_low_is_white_in_monochrome1() -> None:
    shown = grey(dicom(TWELVE, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(shown, 255 - TWELVE.astype(int) * 255 // 4095)


def test_a_window_in_rescaled_units() -> None:
    """A CT slice: stored 0 to 4095 is -1024 to 3071 Hounsfield units, shown from -160 to 240."""
    units = np.array([[-1024, -161, 40, 239, 240, 3071]])
    data = dicom(
        (units + 1024).astype("<u2"),
        BitsStored=12,
        HighBit=11,
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=40,
        WindowWidth=400,
    )
    # PS3.3 C.11.2.1.2: ((x - (c - 0.5)) / (w - 1) + 0.5) of the range
    expected = np.clip((units - 39.5) / 399 + 0.5, 0, 1) * 255
    assert np.abs(grey(data) - expected).max() <= 1
    assert grey(data)[0, [0, -1]].tolist() == [0, 255]


def test_the_first_of_several_windows_of_signed_values() -> None:
    values = np.array([[-100, 0, 99, 100]], "<i2")
    data = dicom(values, WindowCenter=[0, 500], WindowWidth=[201, 10], BitsStored=16)
    expected = np.clip((values + 0.5) / 200 + 0.5, 0, 1) * 255
    assert np.abs(grey(data) - expected).max() <= 1


def test_a_window_without_a_width_is_none() -> None:
    data = dicom(TWELVE, BitsStored=12, HighBit=11, WindowCenter=0, WindowWidth=0)
    assert np.array_equal(grey(data), TWELVE.astype(int) * 255 // 4095)


@pytest.mark.parametrize(("syntax", "kind"), [(JPEGBaseline8Bit, "JPEG"), (JPEG2000Lossless, "JPEG2000")])
def test_pixels_compressed_as_a_picture(syntax: Any, kind: str) -> None:
    image = noise(64, 48, 1)
    file = saved(image, kind, **({"quality": 95} if kind == "JPEG" else {"no_jp2": True}))
    data = dicom(np.asarray(image), syntax, PixelData=encapsulate([file]))
    assert np.abs(grey(data) - np.asarray(image).astype(int)).max() <= (8 if kind == "JPEG" else 0)


def test_signed_values_without_a_window_have_no_range() -> None:
    data = dicom(np.array([[-100, 0, 100]], "<i2"), RescaleSlope=1, RescaleIntercept=0)
    with pytest.raises(UnreadableImageError, match="-100 to 100"):
        decode_image(data)
    assert grey(data, "minmax").tolist() == [[0, 127, 255]]


def test_a_lookup_table_of_values() -> None:
    table = Dataset()
    table.LUTDescriptor = [4, 0, 8]
    table.add_new("LUTData", "US", [255, 0, 128, 7])
    data = dicom(np.array([[0, 1, 2, 3]], "<u2"), VOILUTSequence=[table], BitsStored=8, HighBit=7)
    assert grey(data).tolist() == [[255, 0, 128, 7]]


def test_the_window_of_an_enhanced_file() -> None:
    window, group = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 500, 1001
    group.FrameVOILUTSequence = [window]
    frames = np.stack([np.array([[0, 500, 1000]], "<u2"), np.array([[9, 9, 9]], "<u2")])
    picture = read_picture(dicom(frames, frames=2, SharedFunctionalGroupsSequence=[group]))
    assert picture.pages == 2
    assert np.abs(np.asarray(picture.image)[0, :, 0].astype(int) - [0, 128, 255]).max() <= 1


def test_colours() -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    assert np.array_equal(np.asarray(decode_image(dicom(values))), values)


def test_a_palette() -> None:
    entries = {
        f"{c}PaletteColorLookupTable{part}": value
        for c, colour in (("Red", [10, 200]), ("Green", [20, 100]), ("Blue", [30, 50]))
        for part, value in (("Descriptor", [2, 0, 16]), ("Data", (np.array(colour, "<u2") * 257).tobytes()))
    }
    data = dicom(np.array([[0, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR", **entries)
    assert np.asarray(decode_image(data)).tolist() == [[[10, 20, 30], [200, 100, 50]]]


def test_a_compressed_data_set() -> None:
    shown = grey(dicom(TWELVE, DeflatedExplicitVRLittleEndian, BitsStored=12, HighBit=11))
    assert np.array_equal(shown, TWELVE.astype(int) * 255 // 4095)


def test_a_compressed_data_set_that_would_take_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.data.dicom_files.MAX_INFLATED", 1000)
    with pytest.raises(UnreadableImageError, match="more than 1000 bytes"):
        read_picture(dicom(np.zeros((100, 100), "<u2"), DeflatedExplicitVRLittleEndian), timeout_s=None)


def test_a_compressed_data_set_after_a_long_header_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcache.data.dicom_files.MAX_INFLATED", 100)
    data = dicom(TWELVE, DeflatedExplicitVRLittleEndian)
    version = b"\x02\0\x01\0OB\0\0" + (8000).to_bytes(4, "little") + bytes(8000)
    at = data.index(b"\x02\0\x01\0OB")
    size = 8000 - 2 + int.from_bytes(data[140:144], "little")
    long = data[:140] + size.to_bytes(4, "little") + version + data[at + 14 :]
    with pytest.raises(UnreadableImageError, match="more than 100 bytes"):
        read_picture(long, timeout_s=None)


def test_limits_hold_before_anything_is_decoded() -> None:
    data = dicom(np.zeros((2, 2), np.uint8), Rows=60_000, Columns=60_000)
    with pytest.raises(UnreadableImageError, match="60000 x 60000 = 3600000000 pixels"):
        decode_image(data)
    with pytest.raises(UnreadableImageError, match="narrow"):
        decode_image(dicom(np.zeros((1, 500), np.uint8)))


def test_no_pixels_and_too_few() -> None:
    with pytest.raises(UnreadableImageError, match="without pixels"):
        decode_image(b"\0" * 128 + b"DICM" + dicom(TWELVE)[132:330])
    with pytest.raises(UnreadableImageError):
        decode_image(dicom(TWELVE)[:-100])


def test_without_pydicom_the_reason_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(file_formats.importlib, "import_module", missing)
    monkeypatch.setattr(file_formats, "installed", lambda packages: {})
    with pytest.raises(
        UnreadableImageError, match=r"pydicom, which is not installed: pip install 'featcache\[dicom\]'"
    ):
        read_picture(dicom(TWELVE), timeout_s=None)
