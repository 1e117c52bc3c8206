"""What all figures have in common: colours, fonts, axes, tooltips; layers in, a Vega-Lite specification out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import vl_convert

Spec = dict[str, Any]

VERSION = "6.4"  # of Vega-Lite
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#999999")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
HEIGHT = 340  # pixels
WIDE = 10  # largest over smallest: from here on an axis is logarithmic
WIDTH = 400  # pixels, about: axes of figures side by side
NUMBER = {"type": "quantitative"}
# Ticks of what is counted: Vega's own fall between whole numbers where there are few of them.
WHOLE = {
    "format": "d",
    "values": {
        "expr": "sequence(ceil(domain('x')[0]), floor(domain('x')[1]) + 1, "
        "span(domain('x')) <= 10 ? 1 : 5 * ceil(span(domain('x')) / 50))"
    },
}
CONFIG = {
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridOpacity": 0.6,
        "labelSeparation": 5,
    },
    "legend": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal"},
    "background": "transparent",
}


def chart(description: str, values: Sequence[Any], layers: Sequence[Spec], height: int = HEIGHT) -> Spec:
    """A figure of these values; `description` is what a screen reader says."""
    return {**_bare(description, layers, height), "data": {"values": list(values)}}


def filled_later(description: str, layers: Sequence[Spec], height: int) -> Spec:
    """A figure whose data sets `points` (and others that its layers name) the page fills in."""
    return {**_bare(description, layers, height), "data": {"name": "points"}}


def tips(**titles: str) -> list[Spec]:
    """What hovering shows: field -> what it is called."""
    return [{"field": field, "title": title} for field, title in titles.items()]


def scale(values: Sequence[float]) -> Spec:
    """Logarithmic where the values span WIDE or more."""
    wide = bool(values) and min(values) > 0 and max(values) >= WIDE * min(values)
    return {"type": "log", "nice": True} if wide else {"zero": False, "nice": True}


def along(values: Sequence[float]) -> list[float]:
    """Where values lie on their axis, from 0 to 1."""
    logarithmic = scale(values).get("type") == "log"
    found = [math.log(v) for v in values] if logarithmic else list(values)
    low, extent = min(found), (max(found) - min(found)) or 1.0
    return [round((v - low) / extent, 3) for v in found]


@cache
def script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which defines `vegaEmbed`."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VERSION)
    return bundle.replace("</script", "<\\/script")


def _bare(description: str, layers: Sequence[Spec], height: int) -> Spec:
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",  # a name, which nothing fetches
        "description": description,
        "width": "container",
        "height": height,
        "config": CONFIG,
        "layer": [_unheard(layer) if "tooltip" not in layer["encoding"] else layer for layer in layers],
    }


def _unheard(layer: Spec) -> Spec:
    """Screen readers pass over marks that say nothing but where they are."""
    return {**layer, "mark": {**layer["mark"], "aria": False}}
