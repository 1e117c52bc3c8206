"""Class names that are numbers: "1" and "1.0" are one, as pandas writes a column of them once a cell is empty."""

from __future__ import annotations

import re
from collections.abc import Iterable

NUMBER = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)
WHOLE = re.compile(r"([+-]?\d+)\.0+", re.ASCII)


def whole_number(label: str) -> str:
    """A whole number without its decimal point; any other text as it is."""
    whole = WHOLE.fullmatch(label)
    return whole[1] if whole else label


def fold_numbers(labels: Iterable[str]) -> dict[str, str] | None:
    """What to call those of `labels` that are whole numbers with a point; None where not all are numbers, so that they
    are names."""
    distinct = set(labels)
    if not all(map(NUMBER.fullmatch, distinct)):
        return None
    return {label: whole_number(label) for label in distinct if WHOLE.fullmatch(label)}
