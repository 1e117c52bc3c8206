"""Packages that a pack carries: they come last on the path, behind the machine's own, so that nothing is replaced."""

from __future__ import annotations

import os
import sys
import tempfile
import zipfile
from pathlib import Path

ARCHIVE = "packages.zip"
VARIABLE = "FEATCACHE_CARRIED_PACKAGES"


def unpack(root: Path) -> Path | None:
    """Where the carried packages lie unpacked: beside their archive, or where that cannot be written in a temporary
    folder; None in a checkout, which carries none."""
    archive = root / ARCHIVE
    if not archive.is_file():
        return None
    target = root / "packages"
    try:
        target.mkdir(exist_ok=True)
        (target / ".written").touch()
    except OSError:
        target = Path(tempfile.mkdtemp(prefix="gpu-proof-"))
    with zipfile.ZipFile(archive) as packed:
        if len(list(target.rglob("*"))) < len(packed.namelist()):
            packed.extractall(target)
    return target


def append_carried() -> None:
    """For a process that the proof started."""
    carried = os.environ.get(VARIABLE)
    if carried and carried not in sys.path:
        sys.path.append(carried)
