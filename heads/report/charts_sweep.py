"""The figures of a sweep, as Vega-Lite specifications."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from featcache.counted_nouns import counted
from heads.report.sweep_results import Sweep, Trial, shown
from heads.report.vega_lite import COLOURS, WHOLE, Spec, chart, scale, tips

POOR_TO_GOOD = ["#9fc3da", "#8b8f98", "#c8642b", "#D55E00"]  # to be seen on white and on black


def best_so_far(sweep: Sweep, place: int) -> Spec:
    """How the best value of an objective came about, trial by trial."""
    objective = sweep.objectives[place]
    tried = [
        {"trial": t.number, "value": t.values[place], "state": t.state, "options": options_line(t.options)}
        for t in shown(sweep.trials, sweep.larger[place])
    ]
    best = [{"trial": trial, "best": values[place]} for trial, values in sweep.history if values[place] is not None]
    x = {"type": "quantitative", "field": "trial", "title": "trial", "axis": WHOLE}
    y = {"type": "quantitative", "title": objective, "scale": {"zero": False}}
    return chart(
        f"{objective}: every trial, and the best so far",
        tried,
        [
            {
                "mark": {
                    "type": "point",
                    "filled": True,
                    "size": 40,
                    "opacity": 0.6,
                    "color": COLOURS[4],
                    "aria": False,
                },
                "encoding": {
                    "x": x,
                    "y": {**y, "field": "value"},
                    "shape": _state_shape(legend=any(t["state"] == "pruned" for t in tried)),
                    "tooltip": tips(trial="trial", value=objective, state="state", options="options"),
                },
            },
            {
                "data": {"values": best},
                "mark": {
                    "type": "line",
                    "interpolate": "step-after",
                    "strokeWidth": 2,
                    "color": COLOURS[1],
                    "tooltip": None,
                },
                "encoding": {"x": x, "y": {**y, "field": "best"}},
            },
        ],
        height=240,
    )


def _state_shape(legend: bool) -> Spec:
    return {
        "field": "state",
        "type": "nominal",
        "title": None,
        "scale": {"domain": ["complete", "pruned"], "range": ["circle", "triangle-down"]},
        "legend": {"orient": "bottom"} if legend else None,
    }


def importance(sweep: Sweep) -> Spec:
    """How much of the objective's variance each option explains."""
    points = [{"option": k, "share": round(v, 4)} for k, v in sorted(sweep.importances.items(), key=lambda kv: -kv[1])]
    return chart(
        "Importance of each option",
        points,
        [
            {
                "mark": {"type": "bar", "color": COLOURS[0]},
                "encoding": {
                    "y": {
                        "field": "option",
                        "type": "nominal",
                        "sort": None,
                        "title": None,
                        "axis": {"labelLimit": 200},
                    },
                    "x": {"field": "share", "type": "quantitative", "title": "share of the variance"},
                    "tooltip": tips(option="option", share="share"),
                },
            }
        ],
        height=max(80, 28 * len(points)),
    )


def parallel_coordinates(sweep: Sweep) -> Spec:
    """Each trial as a line through its options to its value; the best ones are drawn last."""
    trials = shown(sweep.trials, sweep.larger[0])
    lines, labels = _lines(trials, sweep.objectives[0])
    x = {
        "field": "option",
        "type": "ordinal",
        "sort": None,
        "title": None,
        # the names without their sections, where they fit; the labels of values stand right of the lines
        "axis": {
            "orient": "top",
            "offset": 8,
            "labelExpr": "split(datum.label, '.')[length(split(datum.label, '.')) - 1]",
            "labelAngle": -20,
            "labelAlign": "left",
            "grid": True,
            "domain": False,
        },
    }
    y = {"field": "position", "type": "quantitative", "axis": None}
    return chart(
        f"Options of {counted(len(trials), 'trial')}, coloured by {sweep.objectives[0]}",
        lines,
        [
            {
                "mark": {"type": "line", "strokeWidth": 1.4, "opacity": 0.5, "aria": False},
                "encoding": {
                    "x": x,
                    "y": y,
                    "detail": {"field": "trial"},
                    "color": _value_colour(sweep, [t.values[0] for t in trials]),
                    "tooltip": tips(trial="trial", value=sweep.objectives[0], options="options"),
                },
            },
            {
                "data": {"values": labels},
                "mark": {"type": "text", "align": "left", "dx": 5, "fontSize": 10, "tooltip": None},
                "encoding": {"x": x, "y": y, "text": {"field": "label"}},
            },
        ],
        height=280,
    )


