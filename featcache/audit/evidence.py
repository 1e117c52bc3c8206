"""What a finding is made from: the images of a data set, what backbones see of them, and which are copies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.records import Manifest
from featcache.separability import Ints

Features = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Evidence:
    """N images that can be read, in the manifest's order."""

    manifest: Manifest
    features: Features  # backbone -> [N, F]; empty where only content hashes were compared
    copies: Ints  # [N], the same number for images that are copies of each other
