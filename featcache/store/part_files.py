"""Committed rows that are not in the HDF5 file yet: small archives, synced, then renamed.

HDF5 has no journal, so rows are safe here first. Each archive member has its own checksum.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.array_archives import require_bounded
from featcache.atomic import make_folder, replacing

log = logging.getLogger("featcache")

MALFORMED = (ValueError, KeyError, EOFError, OSError, IndexError, NotImplementedError)
Features = NDArray[Any]  # float16 or float32


@dataclass(frozen=True)
class Part:
    """Rows of one spec: features `[n, F]`, or `[n, V-1, F]` where `spec` is not ""."""

    spec: str
    sha256: tuple[str, ...]
    features: Features


class Parts:
    """The folder of parts beside a store's file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = 0

    def write(self, spec: str, sha256: Sequence[str], features: Features) -> None:
        """These rows survive a kill or a power cut from here on."""
        make_folder(self.folder)
        archive = io.BytesIO()  # numpy would seek in the file
        np.savez(archive, sha256=hash_bytes(sha256), features=features)
        # Base rows sort first: "base" has a smaller leading digit than any spec.
        name = f"{1 if spec else 0}-{spec or 'base'}-{os.getpid()}-{self._number:08d}.npz"
        with replacing(self.folder / name) as temporary:
            temporary.write_bytes(archive.getvalue())
        self._number += 1

    def files(self) -> list[Path]:
        """Every part, base rows first."""
        return sorted(self.folder.glob("*.npz")) if self.folder.is_dir() else []

    def read(self) -> Iterator[Part]:
        """The parts one by one; one that a power cut left torn is passed over: its rows are extracted again."""
        return self.read_of(self.files())

    def read_of(self, files: Sequence[Path]) -> Iterator[Part]:
        """Those in these files."""
        for file in files:
            part = read_part(file)
            if part is not None:
                yield part
            else:
                log.warning("%s: torn, as by a power cut; its rows are extracted again", file)

    def clear(self, files: Sequence[Path]) -> None:
        """These are in the file now, or torn."""
        for file in files:
            file.unlink(missing_ok=True)
        if not self.files():
            shutil.rmtree(self.folder, ignore_errors=True)


def spec_of(file: Path) -> str:
    """The spec of a part, by its name."""
    spec = file.name.split("-")[1]
    return "" if spec == "base" else spec


def hash_bytes(hashes: Sequence[str]) -> NDArray[np.uint8]:
    """Content hashes as `[N, 32]`."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8).reshape(-1, 32)


def read_part(file: Path) -> Part | None:
    """A part's rows; None when it is torn or damaged. Raises OSError where the disk gives no answer."""
    data = file.read_bytes()
    try:
        # From memory: numpy leaves a file open when its archive is torn.
        require_bounded(io.BytesIO(data))
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            hashes = tuple(row.tobytes().hex() for row in archive["sha256"])
            return Part(spec_of(file), hashes, archive["features"])
    except (zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, *MALFORMED):
        return None


def is_torn(file: Path) -> bool:
    """Whether a part's rows are lost."""
    try:
        return read_part(file) is None
    except FileNotFoundError:  # folded in this moment
        return False
    except OSError:
        return True
