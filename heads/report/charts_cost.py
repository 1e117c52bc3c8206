"""Rows of the leaderboard become the figures of what a pass costs, as Vega-Lite specifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heads.leaderboard import Row
from heads.report.charts_latency import condition_shapes, conditions_differ, latency_measured, latency_title
from heads.report.page_tables import conditions
from heads.report.point_names import NAMED, name_layers, names
from heads.report.report_contents import Contents
from heads.report.vega_lite import COLOURS, NUMBER, WIDTH, Spec, along, chart, scale, tips

SHARES = 30  # bars of the latency by part


def parts(contents: Contents) -> Spec:
    """Latency by part of the best feature maps."""
    return latency_split(_shares(contents), list(conditions(contents).values()))


def parts_caption(contents: Contents) -> str:
    """What the parts are, and how they were measured."""
    return f"Preprocessing of one image file on one CPU thread, then backbone and head: {latency_measured(contents)}."


def macs(contents: Contents) -> Spec:
    """Multiply-adds against latency of the feature maps; of all runs where there are none."""
    return macs_latency(contents.board.feature_maps or contents.rows, conditions(contents))


def macs_caption(contents: Contents) -> str:
    """What to take from it."""
    return "What is counted is not what is waited for. The numbers are the leaderboard's, GMACs and latency." + (
        " Conditions differ: each has a shape." if conditions_differ(contents) else ""
    )


def latency_split(shares: Sequence[dict[str, Any]], conditions: Sequence[str]) -> Spec:
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
                    "x": {
                        **NUMBER,
                        "field": "ms",
                        "title": ["ms", *latency_title(conditions)[1:]],
                        "stack": "zero",
                        "axis": {"titleLimit": {"expr": "width"}},
                    },
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


def macs_latency(rows: Sequence[Row], conditions: Mapping[str, str]) -> Spec:
    """Multiply-adds against measured latency: what the first says of the second."""
    points: list[dict[str, Any]] = [
        {
            "backbone": r.backbone,
            "macs": round(r.macs / 1e9, 4),
            "latency": round(r.latency_ms, 3),
            "params": round(r.params / 1e6, 2),
            "rate": round(r.images_per_second, 1),
            "conditions": conditions[r.run],
        }
        for r in rows
    ]
    macs, latencies = [p["macs"] for p in points], [p["latency"] for p in points]
    places = zip(along(macs), along(latencies), rows, strict=True)
    written = names([(a, b, row.backbone) for a, b, row in places], NAMED, WIDTH)
    x = {**NUMBER, "field": "macs", "title": "GMACs", "scale": scale(macs)}
    y = {**NUMBER, "field": "latency", "scale": scale(latencies), "axis": {"titleLimit": {"expr": "height"}}}
    y["title"] = latency_title([p["conditions"] for p in points])
    shown = tips(
        backbone="backbone",
        macs="GMACs",
        latency="latency, ms",
        conditions="measured on",
        rate="images per second",
        params="parameters, M",
    )
    shape = condition_shapes(points)
    return chart(
        "Multiply-adds of one image against measured latency",
        [{**point, **name} for point, name in zip(points, written, strict=True)],
        [
            *name_layers(x, y, written),
            {
                "mark": {"type": "point", "filled": True, "size": 80, "opacity": 0.8, "color": COLOURS[0]},
                "encoding": {"x": x, "y": y, "tooltip": shown, **({"shape": shape} if shape else {})},
            },
        ],
    )


def _shares(contents: Contents) -> list[dict[str, Any]]:
    """Milliseconds by part of the best feature maps."""
    found = []
    rows = (contents.board.feature_maps or contents.rows)[:SHARES]
    names = [row.backbone for row in rows]
    for row in rows:
        performance = contents.runs[row.run].performance
        for order, part in enumerate(("preprocess", "backbone", "head")):
            latency = performance.get(f"{part}_ms")  # preprocessing is not known where no image could be timed
            if latency is not None:
                name = row.backbone if names.count(row.backbone) == 1 else f"{row.backbone} ({row.run})"
                found.append({"backbone": name, "part": part, "ms": round(latency["mean"], 3), "order": order})
    return found
