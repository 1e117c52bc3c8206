"""The seal: a digest of the whole file in its first 512 bytes, so that any flipped byte is found.

HDF5's own checksums leave gaps (names, attributes, unused space). The format allows a block of the user's own before
its data, and skips it; the seal is plain text there: `head -c 512 FILE` shows it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

BLOCK = 512  # bytes: the smallest user block that HDF5 knows
_READ = 1 << 20


def seal(file: Path) -> None:
    """Write the seal of a closed file."""
    with file.open("r+b") as target:
        block = _block(target)
        target.seek(0)
        target.write(block)


def is_whole(file: Path) -> bool:
    """Every byte of the file is what it was when it was sealed."""
    with file.open("rb") as source:  # opened once: another process may put a new file in its place
        return source.read(BLOCK) == _block(source)


def _block(source: BinaryIO) -> bytes:
    value = hashlib.sha256()
    source.seek(BLOCK)
    while piece := source.read(_READ):
        value.update(piece)
    text = f"featcache store, sha256 of all bytes after these {BLOCK}: {value.hexdigest()}\n"
    return text.encode().ljust(BLOCK, b"\0")
