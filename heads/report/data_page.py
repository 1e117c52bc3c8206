"""What there is to see of a data set becomes one page: counts, mean pictures, a contact sheet, odd files."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from featcache.atomic import write_named
from featcache.counted_nouns import counted, nouns
from featcache.data import DataView
from featcache.records import ImageRecord
from heads.report.page_style import page_style
from heads.report.thumbnails import thumbnails

HERE = Path(__file__).parent / "assets"
SHEET = 12  # pictures of a class
PICTURED = 100  # classes, at most, whose pictures are shown


@dataclass(frozen=True)
class _Picture:
    name: str
    split: str
    source: str  # data URI; "" where it cannot be read


@dataclass(frozen=True)
class _Class:
    name: str
    mean: str  # data URI; "" where no image of it can be read
    pictures: tuple[_Picture, ...]


def write_data_page(view: DataView, file: Path, cache_dir: Path) -> None:
    """Write `view` as a page that needs nothing else to `file`; small pictures are kept under `cache_dir`.

    The contact sheet has the images of each class with the lowest content hashes, whatever their split. Every name is
    escaped. Raises OutputError where the file cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(counted=counted, nouns=nouns)
    page = environment.get_template("data.html.j2").render(
        view=view,
        manifest=view.manifest,
        splits=view.columns,
        totals=[sum(column) for column in zip(*(counts for _, counts in view.table), strict=True)],
        classes=_classes(view, cache_dir),
        style=page_style(),
    )
    write_named(file, page, "--html")


def _classes(view: DataView, cache_dir: Path) -> list[_Class]:
    """The first of the classes, with their pictures."""
    names = view.manifest.classes[:PICTURED]
    chosen: list[Sequence[ImageRecord]] = [[] for _ in names]
    for label in range(len(names)):
        own = sorted((i for i in view.manifest.images if i.label == label), key=lambda i: i.sha256)
        chosen[label] = own[:SHEET]
    small = thumbnails([image for own in chosen for image in own], cache_dir, view.manifest.depth)
    return [
        _Class(
            name,
            _png(view, name),
            tuple(_Picture(i.name, view.split_of(i), _uri("webp", small.get(i.sha256, b""))) for i in own),
        )
        for name, own in zip(names, chosen, strict=True)
    ]


def _png(view: DataView, name: str) -> str:
    """The mean picture of a class."""
    if name not in view.means:
        return ""
    file = io.BytesIO()
    Image.fromarray(view.means[name]).save(file, "PNG")
    return _uri("png", file.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}" if data else ""
