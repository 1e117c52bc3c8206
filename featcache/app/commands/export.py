"""`featcache export`: the model of a finished run for programs without featcache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcache.app.named_run import named_run
from featcache.app.prediction_arguments import Run
from featcache.app.shared_options import Shared, command


@command(
    *("cache_dir", "results_dir", "allow_custom", "json", "verbose", "quiet"),
    answers="`folder`, `files` with their bytes, `parity` with the run, `opset`, `notes`",
)
def export(
    run: Run,
    shared: Shared,
    to: Annotated[str, typer.Option(metavar="onnx|torch|safetensors|timm", help="What to make of it.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder to make; default: export/<format> in the run's.")
    ] = None,
    images_as: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="uint8|normalised",
            help="What an image is; default: uint8 for onnx and torch, normalised for safetensors and timm.",
        ),
    ] = None,
    opset: Annotated[
        int | None, typer.Option(metavar="N", help="Of ONNX; default: what torch's exporter writes.")
    ] = None,
    precision: Annotated[str, typer.Option(metavar="float32|float16|int8", help="Of ONNX.")] = "float32",
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, help="The largest difference of a logit that is allowed, as a share of the largest; float32: 0.001."
        ),
    ] = None,
    agreement: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="The least share of equal top-1; float16: 0.99, int8: 0.95."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="How many validation images to compare on.")] = 256,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an export that is there.")] = False,
) -> None:
    """The model of a finished run in one folder that needs no featcache, loaded back and compared with the run."""
    folder = named_run(run, shared.results_dir)
    with shared.working() as session:
        from heads.export import ExportRequest, export_run
        from heads.runs import load_run_record

        request = ExportRequest(
            to, out, images_as, opset, precision, tolerance, agreement, images=images, overwrite=overwrite
        )
        exported = export_run(load_run_record(folder), request, session, cache_dir=shared.cache_dir)
    parity = exported.parity
    files = sorted(exported.folder.iterdir())
    shared.answer(
        {
            **{"folder": exported.folder, "parity": parity, "opset": exported.opset, "notes": exported.notes},
            "files": {file.name: file.stat().st_size for file in files},
        }
    )
    opset_text = f" (opset {exported.opset})" if exported.opset is not None else ""
    typer.echo(f"{exported.folder}{opset_text}")
    for file in files:
        typer.echo(f"  {file.name:<20} {file.stat().st_size / 1e6:9.3f} MB")
    typer.echo(
        f"On {parity.compared_on}, in {parity.runtime}: top-1 agrees for {parity.agreement:.2%}, logits differ by "
        f"{parity.largest_difference:.2g} at most (the largest is {parity.largest_logit:.3g})."
    )
    for note in exported.notes:
        typer.echo(f"{note}.")
