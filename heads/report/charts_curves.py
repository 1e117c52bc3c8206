"""Learning curves become the figures of accuracy against training images and wrong labels, as Vega-Lite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heads.report.report_contents import Contents
from heads.report.vega_lite import COLOURS, NUMBER, SHAPES, Spec, chart, tips


def images(contents: Contents) -> Spec | None:
    """Top-1 on val against the number of training images, with 95% intervals; None where no curve was measured."""
    points = _points(contents, "points")
    x = {**NUMBER, "field": "images", "title": "training images", "scale": {"type": "log", "nice": False}}
    return _lines("Validation top-1 against the number of training images", points, x) if points else None


def images_caption(contents: Contents) -> str:
    """What the curves say, and what they are."""
    said = " ".join(f"{curve['said']}." for curve in _curves(contents))
    return f"{said} Intervals: 95%, over draws of the training images and the images of val."


def noise(contents: Contents) -> Spec | None:
    """Top-1 on val against the share of wrong training labels; None where no curve was measured with them."""
    points = _points(contents, "noise")
    axis = {"format": "%", "values": sorted({point["noise"] for point in points})}
    x = {**NUMBER, "field": "noise", "title": "share of training labels that are wrong", "axis": axis}
    return _lines("Validation top-1 against the share of wrong training labels", points, x) if points else None


def noise_caption(contents: Contents) -> str:
    """How they became wrong."""
    del contents
    return "Training labels were changed to another class by chance; val and test are as they are."


def _curves(contents: Contents) -> list[Mapping[str, Any]]:
    """The curve of each run on the board, best first: the one that was written last; as many as there are colours."""
    known = {str(curve["name"]): curve for study in contents.curves for curve in study.document["curves"]}
    return [known[row.run] for row in contents.rows if row.run in known][: len(COLOURS)]


def _points(contents: Contents, kind: str) -> list[dict[str, Any]]:
    return [
        {
            "run": curve["name"],
            "images": round(point["images"], 1),
            "noise": point["noise"],
            "accuracy": round(point["val_top1"]["mean"], 4),
            "low": round(point["val_top1"]["ci95"][0], 4),
            "high": round(point["val_top1"]["ci95"][1], 4),
        }
        for curve in _curves(contents)
        for point in curve[kind]
    ]


def _lines(description: str, points: Sequence[dict[str, Any]], x: Spec) -> Spec:
    """A line for each run, its intervals as a band, its points with their figures."""
    runs = list(dict.fromkeys(point["run"] for point in points))
    # Room for long names below the figure.
    legend = {
        "orient": "bottom",
        "columns": 2 if max(map(len, runs)) <= 24 else 1,
        "labelLimit": 300,
        "symbolOpacity": 1,
    }
    colour = {
        "field": "run",
        "type": "nominal",
        "title": None,
        "sort": runs,
        "scale": {"domain": runs, "range": list(COLOURS[: len(runs)])},
        "legend": legend,
    }
    shape = {**colour, "scale": {"domain": runs, "range": list(SHAPES[: len(runs)])}}
    y = {**NUMBER, "field": "accuracy", "title": "val top-1", "scale": {"zero": False}}
    tip = tips(run="run", images="training images", noise="wrong labels", accuracy="val top-1", low="from", high="to")
    return chart(
        description,
        points,
        [
            {
                "mark": {"type": "area", "opacity": 0.12, "tooltip": None},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour},
            },
            {"mark": {"type": "line", "tooltip": None}, "encoding": {"x": x, "y": y, "color": colour}},
            {
                "mark": {"type": "point", "filled": True, "size": 50},
                "encoding": {"x": x, "y": y, "color": colour, "shape": shape, "tooltip": tip},
            },
        ],
    )
