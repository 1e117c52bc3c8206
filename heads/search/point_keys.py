"""A point of a space in, what tells it from others out: no two trials are trained at one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def point_key(params: Mapping[str, Any]) -> str:
    """Tells points apart: what trials are trained with."""
    return json.dumps(params, sort_keys=True)
