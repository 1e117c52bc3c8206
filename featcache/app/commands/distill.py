"""`featcache distill`: a fast network learns from what a slow run or a combination answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from featcache.app.named_run import named_run, run_folder, run_names
from featcache.app.shared_options import Shared, command

if TYPE_CHECKING:
    from heads.students import Distilled


@command(
    *(
        "set_",
        "device",
        "devices",
        "cache_dir",
        "results_dir",
        "allow_custom",
        "fresh",
        "json_file",
        "verbose",
        "quiet",
    ),
    answers="`run`, `alone`, `val`, `test`, `latency_ms`, `ahead_of`, `said`",
)
def distill(
    shared: Shared,
    teacher: Annotated[
        str,
        typer.Option(
            metavar="RUN",
            help="A run or a combination: its folder, name, or place on the leaderboard.",
            autocompletion=run_names,
        ),
    ],
    student: Annotated[
        str,
        typer.Option(metavar="BACKBONE", help="What learns: a backbone, or a run of heads, as whose options say."),
    ],
    config: Annotated[
        str | None,
        typer.Argument(metavar="CONFIG", help="An options file to train by; with an unfreeze_schedule end to end."),
    ] = None,
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="Then the whole network, by configs/phase2.json or CONFIG.")
    ] = False,
    temperature: Annotated[float | None, typer.Option(help="That both's logits are divided by; default: 2.")] = None,
    weight: Annotated[
        float | None, typer.Option(help="Of the teacher's part of the loss, the labels' is the rest; default: 0.5.")
    ] = None,
    out_of_fold: Annotated[
        int | None,
        typer.Option(min=2, help="Have training images answered by heads that have not seen them, of so many folds."),
    ] = None,
    unlabelled: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Images without labels to learn from beside those with.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the folder below results/; default: <run>-distilled.")] = None,
) -> None:
    """Train a fast network on the answers of a slow run or a combination, and say what it came to."""
    given = {"temperature": temperature, "weight": weight, "out_of_fold": out_of_fold, "unlabelled": unlabelled}
    asked: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    with shared.working() as session:
        from heads.students import DistillPlan, distill_run

        run = run_folder(student, shared.results_dir)
        plan = DistillPlan(
            named_run(teacher, shared.results_dir),
            student if run is None else str(run),
            asked,
            config,
            end_to_end,
            name,
            tuple(shared.overrides),
        )
        found = distill_run(plan, session)
    _show(found, shared)


def _show(found: Distilled, shared: Shared) -> None:
    from featcache.app.progress import consoles

    run = found.run
    document = {
        "run": run.folder.name,
        "alone": found.alone.folder.name,
        **run.summary["distillation"],
        **{split: run.summary[split] for split in ("val", "test")},
        "latency_ms": run.performance["latency_ms"],
        "ahead_of": found.differences,
        "said": found.sentences,
    }
    shared.answer(document)
    for line in found.sentences:
        consoles()[0].print(f"- {line}", markup=False, highlight=False)
    typer.echo(f"{run.folder}: predict, serve, export, finetune and report take it as any run", err=shared.speaks_json)
