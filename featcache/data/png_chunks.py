"""The chunks of a PNG file: what they say of the values, and the file without those that only describe it.

Source: W3C, Portable Network Graphics (PNG) Specification, Third Edition.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DESCRIBING = {b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf"}  # of no pixel; eXIf at most turns the picture


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, body and the whole chunk of each, as far as they go; the last one may be cut short."""
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size], data[at : at + 12 + size]
        at += 12 + size


def significant_bits(data: bytes) -> int | None:
    """The most bits that sBIT says a colour had, alpha aside; None where there is no such chunk."""
    for kind, body, _ in chunks(data):
        if kind == b"sBIT" and body:
            return max(body[:-1] if len(body) in {2, 4} else body)
        if kind == b"IDAT":
            return None
    return None


def without_broken(data: bytes) -> tuple[bytes, list[str]]:
    """The file without the optional chunks whose checksums are wrong, which every viewer passes over; their names."""
    return _without(data, lambda _, whole: not _sound(whole))


def without_descriptions(data: bytes) -> tuple[bytes, list[str]]:
    """The file without texts, colour profile and EXIF; the names of what was left out."""
    return _without(data, lambda kind, _: kind in DESCRIBING)


def _without(data: bytes, unwanted: Callable[[bytes, bytes], bool]) -> tuple[bytes, list[str]]:
    kept, dropped = [SIGNATURE], []
    for kind, _, whole in chunks(data):
        if kind[:1].islower() and unwanted(kind, whole):
            dropped.append(kind.decode("latin-1"))
        else:
            kept.append(whole)
    return b"".join(kept), sorted(set(dropped))


def _sound(whole: bytes) -> bool:
    return zlib.crc32(whole[4:-4]) == int.from_bytes(whole[-4:], "big")
