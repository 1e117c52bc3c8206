"""A DICOM file becomes the values of its first frame, after its own window: what its maker meant to be seen.

Source: DICOM PS3.3, C.7.6.3 (pixels), C.11.1 (modality LUT, rescale), C.11.2 (VOI LUT, window).
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from featcache.data.file_formats import require_pydicom
from featcache.data.pillow_files import MAX_PIXELS, require_size
from featcache.data.sample_range import Samples

if TYPE_CHECKING:
    from pydicom import Dataset

DEFLATED = "1.2.840.10008.1.2.1.99"  # the transfer syntax whose whole data set is compressed
MAX_INFLATED = 8 * MAX_PIXELS  # bytes of such a data set


def read_dicom(data: bytes) -> tuple[Image.Image | Samples, int]:
    """The first frame, as an image where it has 8-bit colours, and how many frames there are.

    Raises MissingPackageError without pydicom, SizeError, ValueError and whatever else pydicom meets.
    """
    require_pydicom()
    from pydicom import dcmread
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    _require_bounded(data)
    dataset = dcmread(io.BytesIO(data))
    if "PixelData" not in dataset:
        raise ValueError("a DICOM file without pixels")
    frames = int(dataset.get("NumberOfFrames") or 1)
    require_size(int(dataset.Columns), int(dataset.Rows))
    values = pixel_array(dataset, index=0)
    _bring_up_frame_settings(dataset)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        values = values >> 8 if values.dtype.itemsize > 1 and bits > 8 else values
        return Image.fromarray(values[..., :3].astype(np.uint8)), frames
    if values.ndim == 3:
        if values.dtype == np.uint8:
            return Image.fromarray(values), frames
        return Samples(values, "RGB", _full(dataset)), frames
    return _grey(values, dataset), frames


def _grey(values: Any, dataset: Dataset) -> Samples:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    stored, values = values, apply_modality_lut(values, dataset)
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        shown = apply_voi_lut(values.astype(np.int64), dataset)
        return Samples(shown, "L", (0, 2**bits - 1), inverted)
    if dataset.get("WindowWidth") is not None and dataset.get("WindowCenter") is not None:
        ends = apply_voi_lut(np.array([-1e12, 1e12]), dataset)  # what the window makes black and white
        shown = apply_voi_lut(values, dataset).astype(np.float32)
        return Samples(shown, "L", (float(ends.min()), float(ends.max())), inverted)
    stated = _full(dataset)
    if stated is None and not dataset.get("ModalityLUTSequence"):  # the rescale moves values, and their range with them
        return Samples(stored, "L", None, inverted != (float(dataset.get("RescaleSlope") or 1) < 0))
    return Samples(values, "L", stated, inverted)


def _full(dataset: Dataset) -> tuple[float, float] | None:
    """The range of the bits that are in use, rescaled; None where all 16 may or may not be."""
    bits = int(dataset.BitsStored)
    if bits >= 16 or dataset.PixelRepresentation == 1 or dataset.get("ModalityLUTSequence"):
        return None
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    low, high = sorted((intercept, (2**bits - 1) * slope + intercept))
    return low, high


def _bring_up_frame_settings(dataset: Dataset) -> None:
    """Window and rescale of the first frame to where those of a file with one frame are."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (dataset.get(groups) or [])[:1]:
            for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for item in (group.get(name) or [])[:1]:
                    dataset.update(item)


def _require_bounded(data: bytes) -> None:
    """Raise ValueError for a compressed data set that would take the memory."""
    if DEFLATED.encode() not in data[:4096]:
        return
    if data[132:136] != b"\x02\0\0\0":
        raise ValueError("a compressed DICOM file without the length of its header")
    start = 144 + int.from_bytes(data[140:144], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflater.decompress(data[start:], MAX_INFLATED)
    if inflater.unconsumed_tail:
        raise ValueError(f"a compressed DICOM file of more than {MAX_INFLATED} bytes")
