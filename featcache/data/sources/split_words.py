"""The split that the name of a file, or of a folder that it lies in, says: `train-00000-of-00002.parquet`."""

from __future__ import annotations

import re
from pathlib import Path

from featcache.data.sources.rows import SPLIT_NAMES
from featcache.records import Split


def split_said(file: Path, root: Path) -> Split | None:
    """The split of a file below `root`, by a word of its own name, else by a folder's name; None where none says it."""
    below = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
    words = [*re.split(r"[^a-z]+", file.name.lower()), *(part.lower() for part in reversed(below.parts[:-1]))]
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)
