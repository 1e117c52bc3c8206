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
    """What the studies say, as on the terminal, and what they are."""
    said = [line for study in _studies(contents) for line in study["said"] if line != study.get("said_of_noise")]
    drawn = " and ".join(dict.fromkeys(str(study["draws"]) for study in _studies(contents)))
    said = [f"{line}." for line in dict.fromkeys(said)]
    return (
        f"{' '.join(said)} Intervals: 95%, over {drawn} draws of the training images and the images of val. 1 to 16 "
        "images of each class, judged on all of test, are the sizes of few-shot linear probes (CLIP: Radford et al. "
        "2021; CoOp: Zhou et al. 2022)."
    )


def noise(contents: Contents) -> Spec | None:
    """Top-1 on val against the share of wrong training labels; None where no curve was measured with them."""
    points = _points(contents, "noise")
    axis = {"format": "%", "values": sorted({point["noise"] for point in points})}
    x = {**NUMBER, "field": "noise", "title": "share of training labels that are wrong", "axis": axis}
    return _lines("Validation top-1 against the share of wrong training labels", points, x) if points else None


def noise_caption(contents: Contents) -> str:
    """What the studies say of it, and how they became wrong."""
    said = [f"{line}." for study in _studies(contents) if (line := study.get("said_of_noise"))]
    return " ".join([*said, "Training labels were changed to another class by chance; val and test are as they are."])


def _curves(contents: Contents) -> list[Mapping[str, Any]]:
    """The curve of each run on the board, best first: the one that was written last; as many as there are colours."""
    return [curve for curve, _ in _shown(contents)]


def _studies(contents: Contents) -> list[Mapping[str, Any]]:
    """The studies that these are of."""
    return list({str(study["name"]): study for _, study in _shown(contents)}.values())


def _shown(contents: Contents) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    known = {str(curve["name"]): (curve, one.document) for one in contents.curves for curve in one.document["curves"]}
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
