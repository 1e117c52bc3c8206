"""Rows of the leaderboard become the figures of separability against accuracy, as Vega-Lite specifications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from featcache.separability import measures
from heads.leaderboard import Row
from heads.report.page_tables import separability_rows
from heads.report.point_names import name_layers, names
from heads.report.report_contents import Contents
from heads.report.vega_lite import COLOURS, NUMBER, Spec, chart, tips

FEW = 8  # names in a figure: of points in a small one, all or none
SMALL, SMALL_HEIGHT = 200, 180  # pixels, about: axes of figures four side by side


def measure_accuracy(contents: Contents, measure: str) -> Spec | None:
    """One measure of separability against the heads' accuracy; None where no feature map has it."""
    known = [row for row in contents.board.feature_maps if row.more.get(measure) is not None]
    return _measure(known, measure) if known else None


def agreement_caption(contents: Contents, measure: str) -> str:
    """How well the measure orders the feature maps as their heads do; "" where that is not known."""
    found = next((a for a in contents.agreements if a.measure == measure), None)
    return f"tau {found.tau:z.2f} [{found.low:z.2f}, {found.high:z.2f}]" if found is not None else ""


def agreement_place(contents: Contents, measure: str) -> int:
    """Where the measure stands in the table: those that agree best with the heads first."""
    names = [row.name for row in separability_rows(contents)]
    return names.index(measure) if measure in names else len(names)


def _measure(rows: Sequence[Row], measure: str) -> Spec:
    label = measures()[measure].title
    points: list[dict[str, Any]] = [
        {
            "backbone": r.backbone,
            "weights": r.weights,
            "run": r.run,
            "score": round(r.more[measure] or 0, 5),
            "accuracy": round(r.val_top1, 5),
        }
        for r in rows
    ]
    places = zip(_evenly([p["score"] for p in points]), _evenly([p["accuracy"] for p in points]), rows, strict=True)
    most = FEW if len(points) <= FEW else 0
    written = names([(a, b, row.backbone) for a, b, row in places], most, SMALL, SMALL_HEIGHT)
    x = {**NUMBER, "field": "score", "title": label, "scale": {"zero": False, "nice": True}, "axis": {"tickCount": 4}}
    y = {**NUMBER, "field": "accuracy", "title": "val top-1", "scale": {"zero": False}, "axis": {"tickCount": 4}}
    return chart(
        f"{label} against the heads' validation top-1",
        [{**point, **name} for point, name in zip(points, written, strict=True)],
        [
            *name_layers(x, y, written),
            {
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 0.8, "color": COLOURS[0]},
                "encoding": {
                    "x": x,
                    "y": y,
                    "tooltip": tips(backbone="backbone", weights="weights", score=label, accuracy="val top-1"),
                },
            },
        ],
        height=SMALL_HEIGHT,
    )


def _evenly(values: Sequence[float]) -> list[float]:
    """Where values lie on a linear axis, from 0 to 1."""
    low, extent = min(values), (max(values) - min(values)) or 1.0
    return [(v - low) / extent for v in values]
