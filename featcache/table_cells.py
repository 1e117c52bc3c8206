"""Text as it may stand in a CSV that somebody opens in a spreadsheet, or shows in a terminal."""

from __future__ import annotations

import math
from unicodedata import category

FORMULA = ("=", "+", "-", "@")  # what makes a cell a formula (OWASP, CSV injection)


def inert(text: str) -> str:
    """`text` so that no spreadsheet runs it, behind an apostrophe where it would be a formula and is no number, and no
    terminal obeys it: control characters but a new line are spelt, as in `\\x1b`."""
    shown = "".join(c if c == "\n" or category(c) != "Cc" else c.encode("unicode_escape").decode() for c in text)
    return f"'{shown}" if shown.startswith(FORMULA) and not _is_number(shown) else shown


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) or text.lstrip("+-").lower() in {"inf", "nan"}
    except ValueError:
        return False
