"""What `show` and `split` are given: a data set as data.path names it, or an options file with a section `data`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from featcache.app.shared_options import Shared
    from featcache.options import Options

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="A folder, table, archive, .. as data.path names it; or an options file, for its data."
    ),
]


def options_for(data: str, shared: Shared) -> Options:
    """The options of the data set, with every `--set`; the rest of them is not looked at."""
    from featcache.options import apply_overrides, parse_options

    document = _section(data) or {"path": data}
    whole: dict[str, Any] = {"experiment_name": "data", "model": {"backbone": "resnet18"}, "data": document}
    apply_overrides(whole, shared.overrides)
    return parse_options(whole, data)


def _section(data: str) -> dict[str, Any] | None:
    """The section `data` of an options file; None where `data` is no such file."""
    file = Path(data)
    if file.suffix != ".json" or not file.is_file():
        return None
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    options = isinstance(document, dict) and isinstance(document.get("data"), dict) and "model" in document
    return document["data"] if options else None
