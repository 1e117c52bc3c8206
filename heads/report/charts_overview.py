"""The figures that compare runs, as Vega-Lite specifications: the page draws them, and they become files too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from heads.agreement import MEASURES
from heads.ranking import Row
from heads.report.vega import COLOURS, Spec, chart, scale, tips
from heads.verdict import NAMES

PHASES = ("Phase 1: heads on the cache", "Phase 2: end to end")
NAMED = 20  # points with their names beside them, at most: more would hide each other


def latency_accuracy(rows: Sequence[Row], metric: str) -> Spec:
    """Latency against val accuracy (`top1` or `top3`) with 95% intervals; the Pareto front is drawn and named."""
    along = _along([row.latency_ms for row in rows])
    on = front([(row.latency_ms, getattr(row, f"val_{metric}")) for row in rows])
    points = [
        {
            "run": row.run,
            "backbone": row.backbone,
            "weights": row.weights,
            "latency": round(row.latency_ms, 3),
            "p95": round(row.latency_p95_ms, 3),
            "accuracy": round(getattr(row, f"val_{metric}"), 5),
            "low": round(getattr(row, f"val_{metric}_low"), 5),
            "high": round(getattr(row, f"val_{metric}_high"), 5),
            "params": round(row.params / 1e6, 2),
            "phase": PHASES[row.phase - 1],
            "front": "yes" if place in on else "no",
            "place": along[place],
        }
        for place, row in enumerate(rows)
    ]
    name, phase = f"validation top-{metric[-1]}", _phase(legend=any(row.phase == 2 for row in rows))
    x = {
        "field": "latency",
        "type": "quantitative",
        "title": "latency of one pass, ms",
        "scale": scale([p["latency"] for p in points]),
    }
    y = {"title": name, "type": "quantitative", "scale": {"zero": False, "nice": True}}
    chosen = {"transform": [{"filter": "datum.front === 'yes'"}]}
    return chart(
        f"Latency against {name} with 95% intervals; a line joins the Pareto front",
        points,
        [
            {
                **chosen,
                "mark": {
                    "type": "line",
                    "interpolate": "step-after",
                    "strokeDash": [5, 3],
                    "color": "#888",
                    "tooltip": None,
                },
                "encoding": {"x": x, "y": {**y, "field": "accuracy"}, "order": {"field": "latency"}},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.45, "tooltip": None},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": phase},
            },
            {
                "mark": {"type": "point", "filled": True, "opacity": 0.85, "stroke": "#fff", "strokeWidth": 0.8},
                "encoding": {
                    "x": x,
                    "y": {**y, "field": "accuracy"},
                    "size": {
                        "field": "params",
                        "type": "quantitative",
                        "title": "parameters, M",
                        "scale": {"range": [50, 700], "zero": False},
                        "legend": {"orient": "bottom", "tickCount": 3, "symbolType": "circle"},
                    },
                    "color": phase,
                    "shape": {**phase, "scale": {"domain": list(PHASES), "range": ["circle", "diamond"]}},
                    "tooltip": tips(
                        backbone="backbone",
                        weights="weights",
                        run="run",
                        accuracy=name,
                        low="interval from",
                        high="to",
                        latency="latency, ms",
                        p95="p95, ms",
                        params="parameters, M",
                        front="on the Pareto front",
                    ),
                },
            },
            {
                **chosen,
                "mark": {"type": "text", **_beside("datum.place", 9), "dy": -10, "fontSize": 11, "tooltip": None},
                "encoding": {"x": x, "y": {**y, "field": "accuracy"}, "text": {"field": "backbone"}},
            },
        ],
    )


def separability(rows: Sequence[Row]) -> dict[str, Spec]:
    """One measure of separability against the heads' accuracy, each; those that no row has are left out."""
    found = {}
    for measure in MEASURES:
        points = [
            {
                "backbone": r.backbone,
                "weights": r.weights,
                "run": r.run,
                "score": round(score, 5),
                "accuracy": round(r.val_top1, 5),
            }
            for r in rows
            if (score := getattr(r, measure)) is not None
        ]
        if not points:
            continue
        label = NAMES[measure]
        found[measure] = chart(
            f"{label} against the heads' validation top-1",
            points,
            [
                {
                    "mark": {"type": "point", "filled": True, "size": 70, "opacity": 0.8, "color": COLOURS[0]},
                    "encoding": {
                        "x": {
                            "field": "score",
                            "type": "quantitative",
                            "title": label,
                            "scale": {"zero": False},
                            "axis": {"tickCount": 4},
                        },
                        "y": {
                            "field": "accuracy",
                            "type": "quantitative",
                            "title": "val top-1",
                            "scale": {"zero": False},
                            "axis": {"tickCount": 4},
                        },
                        "tooltip": tips(backbone="backbone", weights="weights", score=label, accuracy="val top-1"),
                    },
                }
            ],
            height=180,
        )
    return found


