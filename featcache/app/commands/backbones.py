"""`featcache backbones`: what can be named."""

from __future__ import annotations

from typing import Annotated

import typer

from featcache.app.shared_options import Shared, command


@command("allow_custom", "verbose")
def backbones(
    shared: Shared,
    pattern: Annotated[str, typer.Argument(help="A name or a glob such as 'resnet*'; timm is listed when given.")] = "",
) -> None:
    """What model.backbone can name: feature size, input size, whether weights are at hand."""
    from featcache.app.progress import consoles
    from featcache.app.tables import catalogue_table
    from featcache.backbones import catalogue

    consoles()[0].print(catalogue_table(catalogue(pattern, shared.allow_custom)))
