"""A DICOM file becomes the values of its first frame, after its own window: what its maker meant to be seen.

Source: DICOM PS3.3, C.7.6.3 (pixels), C.11.1 (modality LUT, rescale), C.11.2 (VOI LUT, window).
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcache.data.file_formats import require_pydicom
from featcache.data.pillow_files import MAX_PIXELS, require_size
from featcache.data.sample_range import BLOCK_VALUES, Samples

if TYPE_CHECKING:
    from pydicom import Dataset

DEFLATED = "1.2.840.10008.1.2.1.99"  # the transfer syntax whose whole data set is compressed
DEFLATED_SYNTAX = re.compile(rb"\x02\0\x10\0UI..\s*" + re.escape(DEFLATED.encode()), re.DOTALL)  # its element
MAX_INFLATED = 3 * MAX_PIXELS  # bytes of such a data set, of which pydicom keeps copies


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
        return Samples(values, "RGB", _stored_range(dataset)), frames
    return _grey(values, dataset), frames


def _grey(values: NDArray[Any], dataset: Dataset) -> Samples:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        shown = _by_rows(values, lambda v: apply_voi_lut(apply_modality_lut(v, dataset).astype(np.int64), dataset))
        return Samples(shown, "L", (0, 2**bits - 1), inverted)
    if _has_window(dataset):
        ends = apply_voi_lut(np.array([-1e12, 1e12]), dataset)  # what the window makes black and white
        shown = _by_rows(values, lambda v: apply_voi_lut(apply_modality_lut(v, dataset), dataset))
        return Samples(shown, "L", (float(ends.min()), float(ends.max())), inverted)
    if dataset.get("ModalityLUTSequence"):
        return Samples(apply_modality_lut(values, dataset), "L", None, inverted)
    # The rescale moves values and their range alike, but for its sign.
    return Samples(values, "L", _stored_range(dataset), inverted != (float(dataset.get("RescaleSlope") or 1) < 0))


def _has_window(dataset: Dataset) -> bool:
    """Whether there is a window that shows anything: some writers leave its width at 0."""
    if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
        return False
    widths = dataset["WindowWidth"]
    return float(widths.value[0] if widths.VM > 1 else widths.value) >= 1


def _by_rows(values: NDArray[Any], change: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[np.float32]:
    """Every value changed, a few rows at a time: on the way they are twice and four times as wide."""
    shown = np.empty(values.shape, np.float32)
    rows = max(1, BLOCK_VALUES // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        shown[start : start + rows] = change(values[start : start + rows])
    return shown


def _stored_range(dataset: Dataset) -> tuple[float, float] | None:
    """The range of the bits that are in use; None where all 16 may or may not be."""
    bits = int(dataset.BitsStored)
    return None if bits >= 16 or dataset.PixelRepresentation == 1 else (0, 2**bits - 1)


def _bring_up_frame_settings(dataset: Dataset) -> None:
    """Window and rescale of the first frame to where those of a file with one frame are."""
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (dataset.get(groups) or [])[:1]:
            for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for item in (group.get(name) or [])[:1]:
                    dataset.update(item)


def _require_bounded(data: bytes) -> None:
    """Raise ValueError for a compressed data set that would take the memory."""
    if not DEFLATED_SYNTAX.search(data):
        return
    if data[132:136] != b"\x02\0\0\0":
        raise ValueError("a compressed DICOM file without the length of its header")
    start = 144 + int.from_bytes(data[140:144], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflater.decompress(data[start:], MAX_INFLATED)
    if inflater.unconsumed_tail:
        raise ValueError(f"a compressed DICOM file of more than {MAX_INFLATED} bytes")