def latency_split(shares: Sequence[dict[str, Any]]) -> Spec:
    """Milliseconds of preprocessing, backbone and head: entries of backbone, part, ms, in the order to show."""
    order = list(dict.fromkeys(s["backbone"] for s in shares))
    parts = ["preprocess", "backbone", "head"]
    return chart(
        "Latency by part: preprocessing of one image file, backbone, head",
        shares,
        [
            {
                "mark": {"type": "bar"},
                "encoding": {
                    "y": {
                        "field": "backbone",
                        "type": "nominal",
                        "sort": order,
                        "title": None,
                        "axis": {"labelLimit": 150},
                    },
                    "x": {"field": "ms", "type": "quantitative", "title": "ms", "stack": "zero"},
                    "order": {"field": "order"},
                    "color": {
                        "field": "part",
                        "type": "nominal",
                        "sort": parts,
                        "title": None,
                        "scale": {"domain": parts, "range": [COLOURS[5], COLOURS[0], COLOURS[2]]},
                        "legend": {"orient": "bottom"},
                    },
                    "tooltip": tips(backbone="backbone", part="part", ms="ms"),
                },
            }
        ],
        height=max(120, 22 * len(order)),
    )


def macs_latency(rows: Sequence[Row]) -> Spec:
    """Multiply-adds against measured latency: what the first says of the second."""
    points: list[dict[str, Any]] = [
        {
            "backbone": r.backbone,
            "place": place,
            "macs": round(r.macs / 1e9, 4),
            "latency": round(r.latency_ms, 3),
            "params": round(r.params / 1e6, 2),
            "rate": round(r.images_per_second, 1),
        }
        for r, place in zip(rows, _along([r.macs for r in rows]), strict=True)
    ]
    return chart(
        "Multiply-adds of one image against measured latency",
        points,
        [
            {
                "mark": {"type": "point", "filled": True, "size": 80, "opacity": 0.8, "color": COLOURS[0]},
                "encoding": {
                    "x": {
                        "field": "macs",
                        "type": "quantitative",
                        "title": "GMACs",
                        "scale": scale([p["macs"] for p in points]),
                    },
                    "y": {
                        "field": "latency",
                        "type": "quantitative",
                        "title": "latency of one pass, ms",
                        "scale": scale([p["latency"] for p in points]),
                    },
                    "tooltip": tips(
                        backbone="backbone",
                        macs="GMACs",
                        latency="latency, ms",
                        rate="images per second",
                        params="parameters, M",
                    ),
                },
            },
            *(
                []
                if len(points) > NAMED
                else [
                    {
                        "mark": {
                            "type": "text",
                            **_beside("datum.place", 7),
                            "fontSize": 10,
                            "opacity": 0.8,
                            "tooltip": None,
                        },
                        "encoding": {
                            "x": {"field": "macs", "type": "quantitative"},
                            "y": {"field": "latency", "type": "quantitative"},
                            "text": {"field": "backbone"},
                        },
                    }
                ]
            ),
        ],
    )


def gains(rows: Sequence[Row]) -> Spec:
    """What fine-tuning brought in val top-1, with its 95% interval, of rows that have a gain."""
    points = [
        {
            "run": r.run,
            "backbone": r.backbone,
            "gain": round(r.gain_top1 or 0, 5),
            "low": round(r.gain_top1_low or 0, 5),
            "high": round(r.gain_top1_high or 0, 5),
            "accuracy": round(r.val_top1, 5),
            "from": r.from_run,
        }
        for r in rows
    ]
    y = {"field": "run", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 170}}
    return chart(
        "Gain of Phase 2 over Phase 1 in validation top-1, with 95% intervals",
        points,
        [
            {
                "data": {"values": [{"zero": 0}]},
                "mark": {"type": "rule", "strokeDash": [4, 3], "color": "#888"},
                "encoding": {"x": {"field": "zero", "type": "quantitative"}},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": COLOURS[1]},
                "encoding": {
                    "y": y,
                    "x": {"field": "low", "type": "quantitative", "title": "gain in val top-1"},
                    "x2": {"field": "high"},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90, "shape": "diamond", "color": COLOURS[1]},
                "encoding": {
                    "y": y,
                    "x": {"field": "gain", "type": "quantitative"},
                    "tooltip": tips(
                        run="run",
                        backbone="backbone",
                        gain="gain",
                        low="interval from",
                        high="to",
                        accuracy="val top-1",
                        **{"from": "over run"},
                    ),
                },
            },
        ],
        height=max(90, 34 * len(points)),
    )


def front(points: Sequence[tuple[float, float]]) -> set[int]:
    """Places of the `(latency, accuracy)` that no other is as good as in both, and better than in one."""
    return {
        i
        for i, (latency, accuracy) in enumerate(points)
        if not any(ms <= latency and a >= accuracy and (ms < latency or a > accuracy) for ms, a in points)
    }


def _along(values: Sequence[float]) -> list[float]:
    """Where values lie on their axis, from 0 to 1."""
    logarithmic = scale(values).get("type") == "log"
    found = [math.log(v) for v in values] if logarithmic else list(values)
    low, extent = min(found), (max(found) - min(found)) or 1.0
    return [round((v - low) / extent, 3) for v in found]


def _beside(x: str, gap: int) -> Spec:
    """Where the name of a point stands: on the side where there is more room, here `x` from 0 to 1."""
    return {
        "align": {"expr": f"{x} > 0.6 ? 'right' : 'left'"},
        "dx": {"expr": f"{x} > 0.6 ? -{gap} : {gap}"},
    }


def _phase(legend: bool) -> Spec:
    return {
        "field": "phase",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(PHASES), "range": list(COLOURS[:2])},
        "legend": {"orient": "bottom", "direction": "vertical", "labelLimit": 240} if legend else None,
    }
