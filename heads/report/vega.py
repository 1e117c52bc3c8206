"""What every figure has in common, and how one becomes a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert

from featcache.atomic import replacing, write_text

Spec = dict[str, Any]

VERSION = "6.4"  # of Vega-Lite
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#999999")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
HEIGHT = 340  # pixels
WIDE = 10  # largest over smallest: from here on an axis is logarithmic
FILE_WIDTH = 640  # pixels, of figures as files
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
    "axis": {"labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal", "gridOpacity": 0.6},
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


def save_figure(spec: Spec, folder: Path, name: str) -> list[Path]:
    """`name.svg` and `name.png` in `folder`, on white."""
    fixed = json.dumps({**spec, "width": FILE_WIDTH, "background": "white"})
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    write_text(svg, vl_convert.vegalite_to_svg(fixed, vl_version=VERSION))
    with replacing(png) as temporary:
        temporary.write_bytes(vl_convert.vegalite_to_png(fixed, vl_version=VERSION, scale=2))
    return [svg, png]


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
        "layer": list(layers),
    }
