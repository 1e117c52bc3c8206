"""How work looks on a terminal: progress, notices, tables. Plain lines where there is no terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PLAIN_WIDTH = 150  # columns, where no terminal says otherwise
PLAIN_SECONDS = 10.0  # between lines of progress where there is no terminal


def consoles() -> tuple[Console, Console]:
    """Standard output for results, standard error for everything said on the way."""
    return tuple(  # type: ignore[return-value]  # mypy does not count
        Console(file=stream, width=None if stream.isatty() else PLAIN_WIDTH, highlight=False, soft_wrap=True)
        for stream in (sys.stdout, sys.stderr)
    )


class TerminalProgress:
    """A bar with rate and time left on a terminal; elsewhere a line now and then."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console = console
        self.quiet = quiet
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._what, self._total, self._done, self._unit = "", 0, 0, ""
        self._begin = self._said = 0.0

    def begin(self, what: str, total: int, unit: str) -> None:
        """A new piece of work."""
        self.close()
        self._what, self._total, self._done, self._unit = what, total, 0, unit
        self._begin = self._said = time.monotonic()
        if self.console.is_terminal and not self.quiet:
            self._bars = Progress(
                TextColumn("{task.description:<28}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._task = self._bars.add_task(what, total=total, rate="")
            self._bars.start()

    def advance(self, steps: int) -> None:
        """More of it is done."""
        self._done += steps
        now = time.monotonic()
        rate = f"{self._done / max(now - self._begin, 1e-9):.0f} {self._unit}/s"
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=steps, rate=rate)
        elif now - self._said > PLAIN_SECONDS and not self.quiet:
            self._said = now
            self.console.print(f"{self._what}: {self._done}/{self._total}, {rate}")

    def end(self, summary: str) -> None:
        """It is done."""
        self.close()
        if not self.quiet:
            self.console.print(f"{self._what}: {summary}")

    def close(self) -> None:
        """Take the bar away, however the work ended."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


class ConsoleHandler(logging.Handler):
    """Notices go to standard error; what must not be missed stands out."""

    def __init__(self, console: Console, level: int) -> None:
        super().__init__(level)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one notice."""
        style = {logging.WARNING: "bold yellow", logging.ERROR: "bold red"}.get(record.levelno, "")
        prefix = {logging.WARNING: "warning: ", logging.ERROR: "error: "}.get(record.levelno, "")
        self.console.print(Text(prefix + record.getMessage(), style=style))


def leaderboard_table(rows: Sequence[Any], tied: Sequence[bool], top: Sequence[Any]) -> Table:
    """The rows of a leaderboard for people; `top` ones are starred, tied ranks carry an equals sign."""
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    columns = (
        "rank;backbone;weights;F;val top-1;val top-3;test top-1;test top-3;latency ms (p95);GMACs;params M;img/s;head s"
    )
    for name in columns.split(";"):
        left = name in {"backbone", "weights"}
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for row, tie in zip(rows, tied, strict=True):
        star = row in top
        table.add_row(
            f"{'*' if star else ' '}{row.rank}{'=' if tie else ' '}",
            Text(row.backbone),
            Text(row.weights),
            str(row.features),
            f"{row.val_top1:.3f} ±{row.val_top1_std:.3f}",
            f"{row.val_top3:.3f} ±{row.val_top3_std:.3f}",
            f"{row.test_top1:.3f}",
            f"{row.test_top3:.3f}",
            f"{row.latency_ms:.1f} ({row.latency_p95_ms:.1f})",
            f"{row.macs / 1e9:.2f}",
            f"{row.params / 1e6:.1f}",
            f"{row.images_per_second:.0f}",
            f"{row.head_seconds:.1f}",
            style="bold" if star else None,
        )
    return table


def catalogue_table(listed: Sequence[Any]) -> Table:
    """Backbones by name."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("backbone", "source", "features", "input", "weights", "at hand"):
        table.add_column(name, justify="right" if name in {"features", "input"} else "left", no_wrap=True)
    for row in listed:
        table.add_row(
            Text(row.name),
            row.source,
            str(row.features or "-"),
            str(row.input_size or "-"),
            Text(row.weights),
            "yes" if row.at_hand else "no",
        )
    return table
