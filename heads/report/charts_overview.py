"""The figures that compare runs, as Vega-Lite specifications: the page draws them, and they become files too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featcache.separability import measures
from heads.leaderboard import Row
from heads.report.vega import COLOURS, SHAPES, Spec, along, chart, name_layers, names, scale, tips

PHASES = ("Phase 1: heads on the cache", "Phase 2: end to end")
NAMED, FEW = 12, 8  # names in a figure at most; of points in a small one, all or none
WIDTH, SMALL = 400, 200  # pixels, about: axes of figures side by side
SMALL_HEIGHT = 180
NUMBER = {"type": "quantitative"}
PHASE_SHAPES = {"domain": list(PHASES), "range": ["circle", "diamond"]}


def latency_accuracy(rows: Sequence[Row], metric: str, conditions: Mapping[str, str]) -> Spec:
    """Latency against val accuracy (`top1` or `top3`) with 95% intervals; the Pareto front is drawn and named.

    `conditions` says of each run how its latency was measured; those of different conditions share no front.
    """
    points = _latency_points(rows, metric, conditions)
    name, phase = f"validation top-{metric[-1]}", _phase(legend=any(row.phase == 2 for row in rows))
    title = latency_title([p["conditions"] for p in points])
    x = {**NUMBER, "field": "latency", "title": title, "axis": {"titleLimit": {"expr": "width"}}}
    x["scale"] = scale([p["latency"] for p in points])
    y = {**NUMBER, "title": name, "scale": {"zero": False, "nice": True}}
    at = {**y, "field": "accuracy"}
    return chart(
        f"Latency against {name} with 95% intervals; a line joins the Pareto front",
        points,
        [
            _front_line(x, at),
            {
                "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.6, "tooltip": None},
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": phase},
            },
            *name_layers(x, at, points),
            _bubbles(x, at, phase, _by_condition(points) or {**phase, "scale": PHASE_SHAPES}),
        ],
    )


def _latency_points(rows: Sequence[Row], metric: str, conditions: Mapping[str, str]) -> list[dict[str, Any]]:
    """The best first: its name is written first."""
    rows = sorted(rows, key=lambda r: -getattr(r, f"val_{metric}"))
    on = _fronts(rows, metric, conditions)
    points = [
        {
            "run": row.run,
            "backbone": row.backbone,
            "weights": row.weights,
            "latency": round(row.latency_ms, 3),
            "p95": round(row.latency_p95_ms, 3),
            "conditions": conditions[row.run],
            "accuracy": round(getattr(row, f"val_{metric}"), 5),
            "low": round(getattr(row, f"val_{metric}_low"), 5),
            "high": round(getattr(row, f"val_{metric}_high"), 5),
            "params": round(row.params / 1e6, 2),
            "phase": PHASES[row.phase - 1],
            "front": "yes" if row.run in on else "no",
        }
        for row in rows
    ]
    low, high = min(p["low"] for p in points), max(p["high"] for p in points)
    places = [
        (x, (p["accuracy"] - low) / ((high - low) or 1), p["backbone"], p["front"] == "yes")
        for x, p in zip(along([p["latency"] for p in points]), points, strict=True)
    ]
    written = iter(names([place[:3] for place in places if place[3]], NAMED, WIDTH))
    return [{**p, **(next(written) if p["front"] == "yes" else {"name": ""})} for p in points]


def _fronts(rows: Sequence[Row], metric: str, conditions: Mapping[str, str]) -> set[str]:
    """The runs on the Pareto front of their conditions."""
    found = set()
    for condition in set(conditions.values()):
        alike = [row for row in rows if conditions[row.run] == condition]
        on = front([(row.latency_ms, getattr(row, f"val_{metric}")) for row in alike])
        found |= {row.run for place, row in enumerate(alike) if place in on}
    return found


def _front_line(x: Spec, y: Spec) -> Spec:
    return {
        "transform": [{"filter": "datum.front === 'yes'"}],
        "mark": {
            "type": "line",
            "interpolate": "step-after",
            "strokeDash": [5, 3],
            "color": "#888",
            "tooltip": None,
        },
        "encoding": {"x": x, "y": y, "order": {"field": "latency"}, "detail": {"field": "conditions"}},
    }


def _bubbles(x: Spec, y: Spec, colour: Spec, shape: Spec) -> Spec:
    """The runs, larger with more parameters."""
    size = {
        **NUMBER,
        "field": "params",
        "title": "parameters, M",
        "scale": {"range": [50, 700], "zero": False},
        "legend": {"orient": "bottom", "tickCount": 3, "symbolType": "circle"},
    }
    shown = tips(
        backbone="backbone",
        weights="weights",
        run="run",
        accuracy=str(y["title"]),
        low="interval from",
        high="to",
        latency="latency, ms",
        p95="p95, ms",
        conditions="measured on",
        params="parameters, M",
        front="on the Pareto front",
    )
    return {
        "mark": {"type": "point", "filled": True, "opacity": 0.85, "stroke": "#fff", "strokeWidth": 0.8},
        "encoding": {"x": x, "y": y, "size": size, "color": colour, "shape": shape, "tooltip": shown},
    }


def latency_title(conditions: Sequence[str]) -> list[str]:
    """Of an axis, in two lines: what is measured, and on what."""
    different = sorted(set(conditions))
    return ["latency of one pass, ms", different[0] if len(different) == 1 else "measured under different conditions"]


def _by_condition(points: Sequence[Mapping[str, Any]]) -> Spec | None:
    """A shape for each of the conditions; None where there is but one."""
    domain = sorted({p["conditions"] for p in points})
    if len(domain) == 1:
        return None
    return {
        "field": "conditions",
        "type": "nominal",
        "title": None,
        "scale": {"domain": domain, "range": [SHAPES[i % len(SHAPES)] for i in range(len(domain))]},
        "legend": {"orient": "bottom", "direction": "vertical", "labelLimit": 300},
    }


def separability(rows: Sequence[Row]) -> dict[str, Spec]:
    """One measure of separability against the heads' accuracy, each; those that no row has are left out."""
    found = {}
    for measure in measures():
        known = [row for row in rows if row.more.get(measure) is not None]
        if known:
            found[measure] = _measure(known, measure)
    return found


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
    shape = _by_condition(points)
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
    shown = tips(
        run="run", backbone="backbone", gain="gain", low="interval from", high="to", accuracy="val top-1",
        **{"from": "over run"},
    )  # fmt: skip
    return chart(
        "Gain of Phase 2 over Phase 1 in validation top-1, with 95% intervals",
        points,
        [
            {
                "data": {"values": [{"zero": 0}]},
                "mark": {"type": "rule", "strokeDash": [4, 3], "color": "#888"},
                "encoding": {"x": {**NUMBER, "field": "zero"}},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": COLOURS[1]},
                "encoding": {
                    "y": y,
                    "x": {**NUMBER, "field": "low", "title": "gain in val top-1"},
                    "x2": {"field": "high"},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90, "shape": "diamond", "color": COLOURS[1]},
                "encoding": {"y": y, "x": {**NUMBER, "field": "gain"}, "tooltip": shown},
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


def _evenly(values: Sequence[float]) -> list[float]:
    """Where values lie on a linear axis, from 0 to 1."""
    low, extent = min(values), (max(values) - min(values)) or 1.0
    return [(v - low) / extent for v in values]


def _phase(legend: bool) -> Spec:
    return {
        "field": "phase",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(PHASES), "range": list(COLOURS[:2])},
        "legend": {"orient": "bottom", "direction": "vertical", "labelLimit": 240} if legend else None,
    }
