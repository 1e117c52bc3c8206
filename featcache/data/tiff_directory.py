"""The first directory of a TIFF file: whether reading it takes no more than its bytes say.

Source: TIFF 6.0 (Adobe, 1992), section 2.
"""

from __future__ import annotations

import struct

MAX_ENTRIES = 200
ENTRY = 12  # bytes: tag, type, count, value or where it lies
WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes of each type
COMPRESSION, PLANAR = 259, 284


def is_plain_tiff(data: bytes) -> bool:
    """Whether a file is a TIFF of one page, uncompressed, its colours side by side, whose directory says no more than
    the file has bytes: 65,000 entries may each have the whole file for their value."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 8:
        return False
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    if at + 2 > len(data):
        return False
    (entries,) = struct.unpack_from(f"{order}H", data, at)
    end = at + 2 + entries * ENTRY
    if not 0 < entries <= MAX_ENTRIES or end + 4 > len(data) or any(data[end : end + 4]):
        return False  # the last four bytes say where the next page is
    said = 0
    for place in range(at + 2, end, ENTRY):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, place)
        said += count * WIDTHS.get(kind, 8)
        if tag in {COMPRESSION, PLANAR} and struct.unpack_from(f"{order}H", data, place + 8) != (1,):
            return False
    return said <= len(data)


def count_pages(data: bytes) -> int:
    """How many pages a TIFF has, up to the first that is not in the file or comes again; Pillow's own count takes the
    square of their number in time."""
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    big = data[2:4] in {b"+\0", b"\0+"}
    number, offset, entry = ("Q", "Q", 20) if big else ("H", "I", ENTRY)
    head, link = struct.calcsize(f"{order}{number}"), struct.calcsize(f"{order}{offset}")
    (at,) = struct.unpack_from(f"{order}{offset}", data, 8 if big else 4)
    seen: set[int] = set()
    while at and at not in seen and at + head <= len(data):
        seen.add(at)
        (entries,) = struct.unpack_from(f"{order}{number}", data, at)
        end = at + head + entries * entry
        if end + link > len(data):
            break
        (at,) = struct.unpack_from(f"{order}{offset}", data, end)
    return max(1, len(seen))
