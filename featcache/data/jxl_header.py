"""The size of a JPEG XL image, read before anything is decoded: the plugin decodes as soon as it opens.

Source: ISO/IEC 18181-1, SizeHeader (a codestream begins with it), and 18181-2, the boxes of the container.
"""

from __future__ import annotations

from featcache.data.file_formats import JXL_CONTAINER

CODESTREAM = b"\xff\x0a"
RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}  # width to height
BITS = (9, 13, 18, 30)  # a length has one of these


def jxl_size(data: bytes) -> tuple[int, int]:
    """Width and height; raises ValueError where there is no header."""
    stream = _codestream(data)
    if not stream.startswith(CODESTREAM):
        raise ValueError("a JPEG XL file without an image")
    bits = _Bits(stream[2:])
    small = bits.take(1)
    height = _length(bits, small)
    ratio = bits.take(3)
    if ratio:
        a, b = RATIOS[ratio]
        return height * a // b, height
    return _length(bits, small), height


class _Bits:
    """Bits, the lowest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:16], "little")

    def take(self, count: int) -> int:
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        return value


def _length(bits: _Bits, small: int) -> int:
    if small:
        return 8 * (bits.take(5) + 1)
    return bits.take(BITS[bits.take(2)]) + 1


def _codestream(data: bytes) -> bytes:
    """The beginning of the codestream, bare or in its box."""
    if not data.startswith(JXL_CONTAINER):
        return data[:32]
    at = 0
    while at + 16 <= len(data):
        size, kind, body = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, body = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        if kind == b"jxlc":
            return data[body : body + 32]
        if kind == b"jxlp":  # one of several parts, after its number
            return data[body + 4 : body + 36]
        if size < 8:  # to the end of the file, or no box at all
            break
        at += size
    return b""
