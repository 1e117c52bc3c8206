"""The figures of one run, as Vega-Lite specifications that the page fills with the data of the run that is chosen."""

from __future__ import annotations

from collections.abc import Sequence

from heads.report.vega_lite import COLOURS, SHAPES, WHOLE, Spec, filled_later, tips

LEGEND = 24  # classes: a longer one would be larger than the map, and hovering names them too


def feature_map(classes: Sequence[str]) -> Spec:
    """A feature map in two dimensions; the page fills in `points` of x, y, class and image."""
    domain = list(classes)
    legend = {"orient": "bottom", "columns": 4, "labelLimit": 140} if len(domain) <= LEGEND else None
    hidden = {"axis": None, "type": "quantitative", "scale": {"domain": [-30, 1030]}}
    return filled_later(
        "Feature map in two dimensions, coloured by class",
        [
            {
                "mark": {"type": "point", "filled": True, "size": 46, "opacity": 0.8},
                "encoding": {
                    "x": {"field": "x", **hidden},
                    "y": {"field": "y", **hidden},
                    "color": {
                        "field": "class",
                        "type": "nominal",
                        "title": None,
                        "scale": {"domain": domain, "range": [COLOURS[i % len(COLOURS)] for i in range(len(domain))]},
                        "legend": legend,
                    },
                    "shape": {
                        "field": "class",
                        "type": "nominal",
                        "scale": {"domain": domain, "range": [SHAPES[i % len(SHAPES)] for i in range(len(domain))]},
                        "legend": legend,
                    },
                    "tooltip": [{"field": "image", "type": "nominal"}],  # a number, which the page makes a picture
                },
            }
        ],
        height=420,
    )


def curves(metrics: Sequence[tuple[str, str]], title: str) -> Spec:
    """Curves over epochs, mean and range over seeds; the page fills in `points`, and `stages` of end-to-end runs."""
    names = [name for _, name in metrics]
    # Epoch -1 of end-to-end training is the network before it.
    axis = WHOLE | {"labelExpr": "datum.value < 0 ? 'start' : datum.label"}
    x = {"field": "epoch", "type": "quantitative", "title": "epoch", "axis": axis}
    legend = {"orient": "bottom", "symbolType": "stroke", "symbolOpacity": 1} if len(names) > 1 else None
    colour = {
        "field": "curve",
        "type": "nominal",
        "title": None,
        "scale": {"domain": names, "range": COLOURS[: len(names)]},
        "legend": legend,
    }
    dash = {
        "field": "curve",
        "type": "nominal",
        "scale": {"domain": names, "range": [[1, 0], [6, 3]][: len(names)]},
        "legend": legend,
    }
    mean = {"field": "mean", "type": "quantitative"}
    low = {"field": "low", "type": "quantitative", "title": title, "scale": {"zero": False}}
    return filled_later(
        title,
        [
            *_stage_layers(x),
            {
                "mark": {"type": "area", "opacity": 0.18, "tooltip": None},
                "encoding": {"x": x, "y": low, "y2": {"field": "high"}, "color": colour},
            },
            {
                "mark": {"type": "line", "tooltip": None},
                "encoding": {"x": x, "y": mean, "color": colour, "strokeDash": dash},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0, "aria": False},
                "encoding": {
                    "x": x,
                    "y": mean,
                    "color": colour,
                    "tooltip": tips(curve="curve", epoch="epoch", mean="mean over seeds", low="lowest", high="highest"),
                },
            },
        ],
        height=210,
    )


def _stage_layers(x: Spec) -> list[Spec]:
    """Where blocks begin to train, each named in a line of its own."""
    return [
        {
            "data": {"name": "stages"},
            "mark": {"type": "rule", "strokeDash": [3, 3], "color": "#888"},
            "encoding": {"x": x, "tooltip": tips(epoch="from epoch", what="trains")},
        },
        {
            "data": {"name": "stages"},
            "mark": {
                "type": "text",
                "align": {"expr": "datum.late ? 'right' : 'left'"},
                "dx": {"expr": "datum.late ? -4 : 4"},
                "y": 8,
                "dy": {"expr": "13 * datum.line"},
                "fontSize": 10,
                "tooltip": None,
            },
            "encoding": {"x": x, "text": {"field": "label"}},
        },
    ]


def calibration() -> Spec:
    """Confidence against accuracy; the page fills in `points` of confidence, accuracy and n."""
    unit = {"domain": [0, 1]}
    return filled_later(
        "Confidence against accuracy on val",
        [
            {
                "data": {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]},
                "mark": {"type": "line", "strokeDash": [4, 3], "color": "#888", "tooltip": None},
                "encoding": {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}},
            },
            {
                "mark": {"type": "line", "color": COLOURS[0], "tooltip": None},
                "encoding": {
                    "x": {"field": "confidence", "type": "quantitative"},
                    "y": {"field": "accuracy", "type": "quantitative"},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "color": COLOURS[0], "opacity": 0.9},
                "encoding": {
                    "x": {"field": "confidence", "type": "quantitative", "title": "confidence", "scale": unit},
                    "y": {"field": "accuracy", "type": "quantitative", "title": "accuracy", "scale": unit},
                    "size": {
                        "field": "n",
                        "type": "quantitative",
                        "scale": {"range": [30, 320], "type": "sqrt"},
                        "legend": None,
                    },
                    "tooltip": tips(confidence="mean confidence", accuracy="accuracy", n="images"),
                },
            },
        ],
        height=210,
    )
