"""A number and its noun agree, and no text of the house writes a plural behind a number by hand where one may stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from featcache.counted_nouns import are, counted, have, nouns, them

ROOT = Path(__file__).parents[2]
# What the house counts, and of which there may be one.
COUNTED = "run|image|file|store|row|trial|backbone|feature map|class|label|pass|group|view|thread"


@pytest.mark.parametrize(
    ("noun", "several"),
    [
        ("run", "2 runs"),
        ("class", "2 classes"),
        ("forward pass", "2 forward passes"),
        ("batch", "2 batches"),
        ("copy", "2 copies"),
        ("array", "2 arrays"),
        ("feature map", "2 feature maps"),
    ],
)
def test_one_is_singular(noun: str, several: str) -> None:
    assert counted(1, noun) == f"1 {noun}"
    assert counted(2, noun) == several
    assert counted(0, noun) == f"0 {nouns(0, noun)}"
    assert (have(1), have(2), are(1), are(0)) == ("has", "have", "is", "are")
    assert (them(1), them(2)) == ("it", "them")


def test_tables_and_notices_of_the_command_line_count_so() -> None:
    """`{len(found)} runs` says "1 runs"."""
    by_hand = re.compile(rf"(?<!No two of )\{{(?:len|sum)\([^{{}}]*\)\}} (?:\w+ )?(?:{COUNTED})e?s\b")
    found = [
        f"{file.relative_to(ROOT)}: {match.group()}"
        for package in ("featcache/app", "heads/leaderboard", "heads/report", "heads/search")
        for file in sorted((ROOT / package).rglob("*.py"))
        for match in by_hand.finditer(file.read_text(encoding="utf-8"))
    ]
    assert found == []
