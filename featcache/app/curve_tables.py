"""Learning curves as tables on a terminal: a row for each size, a column for each backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from featcache.counted_nouns import counted

if TYPE_CHECKING:
    from heads.learning_curves import CurveStudy, Estimate, Point


def curve_table(study: CurveStudy) -> Table:
    """Every metric that was measured at every size, with its interval."""
    rows = [curve.points for curve in study.curves]
    table = _table(("training images", "images"), study, rows[0])
    for points in zip(*rows, strict=True):
        table.add_row(points[0].size, f"{points[0].images:.0f}", *_cells(points))
    return table


def noise_table(study: CurveStudy) -> Table:
    """Every metric at every share of wrong training labels."""
    rows = [curve.noise for curve in study.curves if curve.noise]
    table = _table(("wrong labels", "images"), study, rows[0])
    for points in zip(*rows, strict=True):
        table.add_row(f"{points[0].noise:.0%}", f"{points[0].images:.0f}", *_cells(points))
    return table


def settings_line(study: CurveStudy) -> str:
    """What the figures are of."""
    heads = sum(curve.heads for curve in study.curves)
    seconds = sum(curve.seconds for curve in study.curves)
    diverged = sum(curve.diverged for curve in study.curves)
    lost = f", {diverged} of them left out (their loss was not finite)" if diverged else ""
    images = ", ".join(f"{len(study.manifest.of(split))} {split}" for split in ("val", "test"))
    return (
        f"{counted(study.draws, 'draw')} of each size, the same for every backbone; {images} images; intervals 95%; "
        f"{counted(heads, 'head')} in {seconds:.1f} s on {study.device}{lost}"
    )


def _table(first: tuple[str, ...], study: CurveStudy, points: Sequence[Point]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in first:
        table.add_column(name, justify="right", no_wrap=True)
    for curve in study.curves:
        for key in points[0].figures:
            shown = key.replace("_", " ", 1).replace("top", "top-")
            table.add_column(Text(f"{curve.name} {shown}" if len(study.curves) > 1 else shown), justify="right")
    return table


def _cells(points: Sequence[Point]) -> list[str]:
    return [_cell(one) for point in points for one in point.figures.values()]


def _cell(one: Estimate) -> str:
    return f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]"
