"""Whether the files of a run's folder are its own: one from a stranger may link to any file here."""

from __future__ import annotations

import os
from pathlib import Path

from featcache.errors import RunError


def require_own_files(folder: Path) -> None:
    """Raise RunError where something in `folder` is a link that leads out of it. The folder itself may be a link."""
    try:
        with os.scandir(folder) as entries:
            links = [entry.path for entry in entries if entry.is_symlink()]
    except OSError:
        return  # whoever reads it says so
    home = folder.resolve()
    for path in sorted(links):
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(home):
            raise RunError(
                f"{folder}: its {Path(path).name} is a link to {target}, outside of the run. Expected files of its "
                "own; nothing was read. Put a copy in the place of the link where you trust it."
            )
