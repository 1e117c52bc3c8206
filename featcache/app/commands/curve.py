"""`featcache curve`: what more training images would buy, by heads on growing shares of them."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.app.named_run import run_folder, run_names
from featcache.app.shared_options import Shared, command
from featcache.errors import OutputError, RunError

if TYPE_CHECKING:
    from featcache.options import Options
    from heads.learning_curves import CurveStudy

LONGEST = 80  # characters of names that are joined to the name of a file


@command(
    *("set_", "device", "cache_dir", "results_dir", "allow_custom", "json_file", "verbose", "quiet"),
    answers="the whole study, as results/curves keeps it",
)
def curve(
    shared: Shared,
    wanted: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|CONFIG...",
            help="Finished runs (a folder, its name below results/, or place on the leaderboard), or options files.",
            autocompletion=run_names,
        ),
    ],
    draws: Annotated[int, typer.Option(min=2, help="How often each share of the images is drawn.")] = 3,
    noise: Annotated[
        bool, typer.Option("--noise", help="Also with 5, 10 and 20% of the training labels flipped.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="Of the files below results/curves; default: the runs' names.")
    ] = None,
) -> None:
    """What more training images would buy: heads on growing shares of them, on the cache, for each backbone."""
    options = _options(wanted, shared)
    called = _name(options, name)
    with shared.working() as session:
        from featcache.app.many_configs import run_each
        from heads.learning_curves import measure_curve, require_same_images, study_of, write_curves

        require_same_images(options)
        with session.sharing_images(options) as sharing:
            work = partial(measure_curve, session=sharing, draws=draws, noise=noise)
            outcome = run_each(options, work, session.progress)
        if outcome.done:
            study = study_of(outcome.done, session, draws, noise)
            document = study.document(called)
            shared.answer(document)
            _show(study)
            files = write_curves(document, session.results_dir)
            typer.echo(f"{files[0]}, {files[1].name}: the whole study", err=shared.speaks_json)
    outcome.raise_if_failed()


def _options(wanted: list[str], shared: Shared) -> list[Options]:
    """The options of every run and file that is meant, all checked before any work."""
    from featcache.app.many_configs import load_all
    from featcache.options import require_frozen

    found = []
    for one in wanted:
        folder = run_folder(one, shared.results_dir)
        if folder is None:
            found += load_all([one], shared.overrides)
        elif _combined(folder):
            raise RunError(f"{one}: is a combination of runs, which trains no head. Name the runs that it is made of.")
        else:  # its name may have had to be told from others'
            (options,) = load_all([str(folder / "options.json")], shared.overrides)
            found.append(options.model_copy(update={"experiment_name": folder.resolve().name}))
    for options in found:
        require_frozen(options)
    return list({(one.experiment_name, one.short): one for one in found}.values())  # a run may be named in two ways


def _combined(folder: Path) -> bool:
    from heads.runs import load_run_record, members_of

    return bool(members_of(load_run_record(folder).summary, folder))


def _name(options: list[Options], given: str | None) -> str:
    from featcache.options import plain_name

    if given is not None:
        try:
            plain_name(given, "--name")
        except ValueError as error:
            raise OutputError(f"curve: {error}.") from None
        return given
    joined = "+".join(dict.fromkeys(one.experiment_name for one in options))
    if len(joined) <= LONGEST:
        return joined
    return f"{joined[: LONGEST - 9]}-{hashlib.sha256(joined.encode()).hexdigest()[:8]}"


def _show(study: CurveStudy) -> None:
    from featcache.app.curve_tables import curve_table, noise_table, settings_line
    from featcache.app.progress import consoles

    out = consoles()[0]
    out.print(curve_table(study))
    if any(one.noise for one in study.curves):
        out.print()
        out.print(noise_table(study))
    out.print(settings_line(study), markup=False, highlight=False)
    for line in study.sentences():
        out.print(f"- {line}", markup=False, highlight=False)
