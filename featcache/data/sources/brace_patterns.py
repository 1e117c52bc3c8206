"""Patterns of file names, `train-{000..127}.tar` or `{train,val}-*.tar`, become the names that they stand for."""

from __future__ import annotations

import glob
import re

from featcache.errors import DataError

MOST = 1_000_000  # names


def expand(pattern: str) -> list[str]:
    """What the braces in a pattern stand for, as a shell has them, in order; then which files a `*` names, sorted.

    Raises DataError for more than a million.
    """
    names = _expanded(pattern, pattern)
    return [found for name in names for found in (sorted(glob.glob(name)) if set("*?[") & set(name) else [name])]  # noqa: PTH207


def _expanded(text: str, pattern: str) -> list[str]:
    begin = text.find("{")
    if begin < 0:
        return [text]
    end = _closing(text, begin)
    if end < 0:
        raise DataError(f"data.path: {pattern}: a brace is not closed. Expected such as train-{{000..127}}.tar.")
    inside = text[begin + 1 : end]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if span is not None:
        middle = _numbers(span[1], span[2], pattern)
    else:
        middle = [one for option in _options(inside) for one in _expanded(option, pattern)]
    after = _expanded(text[end + 1 :], pattern)
    if len(middle) * len(after) > MOST:
        raise _too_many(pattern)
    return [text[:begin] + one + rest for one in middle for rest in after]


def _closing(text: str, begin: int) -> int:
    """Where the brace that opens at `begin` closes; -1 where it does not."""
    depth = 0
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if not depth:
            return at
    return -1


def _options(inside: str) -> list[str]:
    """What commas part, but for those within further braces."""
    parts, depth = [""], 0
    for letter in inside:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _numbers(first: str, last: str, pattern: str) -> list[str]:
    if int(last) - int(first) >= MOST:
        raise _too_many(pattern)
    width = len(first) if first.startswith("0") else 0
    return [str(n).zfill(width) for n in range(int(first), int(last) + 1)]


def _too_many(pattern: str) -> DataError:
    return DataError(f"data.path: {pattern} stands for more than {MOST} files. Expected those that are there.")
