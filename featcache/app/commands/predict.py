"""`featcache predict`: what images are, by the model of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from featcache.app.named_run import named_run
from featcache.app.prediction_arguments import FalseAlarms, Run, Uncalibrated
from featcache.app.shared_options import Shared, command
from featcache.errors import OptionsError, OutputError


@command(
    *("device", "cache_dir", "results_dir", "allow_custom", "json", "verbose", "quiet"),
    answers="`predictions`: a line of `--format jsonl` each; of very many images that format is the better one",
)
def predict(
    run: Run,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGES...", help="Files, folders, zips, tars, globs; -: names on standard input."),
    ],
    shared: Shared,
    top: Annotated[int, typer.Option(min=1, help="How many likely classes of each image.")] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write .csv, .jsonl or .parquet instead of printing.")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="csv|jsonl|parquet", help="Of --out, or of what is printed.")
    ] = None,
    copy_to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Copy each image into a folder of its class there.")
    ] = None,
    uncertain: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the N images most worth labelling.")
    ] = None,
    by: Annotated[str, typer.Option(metavar="margin|entropy", help="How --uncertain tells.")] = "margin",
    false_alarms: FalseAlarms = 0.05,
    uncalibrated: Uncalibrated = False,
) -> None:
    """What images are, by the model of a finished run; what cannot be read is listed, and the rest is done."""
    folder = named_run(run, shared.results_dir)
    _require_known(by, form, out, shared)
    with shared.working() as session:
        from featcache.app.shown_predictions import PredictionTally, writing
        from heads.predict import SortedCopies, asked_images, load_predictor, most_worth_labelling, row_of, row_values
        from heads.runs import load_run_record

        listed = sys.stdin if "-" in images else ()
        asked = list(asked_images([name for name in images if name != "-"], listed))
        predictor = load_predictor(
            load_run_record(folder),
            session,
            cache_dir=shared.cache_dir,
            calibrated=not uncalibrated,
            spaced=false_alarms > 0,
        )
        classes = predictor.classes
        copies = None if copy_to is None else SortedCopies(copy_to, classes, [n for n in images if n != "-"])
        tally = PredictionTally(predictor, false_alarms)
        answers: list[dict[str, Any]] = []
        with writing(out, form, min(top, len(classes))) as write:
            found = tally.counting(predictor.predict(asked))
            for one in most_worth_labelling(found, uncertain, by) if uncertain else found:
                row = row_of(one, classes, top, false_alarms)
                write(row)
                if shared.json:
                    answers.append(row_values(row))
                if copies is not None and row.label is not None:
                    tally.copied(one, copies.copy(one, row.label))
        shared.answer({"predictions": answers})
        tally.say()
        if copies is not None:
            typer.echo(f"{copy_to}: {copies.copied} copied, {copies.there} there already", err=True)
    tally.raise_if_unreadable()


def _require_known(by: str, form: str | None, out: Path | None, shared: Shared) -> None:
    """Find out before any work what cannot be written."""
    from heads.predict import DOUBTS, FORMATS

    if by not in DOUBTS:
        raise OptionsError(f"--by {by}: expected {' or '.join(DOUBTS)}.")
    if form is not None and form not in FORMATS:
        raise OutputError(f"--format {form}: expected {', '.join(FORMATS)}.")
    if form is not None and out is None and shared.json:
        raise OutputError(f"--format {form} and --json: got both for what is printed, expected one. Leave one out.")
    if form == "parquet" and out is None:
        raise OutputError("--format parquet: a file is needed. Name it with --out.")
