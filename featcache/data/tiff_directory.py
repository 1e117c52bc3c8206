"""The first directory of a TIFF file: whether reading it takes no more than its bytes say.

Source: TIFF 6.0 (Adobe, 1992), section 2.
"""

from __future__ import annotations

import struct

MAX_ENTRIES = 200
ENTRY = 12  # bytes: tag, type, count, value or where it lies
WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes of each type
BITS, COMPRESSION, STRIP_BYTES, PLANAR, TILE_WIDTH = 258, 259, 279, 284, 322
NONE = 1  # compressions
BY_BYTES = {NONE, 5, 8, 32773, 32946}  # LZW, deflate (twice) and PackBits too, which go over the bytes of a strip once
MAX_CHANNELS = 4

Entries = dict[int, tuple[int, int, int]]  # tag -> type, count, and where the value or its place lies


def is_bounded_tiff(data: bytes) -> bool:
    """Whether a file is a TIFF of one page in strips, whose colours lie side by side, and decoding it takes no more
    than its pixels and bytes say: 65,000 entries may each have the whole file for their value, and so may each strip
    of compressed rows; a tile may be larger than the image, and a JPEG within has scans."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    entries = _only_page(data, order) if order is not None else None
    if order is None or entries is None or TILE_WIDTH in entries:
        return False
    said = sum(count * WIDTHS.get(kind, 8) for kind, count, _ in entries.values())
    if said > len(data) or (BITS in entries and entries[BITS][1] > MAX_CHANNELS):
        return False
    if PLANAR in entries and _values(data, order, entries[PLANAR]) != (1,):
        return False
    compression = _values(data, order, entries[COMPRESSION]) if COMPRESSION in entries else (NONE,)
    if len(compression) != 1 or compression[0] not in BY_BYTES:
        return False
    if compression[0] == NONE:
        return True
    sizes = _values(data, order, entries[STRIP_BYTES]) if STRIP_BYTES in entries else ()
    return bool(sizes) and min(sizes) > 0 and sum(sizes) <= len(data)


def _only_page(data: bytes, order: str) -> Entries | None:
    """The entries of a file's directory; None where it is not whole, has a tag twice, or is not the only one."""
    if len(data) < 8:
        return None
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    if at + 2 > len(data):
        return None
    (number,) = struct.unpack_from(f"{order}H", data, at)
    end = at + 2 + number * ENTRY
    if not 0 < number <= MAX_ENTRIES or end + 4 > len(data) or any(data[end : end + 4]):
        return None  # the last four bytes say where the next page is
    found: Entries = {}
    for place in range(at + 2, end, ENTRY):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, place)
        found[tag] = kind, count, place + 8
    return found if len(found) == number else None


def _values(data: bytes, order: str, entry: tuple[int, int, int]) -> tuple[int, ...]:
    """The values of an entry of 16 or 32 bits; none of another, or where the file ends before them."""
    kind, count, at = entry
    code = {3: "H", 4: "I"}.get(kind)
    if code is None:
        return ()
    size = count * WIDTHS[kind]
    if size > 4:
        (at,) = struct.unpack_from(f"{order}I", data, at)
    return struct.unpack_from(f"{order}{count}{code}", data, at) if at + size <= len(data) else ()


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
