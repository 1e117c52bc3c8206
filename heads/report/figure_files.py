"""A figure's specification becomes files: SVG and PNG, drawn without a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import vl_convert

from featcache.atomic import replacing, write_text
from heads.report.vega_lite import VERSION, Spec

FILE_WIDTH = 640  # pixels
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0, section 2.2


def remove_figures(folder: Path, names: Iterable[str]) -> None:
    """Remove the files of figures that are not drawn any more: those of an earlier report."""
    for name in names:
        for form in ("svg", "png"):
            (folder / f"{name}.{form}").unlink(missing_ok=True)


def save_figure(spec: Spec, folder: Path, name: str) -> list[Path]:
    """`name.svg` and `name.png` in `folder`, on white."""
    fixed = json.dumps(_drawable({**spec, "width": FILE_WIDTH, "background": "white"}))
    drawing = vl_convert.vegalite_to_svg(fixed, vl_version=VERSION)
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    write_text(svg, drawing)
    with replacing(png) as temporary:
        # The same bytes as from the specification, which would be laid out a second time.
        temporary.write_bytes(vl_convert.svg_to_png(drawing, scale=2))
    return [svg, png]


def _drawable(value: Any) -> Any:
    """The same without characters that no SVG may have: at one of them, in a class's name say, the renderer ends the
    process."""
    if isinstance(value, str):
        return NOT_IN_XML.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_drawable(key): _drawable(inner) for key, inner in value.items()}
    return [_drawable(inner) for inner in value] if isinstance(value, list | tuple) else value
