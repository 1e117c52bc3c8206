"""Text as it may stand in a CSV that somebody opens in a spreadsheet."""

from __future__ import annotations

import math

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what makes a cell a formula (OWASP, CSV injection)


def inert(text: str) -> str:
    """`text` so that no spreadsheet runs it: behind an apostrophe where it would be a formula, and is no number."""
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) or text.lstrip("+-").lower() in {"inf", "nan"}
    except ValueError:
        return False
