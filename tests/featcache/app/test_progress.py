"""What a terminal is left with when a piece of work is over."""

from __future__ import annotations

import io

from rich.console import Console

from featcache.app.progress import TerminalProgress


def test_what_is_printed_after_the_work_begins_on_a_line_of_its_own() -> None:
    seen = io.StringIO()
    progress = TerminalProgress(Console(file=seen, force_terminal=True, width=100))
    for _ in range(2):
        progress.begin("resnet18", 3, "img")
        progress.advance(1)
        progress.end("2 predicted, 1 unreadable")
        assert seen.getvalue().endswith("resnet18: 2 predicted, 1 unreadable\n")
    progress.close()
    assert seen.getvalue().endswith("resnet18: 2 predicted, 1 unreadable\n")
