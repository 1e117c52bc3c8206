"""One stage of a network, as its authors drew it: parameters that stand together."""

from __future__ import annotations

import re
from dataclasses import dataclass

STEM = "stem"
LETTERED = re.compile(r".*\d[a-z]$")  # Mixed_5b, inception4a


@dataclass(frozen=True)
class Stage:
    """Parameters that train together, by their names in the network."""

    name: str
    parameters: tuple[str, ...]
