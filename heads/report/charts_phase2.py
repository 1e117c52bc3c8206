"""Rows of fine-tuned runs become the figure of what fine-tuning brought, as a Vega-Lite specification."""

from __future__ import annotations

from heads.report.report_contents import Contents
from heads.report.vega_lite import COLOURS, NUMBER, Spec, chart, tips


def gains(contents: Contents) -> Spec | None:
    """What fine-tuning brought in val top-1, with its 95% interval; None where no run has a gain."""
    rows = [row for row in contents.rows if row.gain_top1 is not None]
    if not rows:
        return None
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
