"""`featcache serve`: predictions by HTTP, by the model of a finished run."""

from __future__ import annotations

from contextlib import closing
from importlib.util import find_spec
from typing import Annotated

import typer

from featcache.app.named_run import named_run
from featcache.app.prediction_arguments import FalseAlarms, Run, Uncalibrated
from featcache.app.shared_options import Shared, command
from featcache.errors import InputError

PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
PACKAGES |= {"prometheus_client": "prometheus-client"}


@command("device", "cache_dir", "results_dir", "allow_custom", "verbose", "quiet")
def serve(
    run: Run,
    shared: Shared,
    host: Annotated[str, typer.Option(help="Where to listen; other than this machine's own address: with a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(envvar="FEATCACHE_TOKEN", show_envvar=True, help="That requests must bring (Bearer)."),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Images that go through the network together.")] = 32,
    max_wait_ms: Annotated[float, typer.Option(min=0, help="That an image waits for others to go with.")] = 5.0,
    queue: Annotated[int, typer.Option(min=1, help="Images accepted and not answered yet; then 503.")] = 256,
    max_mb: Annotated[float, typer.Option(min=0.001, help="Of one request.")] = 20.0,
    timeout_s: Annotated[float, typer.Option(min=0.01, help="For one request.")] = 30.0,
    false_alarms: FalseAlarms = 0.05,
    uncalibrated: Uncalibrated = False,
) -> None:
    """Answer what images are, by HTTP and on a page to drop them on, by the model of a finished run."""
    folder = named_run(run, shared.results_dir)
    _require_packages()
    from heads.serve import ServeOptions, bind

    options = ServeOptions(
        host=host,
        port=port,
        token=token,
        max_batch=max_batch,
        max_wait_ms=max_wait_ms,
        queue=queue,
        max_mb=max_mb,
        timeout_s=timeout_s,
        false_alarms=false_alarms,
    )
    with shared.working() as session:
        from heads.runs import load_run_record
        from heads.serve import serving

        record = load_run_record(folder)
        socket, address = bind(options)
        serve_run = serving(record, session, options, cache_dir=shared.cache_dir, calibrated=not uncalibrated)
        with closing(socket), serve_run as server:
            socket.listen()  # who comes between this and the server waits a moment
            typer.echo(f"{folder.name} is served at {address} until Ctrl-C or SIGTERM")
            server.run(sockets=[socket])


def _require_packages() -> None:
    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise InputError(
            f"featcache serve needs {', '.join(missing)}, which the plain installation leaves out. Run pip install "
            "'featcache[serve]'."
        )
