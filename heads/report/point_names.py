"""Points of a figure become the names beside them: which are written, and on which side, none over another."""

from __future__ import annotations

import math
from collections.abc import Sequence

from heads.report.vega_lite import HEIGHT, Spec

NAMED = 12  # names in a figure at most
NAME_SIZE = 11  # pixels, of names beside points
DOT, NEAR = 5, 30  # pixels: what a point takes up, and how far apart points of one name are to be named twice
RIGHT = 0.6  # of an axis: from here on no name runs to the right, where a narrow screen would cut it
SIDES = (("left", 9, -9), ("right", -9, -9), ("left", 9, 11), ("right", -9, 11), ("center", 0, -16), ("center", 0, 18))
Box = tuple[float, float, float, float]  # left, top, right, bottom


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
