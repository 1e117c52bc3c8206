"""`featcache schema`: what editors check options files by."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from featcache.app.shared_options import Shared, command


@command("verbose")
def schema(
    shared: Shared,
    sweeps: Annotated[bool, typer.Option("--sweep", help="That of a sweep's file.")] = False,
) -> None:
    """Print the JSON schema of an options file, or of a sweep's."""
    del shared
    if sweeps:
        from heads.search import sweep_schema

        typer.echo(json.dumps(sweep_schema(), indent=2))
        return
    from featcache.options import options_schema

    typer.echo(json.dumps(options_schema(), indent=2))
