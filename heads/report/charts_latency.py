"""Rows of the leaderboard become the figures of latency against accuracy, as Vega-Lite specifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heads.leaderboard import Row
from heads.report.page_tables import conditions
from heads.report.point_names import NAMED, name_layers, names
from heads.report.report_contents import Contents
from heads.report.vega_lite import COLOURS, NUMBER, SHAPES, WIDTH, Spec, along, chart, scale, tips

PHASES = ("Phase 1: heads on the cache", "Phase 2: end to end", "combinations of runs")
STUDENT = "students of a teacher"
CONTROL = "control group: random weights"
GROUPS = (*PHASES, STUDENT, CONTROL)
GROUP_COLOURS = (*COLOURS[:4], COLOURS[-1])
GROUP_SHAPES = ("circle", "diamond", "square", "triangle-up", "circle")


def top3(contents: Contents) -> Spec:
    """Latency against val top-3 of every run."""
    return latency_accuracy(contents.rows, "top3", conditions(contents))


def top1(contents: Contents) -> Spec:
    """Latency against val top-1 of every run."""
    return latency_accuracy(contents.rows, "top1", conditions(contents))


def top3_caption(contents: Contents) -> str:
    """How to read the figure, and how its latencies were measured."""
    return (
        "Up and to the left is better. Bubbles grow with parameters, bars are 95% intervals, the dashed line is the "
        f"Pareto front. Latency: {latency_measured(contents)}.{_fronts_differ(contents)}"
    )


def top1_caption(contents: Contents) -> str:
    """What this figure says beside the one of top-3."""
    return (
        "The same runs; with few classes top-3 is nearly flat and top-1 tells more. The numbers are the "
        f"leaderboard's.{_fronts_differ(contents)}"
    )


def latency_measured(contents: Contents) -> str:
    """What a latency is, and on what it was measured where that is one answer for all runs."""
    different = sorted(set(conditions(contents).values()))
    return "mean of one pass" + (f" on {different[0]}" if len(different) == 1 else ", conditions differ")


def conditions_differ(contents: Contents) -> bool:
    """Whether latencies were measured under more than one condition."""
    return len(set(conditions(contents).values())) > 1


def _fronts_differ(contents: Contents) -> str:
    return " Conditions differ: each has a shape, and a front of its own." if conditions_differ(contents) else ""


def latency_accuracy(rows: Sequence[Row], metric: str, conditions: Mapping[str, str]) -> Spec:
    """Latency against val accuracy (`top1` or `top3`) with 95% intervals; the Pareto front is drawn and named.

    `conditions` says of each run how its latency was measured; those of different conditions share no front.
    """
    points = _latency_points(rows, metric, conditions)
    name, group = f"validation top-{metric[-1]}", _group([p["group"] for p in points], GROUP_COLOURS)
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
                "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": group},
            },
            *name_layers(x, at, points),
            _bubbles(x, at, group, condition_shapes(points) or _group([p["group"] for p in points], GROUP_SHAPES)),
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
            "group": CONTROL if row.control else STUDENT if row.teacher else PHASES[row.phase - 1],
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
    """The runs on the Pareto front of their conditions; controls are on none."""
    found = set()
    for condition in set(conditions.values()):
        alike = [row for row in rows if conditions[row.run] == condition and not row.control]
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


def condition_shapes(points: Sequence[Mapping[str, Any]]) -> Spec | None:
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


def front(points: Sequence[tuple[float, float]]) -> set[int]:
    """Places of the `(latency, accuracy)` that no other is as good as in both, and better than in one."""
    return {
        i
        for i, (latency, accuracy) in enumerate(points)
        if not any(ms <= latency and a >= accuracy and (ms < latency or a > accuracy) for ms, a in points)
    }


def _group(groups: Sequence[str], look: Sequence[str]) -> Spec:
    """A colour or a shape for each group of runs that is there; a legend where there are several."""
    here = [place for place, group in enumerate(GROUPS) if group in groups]
    return {
        "field": "group",
        "type": "nominal",
        "title": None,
        "scale": {"domain": [GROUPS[i] for i in here], "range": [look[i] for i in here]},
        "legend": {"orient": "bottom", "direction": "vertical", "labelLimit": 240} if len(here) > 1 else None,
    }
