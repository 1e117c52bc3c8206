"""Whether a file of numpy arrays (.npz) holds what it says, before any of it is in memory."""

from __future__ import annotations

import math
import zipfile
from typing import IO, BinaryIO

import numpy as np

MAX_INFLATED = 2 << 30  # bytes of all compressed arrays together; what is stored as it is cannot be more than the file


def require_bounded(stream: BinaryIO) -> None:
    """Raise ValueError where the archive in `stream` would take more memory than its arrays need: 1 MB inflates to
    1 GB, and 100 bytes can say that they are a terabyte; or where an array is of objects, which are a pickle."""
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            inflated = sum(one.file_size for one in members if one.compress_type != zipfile.ZIP_STORED)
            if inflated > MAX_INFLATED:
                raise ValueError(f"its arrays inflate to {inflated} bytes, more than {MAX_INFLATED}")
            for one in members:
                with archive.open(one) as member:
                    _require_whole(member, one)
    except zipfile.BadZipFile as error:
        raise ValueError(f"is no archive of arrays ({error})") from None
    finally:
        stream.seek(0)


def _require_whole(member: IO[bytes], one: zipfile.ZipInfo) -> None:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    if dtype.hasobject:
        raise ValueError(f"{one.filename} holds objects, which would run code when they are read")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > one.file_size:
        raise ValueError(f"{one.filename} says that it has the shape {list(shape)}, and has {one.file_size} bytes")
