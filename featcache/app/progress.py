"""How work looks on a terminal while it goes on: bars, notices; plain lines where there is no terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from featcache.app.error_reporting import printable

PLAIN_WIDTH = 160  # columns, where no terminal says otherwise
PLAIN_SECONDS = 10.0  # between lines of progress where there is no terminal


def consoles() -> tuple[Console, Console]:
    """Standard output for results, standard error for everything said on the way."""
    return _console(sys.stdout), _console(sys.stderr)


class _PrintableConsole(Console):
    """Prints names and labels of data as they may be shown: what a terminal would obey in them stands there as its
    code."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed; those that rich moves the cursor by are its own."""
        for one in super().render(renderable, options):
            yield one if one.control else Segment(printable(one.text), one.style)


def _console(stream: TextIO) -> Console:
    return _PrintableConsole(
        file=stream, width=None if stream.isatty() else PLAIN_WIDTH, highlight=False, soft_wrap=True
    )


class TerminalProgress:
    """On a terminal a bar with rate and time left, under one for the whole; elsewhere a line now and then."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console = console
        self.quiet = quiet
        self._bars: Progress | None = None
        self._whole: TaskID | None = None
        self._task: TaskID | None = None
        self._pieces = self._pieces_done = 0
        self._what, self._total, self._done, self._unit = "", 0, 0, ""
        self._begin = self._said = 0.0

    def whole(self, total: int) -> None:
        """So many pieces of work; a lone one needs no bar of its own."""
        self._pieces, self._pieces_done = total, 0
        if self._shown() and total > 1:
            self._whole = self._started().add_task("all", total=total, rate="", note="", unit="configs")

    def piece_done(self) -> None:
        """One of them is over."""
        self._pieces_done += 1
        if self._bars is not None and self._whole is not None:
            self._bars.update(self._whole, completed=self._pieces_done)

    def begin(self, what: str, total: int, unit: str) -> None:
        """A new piece of work."""
        self._drop()
        self._what, self._total, self._done, self._unit = what, total, 0, unit
        self._begin = self._said = time.monotonic()
        if self._shown():
            self._task = self._started().add_task(what, total=total, rate="", note="")

    def advance(self, steps: int, note: str = "") -> None:
        """More of it is done."""
        self._done += steps
        now = time.monotonic()
        rate = _rate(self._done, now - self._begin, self._unit)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=steps, rate=rate, note=note)
        elif now - self._said > PLAIN_SECONDS and not self.quiet:
            self._said = now
            left = (self._total - self._done) * (now - self._begin) / max(self._done, 1)
            place = f"[{self._pieces_done + 1}/{self._pieces}] " if self._pieces > 1 else ""
            said = f"{self._done}/{self._total}, {rate}, about {left:.0f} s left{f' ({note})' if note else ''}"
            self.console.print(Text(f"{place}{self._what}: {said}"))

    def end(self, summary: str) -> None:
        """It is done."""
        self._drop()
        if not self.quiet:
            self.console.print(Text(f"{self._what}: {summary}"))

    def close(self) -> None:
        """Take the bars away, however the work ended."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = self._whole = self._task = None

    def _shown(self) -> bool:
        return self.console.is_terminal and not self.quiet

    def _started(self) -> Progress:
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description:<22}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}", markup=False),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", style="dim", markup=False),
                console=self.console,
                transient=True,
            )
            self._bars.start()
        return self._bars

    def _drop(self) -> None:
        """Take the bar of the piece that is over away."""
        if self._bars is not None and self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
            if not self._bars.tasks:  # what a command prints next would begin on the line of the bar
                self.close()


def _rate(done: int, seconds: float, unit: str) -> str:
    """How fast it goes, the way round that gives a number to read."""
    if not done or done >= seconds:
        return f"{done / max(seconds, 1e-9):.0f} {unit}/s"
    return f"{seconds / done:.0f} s/{unit}"


class ConsoleHandler(logging.Handler):
    """Notices go to standard error; what must not be missed stands out.

    The same notice is printed once in a command: what is said of the data is found anew with every backbone. Notices
    that differ and say the same of the data have an attribute `once` in common.
    """

    def __init__(self, console: Console, level: int) -> None:
        super().__init__(level)
        self.console = console
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print one notice, unless it was there before."""
        key = getattr(record, "once", record.getMessage())
        if key in self._said:
            return
        self._said.add(key)
        style = {logging.WARNING: "bold yellow", logging.ERROR: "bold red"}.get(record.levelno, "")
        prefix = {logging.WARNING: "warning: ", logging.ERROR: "error: "}.get(record.levelno, "")
        self.console.print(Text(prefix + record.getMessage(), style=style))
