"""The chunks of a PNG file: what they say of the values, and the file without those that only describe it.

Source: W3C, Portable Network Graphics (PNG) Specification, Third Edition.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"IEND\xaeB`\x82"
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


def breaks_off(data: bytes) -> bool:
    """Whether a PNG's end is missing and the rest is as it was written. Where the end is there, or a checksum is wrong,
    bytes were changed, and from there on the pixels are other ones."""
    found = [(kind, whole) for kind, _, whole in chunks(data)]
    ended = data.endswith(END) or any(kind == b"IEND" for kind, _ in found)
    return not ended and all(_sound(whole) for _, whole in found if _is_whole(whole))


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


def _is_whole(chunk: bytes) -> bool:
    return len(chunk) == 12 + int.from_bytes(chunk[:4], "big")


def _sound(whole: bytes) -> bool:
    return zlib.crc32(whole[4:-4]) == int.from_bytes(whole[-4:], "big")
