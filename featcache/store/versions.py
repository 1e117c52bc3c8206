"""Versions of the packages, and the time: what made a file, for whoever wonders later."""

from __future__ import annotations

import datetime
import platform
from functools import cache
from importlib.metadata import version
from typing import Any

PACKAGES = ("featcache", "torch", "torchvision", "timm", "h5py", "numpy", "pillow", "scikit-learn", "fvcore")


def provenance() -> dict[str, Any]:
    """When, on what system, with which versions."""
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": dict(_versions()),
    }


@cache  # each is read from files, and every run and store asks
def _versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}
