"""The split that the name of a file, or of a folder that it lies in, says: `train-00000-of-00002.parquet`."""

from __future__ import annotations

import re
from pathlib import Path

from featcache.data.sources.rows import SPLIT_NAMES
from featcache.records import Split


def split_said(file: Path, root: Path) -> Split | None:
    """The split of a file below `root`, by the words of its own name, else of its folders'; None where none says it."""
    below = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
    for part in reversed(below.parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return None
