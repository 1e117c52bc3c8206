"""Predictions on a terminal, in a pipe or in a file, and what is said of all of them at the end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from featcache.app.error_reporting import printable
from featcache.app.progress import consoles
from featcache.counted_nouns import counted
from featcache.errors import WorkError

if TYPE_CHECKING:
    from heads.predict import Prediction, PredictionRow, Predictor, Write

SHOWN = 40  # rows on a terminal
LISTED = 5  # unreadable images in the closing message


def writing(out: Path | None, form: str | None, top: int) -> AbstractContextManager[Write]:
    """Where rows go: the file `out`; else a table on a terminal, and every row as CSV (or `form`) in a pipe."""
    from heads.predict import format_of, prediction_file

    if out is not None:
        return prediction_file(out, format_of(out, form), top)
    if form is None and sys.stdout.isatty():
        return _table(top)
    return _stream(form or "csv", top)


@contextmanager
def _stream(form: str, top: int) -> Iterator[Write]:
    from heads.predict import text_writer

    yield text_writer(sys.stdout, form, top)


@contextmanager
def _table(top: int) -> Iterator[Write]:
    """The first rows for people; of more than that, how many images are of each class."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("image", "class", "", *(["next likely"] if top > 1 else []), ""):
        table.add_column(name, overflow="fold")
    counts: Counter[str] = Counter()

    def write(row: PredictionRow) -> None:
        counts[row.label or "(unreadable)"] += 1
        if counts.total() <= SHOWN:
            table.add_row(*(Text(printable(cell)) for cell in _cells(row, top)))

    yield write
    out = consoles()[0]
    out.print(table)
    if counts.total() > SHOWN:
        classes = ", ".join(f"{label} {number}" for label, number in counts.most_common())
        out.print(f".. and {counts.total() - SHOWN} more. {classes}. --out FILE keeps all.", markup=False)


def _cells(row: PredictionRow, top: int) -> list[str]:
    first = "" if row.probability is None else f"{row.probability:.3f}"
    further = [", ".join(f"{label} {p:.3f}" for label, p in row.top[1:])] if top > 1 else []
    note = row.reason or ("unlike the training images" if row.unlike else "")
    return [row.image, row.label or "", first, *further, note]


class PredictionTally:
    """What became of all images of a command."""

    def __init__(self, predictor: Predictor, false_alarms: float) -> None:
        self._predictor, self._rate = predictor, false_alarms
        self._readable = self._unlike = 0
        self._unreadable: list[str] = []

    def counting(self, predictions: Iterator[Prediction]) -> Iterator[Prediction]:
        """The same, counted; the first unreadable ones are remembered."""
        for one in predictions:
            self._readable += not one.reason
            self._unlike += one.as_far is not None and one.as_far <= self._rate
            if one.reason:
                self._unreadable.append(f"{one.image.name} ({one.reason})")
            yield one

    def copied(self, prediction: Prediction, reason: str) -> None:
        """An image was copied, or for some `reason` not."""
        if reason:
            self._unreadable.append(f"{prediction.image.name} (predicted and not copied: {reason})")

    def say(self) -> None:
        """Notices about the figures, on standard error."""
        calibration, space = self._predictor.calibration, self._predictor.space
        if calibration is not None:
            typer.echo(
                f"Probabilities are calibrated: temperature {calibration.temperature:.2f}, fitted on "
                f"{counted(calibration.images, 'validation image')}.",
                err=True,
            )
        if space is not None and space.least_rate > self._rate:
            typer.echo(
                f"Nothing is flagged as unlike the training images: {counted(len(space.val), 'validation image')} can "
                f"vouch for a rate of false alarms of {space.least_rate:.1%} or more. Give --false-alarms "
                f"{space.least_rate:.3f}.",
                err=True,
            )
        elif space is not None and self._readable:
            typer.echo(
                f"Flagged as unlike the training images: {self._unlike} of {self._readable}. One like the "
                f"{counted(len(space.val), 'validation image')} is flagged with a chance of at most {self._rate:.0%}.",
                err=True,
            )

    def raise_if_unreadable(self) -> None:
        """Raises WorkError that names images which could not be read, if there are any."""
        if self._unreadable:
            more = len(self._unreadable) - LISTED
            tail = f" and {more} more; --out FILE (without --uncertain) has the reason of each" if more > 0 else ""
            raise WorkError(
                f"{counted(len(self._unreadable), 'image')} could not be read, the rest is done: "
                f"{', '.join(self._unreadable[:LISTED])}{tail}."
            )
