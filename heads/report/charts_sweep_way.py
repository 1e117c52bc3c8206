"""A sweep's trials in, the way that its search took through the options out, as a Vega-Lite specification."""

from __future__ import annotations

from collections.abc import Sequence

from heads.report.charts_sweep import POOR_TO_GOOD, options_line, positions
from heads.report.sweep_results import MOST_TRIALS, Sweep, Trial
from heads.report.vega_lite import COLOURS, WHOLE, Spec, chart, tips

BAND = 0.78  # of an option's share of the height: what its values span
LINES = 6  # chains that are drawn as lines, the best ones


def way(sweep: Sweep) -> Spec | None:
    """Each option's values by trial, in a band of its own; where the search climbs, the centres of chains as lines."""
    trials = [t for t in sweep.trials if any(t.options.values())]
    keys = [k for k in (trials[0].options if trials else {}) if len({t.options[k] for t in trials}) > 1]
    if not keys:
        return None
    bands = {key: len(keys) - 1 - i for i, key in enumerate(keys)}
    places: dict[str, dict[int, float]] = {}
    ends: list[Spec] = []
    for key, band in bands.items():
        found, labels = positions([t.options[key] for t in trials])
        height = [band + (1 - BAND) / 2 + BAND * p for p in found]
        places[key] = {t.number: y for t, y in zip(trials, height, strict=True)}
        ends += [{"y": band + (1 - BAND) / 2 + BAND * p, "label": label} for p, label in labels]
    layers = [_dots(sweep, len(keys), list(bands)), _ends(ends, max(t.number for t in trials))]
    if lines := _lines(sweep, places):
        layers.insert(1, _chains(lines))
    title = f"The options of each trial{', and the chains that were climbed in' if lines else ''}"
    points = [
        {
            "trial": t.number,
            "option": key,
            "y": round(places[key][t.number], 4),
            "value": round(t.values[0], 5) if t.values else None,
            "options": options_line(t.options),
        }
        for t in trials[:: -(-len(trials) // (4 * MOST_TRIALS))]
        for key in keys
    ]
    return chart(title, points, layers, height=max(160, 110 * len(keys)))


def _dots(sweep: Sweep, bands: int, names: Sequence[str]) -> Spec:
    named = [name.rpartition(".")[2] for name in reversed(names)]
    axis = {
        "values": [i + 0.5 for i in range(bands)],
        "labelExpr": f"{named}[floor(datum.value)]",
        "labelLimit": 160,
        "ticks": False,
        "grid": False,
        "domain": False,
    }
    scale = {"range": POOR_TO_GOOD if sweep.larger[0] else POOR_TO_GOOD[::-1]}
    legend = {"orient": "bottom", "gradientLength": 160, "gradientOpacity": 1, "tickCount": 3}
    return {
        "mark": {"type": "point", "filled": True, "size": 34, "opacity": 0.75, "aria": False},
        "encoding": {
            "x": {"field": "trial", "type": "quantitative", "title": "trial", "axis": WHOLE},
            "y": {
                "field": "y",
                "type": "quantitative",
                "title": None,
                "axis": axis,
                "scale": {"domain": [0, bands], "nice": False},
            },
            "color": {
                "field": "value",
                "type": "quantitative",
                "title": sweep.objectives[0],
                "scale": scale,
                "legend": legend,
            },
            "tooltip": tips(trial="trial", value=sweep.objectives[0], options="options"),
        },
    }


def _ends(ends: Sequence[Spec], last: int) -> Spec:
    """What stands at the ends of each band."""
    return {
        "data": {"values": [{**end, "trial": last} for end in ends]},
        "mark": {"type": "text", "align": "left", "dx": 8, "fontSize": 10, "tooltip": None},
        "encoding": {
            "x": {"field": "trial", "type": "quantitative"},
            "y": {"field": "y", "type": "quantitative"},
            "text": {"field": "label"},
        },
    }


def _chains(lines: Sequence[Spec]) -> Spec:
    names = list(dict.fromkeys(line["chain"] for line in lines))
    return {
        "data": {"values": list(lines)},
        "mark": {"type": "line", "strokeWidth": 2, "opacity": 0.9, "point": False, "tooltip": None},
        "encoding": {
            "x": {"field": "trial", "type": "quantitative"},
            "y": {"field": "y", "type": "quantitative"},
            "detail": {"field": "option"},
            "stroke": {
                "field": "chain",
                "type": "nominal",
                "title": None,
                "sort": None,
                "scale": {"domain": names, "range": [COLOURS[i] for i in (0, 2, 3, 4, 5, 6)]},
                "legend": {"orient": "bottom"},
            },
        },
    }


def _lines(sweep: Sweep, places: dict[str, dict[int, float]]) -> list[Spec]:
    """The centres of the best chains: their start, then the middle of each iteration's pairs."""
    chains: dict[int, list[Trial]] = {}
    for trial in sweep.trials:
        if trial.step is not None and all(trial.number in of for of in places.values()):
            chains.setdefault(trial.step[0], []).append(trial)
    sign = 1.0 if sweep.larger[0] else -1.0
    climbed = {c: own for c, own in chains.items() if len(own) > 1 and any(t.values for t in own)}
    best = {c: max(sign * t.values[0] for t in own if t.values) for c, own in climbed.items()}
    lines: list[Spec] = []
    for chain in sorted(climbed, key=lambda c: -best[c])[:LINES]:
        iterations: dict[int, list[Trial]] = {}
        for trial in climbed[chain]:
            assert trial.step is not None
            iterations.setdefault(trial.step[1], []).append(trial)
        name = f"from trial {chain}"
        for own in iterations.values():
            middle = sum(t.number for t in own) / len(own)
            lines += [
                {"chain": name, "option": key, "trial": middle, "y": sum(of[t.number] for t in own) / len(own)}
                for key, of in places.items()
            ]
    return lines