def _lines(trials: Sequence[Trial], objective: str) -> tuple[list[Spec], list[Spec]]:
    """Where each trial's line passes each of its options, and what is written there."""
    columns = {key: [t.options[key] for t in trials] for key in (trials[0].options if trials else {})}
    columns = {k: v for k, v in columns.items() if any(v)}
    columns[objective] = [repr(t.values[0]) for t in trials]
    places, labels = {}, []
    for key, texts in columns.items():
        places[key], named = positions(texts)
        labels += [{"option": key, "position": position, "label": label} for position, label in named]
    lines = [
        {
            "trial": t.number,
            "option": key,
            "position": round(places[key][i], 4),
            "value": round(t.values[0], 5),
            "options": options_line(t.options),
        }
        for i, t in enumerate(trials)
        for key in columns
    ]
    return lines, labels


def _value_colour(sweep: Sweep, values: Sequence[float]) -> Spec:
    small = max((abs(v) for v in values), default=0) < 100
    return {
        "field": "value",
        "type": "quantitative",
        "title": sweep.objectives[0],
        "scale": {"range": POOR_TO_GOOD if sweep.larger[0] else POOR_TO_GOOD[::-1]},
        "legend": {
            "orient": "bottom",
            "gradientLength": 160,
            "gradientOpacity": 1,
            "tickCount": 3,
            "format": ".3f" if small else ".3~s",
        },
    }


def sweep_front(sweep: Sweep) -> Spec:
    """The first two objectives of every trial, and the Pareto front among them."""
    first, second = sweep.objectives[:2]
    best = {b["trial"] for b in sweep.best}
    points: list[dict[str, Any]] = [
        {
            "trial": t.number,
            "a": t.values[0],
            "b": t.values[1],
            "front": "on the Pareto front" if t.number in best else "dominated",
            "options": options_line(t.options),
        }
        for t in shown(sweep.trials, sweep.larger[0])
    ]
    x = {"field": "b", "type": "quantitative", "title": second, "scale": scale([p["b"] for p in points])}
    y = {"field": "a", "type": "quantitative", "title": first, "scale": {"zero": False}}
    domain = ["on the Pareto front", "dominated"]
    return chart(
        f"{first} against {second}",
        points,
        [
            {
                "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.8, "aria": False},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": {
                        "field": "front",
                        "type": "nominal",
                        "title": None,
                        "scale": {"domain": domain, "range": [COLOURS[1], COLOURS[4]]},
                        "legend": {"orient": "bottom"},
                    },
                    "shape": {
                        "field": "front",
                        "type": "nominal",
                        "scale": {"domain": domain, "range": ["diamond", "circle"]},
                    },
                    "tooltip": tips(trial="trial", a=first, b=second, options="options"),
                },
            }
        ],
        height=260,
    )


def options_line(options: Mapping[str, str]) -> str:
    """A trial's options in a line."""
    return ", ".join(f"{key.rpartition('.')[2]} {_short(text)}" for key, text in options.items() if text)


def positions(texts: Sequence[str]) -> tuple[list[float], list[tuple[float, str]]]:
    """Where values lie between 0 and 1, and what is written where: numbers by size (of what spans powers of ten the
    logarithm) with the two ends named, anything else in alphabetical order with every name."""
    try:
        numbers = [float(t) for t in texts]
    except ValueError:
        names = sorted(set(texts))
        place = {name: i / max(1, len(names) - 1) for i, name in enumerate(names)}
        return [place[t] for t in texts], [(place[name], _short(name)) for name in names]
    low, high = min(numbers), max(numbers)
    ends = [(0.0, _short(repr(low))), (1.0, _short(repr(high)))]
    if low > 0 and high >= 30 * low:
        numbers, low, high = [math.log(n) for n in numbers], math.log(low), math.log(high)
    if low == high:
        return [0.5] * len(numbers), [(0.5, ends[0][1])]
    return [(n - low) / (high - low) for n in numbers], ends


def _short(text: str) -> str:
    try:
        return f"{float(text):.3g}"
    except ValueError:
        return text
