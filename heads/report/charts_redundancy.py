"""The alignment of feature maps becomes a matrix, as a Vega-Lite specification."""

from __future__ import annotations

from typing import Any

from featcache.counted_nouns import counted
from heads.leaderboard import redundant_text
from heads.report.page_tables import map_names
from heads.report.report_contents import Contents
from heads.report.vega_lite import COLOURS, Spec, chart, tips

CELL = 24  # pixels, of a row
NARROW = 18  # pixels of a column: of narrower ones neither the values nor the names below could be read
OPACITY = (0.03, 0.6)  # of CKA 0 and 1: the value can be read on it, dark on light and light on dark


def alignment(contents: Contents) -> Spec | None:
    """Linear CKA of each two feature maps, alike ones side by side; None where fewer than two were compared."""
    found = contents.comparison.alignment
    if found is None:
        return None
    names = map_names(contents)
    order = found.order()
    shown = [names[found.runs[place]] for place in order]
    cells: list[dict[str, Any]] = [
        {
            "one": shown[i],
            "other": shown[j],
            "cka": round(float(found.cka[a, b]), 3),
            "text": f"{max(0.0, round(float(found.cka[a, b]), 2)):.2f}".removeprefix("0"),
        }
        for i, a in enumerate(order)
        for j, b in enumerate(order)
        if i != j
    ]
    room = f"width >= {NARROW * len(shown)}"
    below = f"{room} ? datum.label : ''"
    axis = {"labelLimit": 170, "labelOverlap": False, "ticks": False, "domain": False, "grid": False}
    x = {
        "field": "other",
        "type": "nominal",
        "sort": shown,
        "title": None,
        "axis": {**axis, "labelAngle": -50, "labelExpr": below},
    }
    y = {"field": "one", "type": "nominal", "sort": shown, "title": None, "axis": axis}
    opacity = {
        "field": "cka",
        "type": "quantitative",
        "scale": {"domain": [0, 1], "clamp": True, "range": OPACITY},
        "legend": None,
    }
    value = {"condition": {"test": room, "field": "text"}, "value": ""}
    tip = tips(one="backbone", other="and", cka="linear CKA")
    return chart(
        f"Linear CKA of {counted(len(shown), 'feature map')} with each other, alike ones side by side",
        cells,
        [
            {
                "mark": {"type": "rect", "color": COLOURS[0]},
                "encoding": {"x": x, "y": y, "opacity": opacity, "tooltip": tip},
            },
            {
                "name": "cell",  # the page writes it without a halo
                "mark": {"type": "text", "fontSize": 9.5, "tooltip": None},
                "encoding": {"x": x, "y": y, "text": value},
            },
        ],
        height=CELL * len(shown),
    )


def alignment_caption(contents: Contents) -> str:
    """How to read it, and which feature maps are redundant."""
    return (
        "1: the same but for rotation and scale; 0: nothing in common. "
        f"{redundant_text(contents.board, contents.comparison)}"
    )
