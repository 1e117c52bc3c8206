"""`featcache profile`: how long an exported model takes in the runtime that it is deployed in."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.app.shared_options import Shared, command
from featcache.atomic import write_text
from featcache.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from featcache.profiling import OnnxMeasurement

BESIDE = "parity.json"  # what every export has
KEPT = "performance_onnx.json"


@command("verbose", "quiet")
def profile(
    file: Annotated[Path, typer.Argument(metavar="FILE.onnx", help="An ONNX file, as `featcache export` writes it.")],
    shared: Shared,
    batch_size: Annotated[list[int] | None, typer.Option(min=1, help="Images at once; repeatable; default: 1.")] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(metavar="cpu|cuda|tensorrt", help="Where; repeatable; default: all that onnxruntime has here."),
    ] = None,
    iterations: Annotated[int, typer.Option(min=1, help="Timed passes.")] = 100,
    warmup: Annotated[int, typer.Option(min=1, help="Untimed passes before them.")] = 10,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the CPU; default: as many as PyTorch takes here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """The latency of an exported model in onnxruntime; in an export's folder it is kept beside the file."""
    if not file.is_file():
        raise InputError(f"{file}: there is no such file. Expected an ONNX file, as `featcache export` writes it.")
    with shared.telling():
        from featcache.profiling import OnnxTiming, profile_onnx

        found = profile_onnx(file, batch_size or [1], OnnxTiming(iterations, warmup, threads), provider or ())
    kept: dict[str, Any] = {"file": file.name, "measurements": [asdict(one) for one in found]}
    if (file.parent / BESIDE).is_file():
        write_text(file.parent / KEPT, json.dumps(kept, indent=2) + "\n")
    if as_json:
        typer.echo(json.dumps(kept, indent=2))
        return
    from featcache.app.progress import consoles

    consoles()[0].print(_table(found))


def _table(found: tuple[OnnxMeasurement, ...]) -> Table:
    """A row for each provider and batch size, in milliseconds."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("provider", "device", "threads", "batch", "mean ms", "p50", "p95", "p99", "images/s", ""):
        table.add_column(name, justify="left" if name in ("provider", "device", "") else "right")
    for one in found:
        ms = one.latency_ms
        figures = [f"{value:.2f}" for value in (ms.mean, ms.p50, ms.p95, ms.p99)]
        rate = f"{ms.batch_size / ms.mean * 1e3:.1f}"
        note = "the machine was busy" if one.busy else ""
        table.add_row(one.provider, one.device, str(one.threads), str(ms.batch_size), *figures, rate, note)
    return table
