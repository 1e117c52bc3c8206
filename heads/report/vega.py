"""What every figure has in common, and how one becomes a file."""

from __future__ import annotations

import json
import math
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
NAME_SIZE = 11  # pixels, of names beside points
DOT, NEAR = 5, 30  # pixels: what a point takes up, and how far apart points of one name are to be named twice
RIGHT = 0.6  # of an axis: from here on no name runs to the right, where a narrow screen would cut it
SIDES = (("left", 9, -9), ("right", -9, -9), ("left", 9, 11), ("right", -9, 11), ("center", 0, -16), ("center", 0, 18))
Box = tuple[float, float, float, float]  # left, top, right, bottom
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


def names(places: Sequence[tuple[float, float, str]], most: int, width: int, height: int = HEIGHT) -> list[Spec]:
    """Fields for `name_layers`: beside which of the places (x and y from 0 to 1, and a name; the first ones matter
    most) the name is written, and on which side. At most `most`, none over another, none twice at one place."""
    at = [(x * width, (1 - y) * height, name) for x, y, name in places]
    dots = [(x - DOT, y - DOT, x + DOT, y + DOT) for x, y, _ in at]
    written: list[tuple[Box, float, float, str]] = []
    found: list[Spec] = []
    for at_one in at:
        x, y, name = at_one
        boxes = [one for one, *_ in written]
        again = any(name == other and math.hypot(x - a, y - b) < NEAR for _, a, b, other in written)
        side = None if again or len(written) >= most else _side(at_one, (width, height), (dots, boxes))
        if side is None:
            found.append({"name": ""})
            continue
        written.append((_box(x, y, name, *side), x, y, name))
        found.append({"name": name, "align": side[0], "dx": side[1], "dy": side[2]})
    return found


def name_layers(x: Spec, y: Spec, written: Sequence[Spec]) -> list[Spec]:
    """The names beside points that have the fields of `names`; no layer where none is written, since Vega complains of
    layers without data."""
    if not any(one["name"] for one in written):
        return []
    sides: Spec = {key: {"expr": f"datum.{key}"} for key in ("align", "dx", "dy")}
    return [
        {
            "transform": [{"filter": "datum.name !== ''"}],
            "mark": {"type": "text", "baseline": "middle", **sides, "fontSize": NAME_SIZE, "tooltip": None},
            "encoding": {"x": x, "y": y, "text": {"field": "name"}},
        }
    ]


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
        "layer": [_unheard(layer) if "tooltip" not in layer["encoding"] else layer for layer in layers],
    }


def _unheard(layer: Spec) -> Spec:
    """Screen readers pass over marks that say nothing but where they are."""
    return {**layer, "mark": {**layer["mark"], "aria": False}}


def _box(x: float, y: float, name: str, align: str, dx: float, dy: float) -> Box:
    long = 0.57 * NAME_SIZE * len(name)
    left = x + dx - (long if align == "right" else long / 2 if align == "center" else 0)
    return left, y + dy - NAME_SIZE * 0.6, left + long, y + dy + NAME_SIZE * 0.6


def _side(
    at: tuple[float, float, str], frame: tuple[int, int], taken: tuple[list[Box], list[Box]]
) -> tuple[str, float, float] | None:
    """The first side with room; over another point if need be, but never over another name."""
    dots, written = taken
    for obstacles in ([*dots, *written], written):
        for side in (one for one in SIDES if one[0] != "left" or at[0] < RIGHT * frame[0]):
            box = _box(*at, *side)
            inside = box[0] > -DOT and box[2] < frame[0] + DOT and box[1] > -4 * DOT and box[3] < frame[1] + DOT
            if inside and not any(_overlap(box, other) for other in obstacles):
                return side
    return None


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
