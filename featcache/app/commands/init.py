"""`featcache init`: four questions, then options files to begin with."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import Annotated, Any, get_args

import typer

from featcache.app.commands.show import print_view
from featcache.app.data_argument import options_for
from featcache.app.shared_options import Shared, command
from featcache.app.starter_configs import Networks, StarterConfigs, config_files_of, name_for
from featcache.counted_nouns import counted
from featcache.errors import DataError, FeatcacheError, OptionsError

AUTO = "auto"


@command("set_", "cache_dir", "verbose", "quiet")
def init(
    shared: Shared,
    images: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Where they are: a folder with one folder for each class, a table, .."),
    ] = None,
    networks: Annotated[
        Networks | None, typer.Option(help="Which to compare: 4 small ones, the usual 15, or all 27.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="What will compute: auto, cpu, cuda, cuda:1.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the folder below configs/, and of the runs' names.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: what is not given is as usual.")] = False,
) -> None:
    """Write options files for your images, by four questions; they say what the images are, and what to run next."""
    given = {"--images": images, "--networks": networks, "--device": device, "--name": name}
    _require_answers(given, yes)
    seen = _ask("Where are the images", images, None, yes, lambda text: _look(text, shared))
    sizes = ", ".join(f"{one} ({len(config_files_of(one))})" for one in get_args(Networks))
    chosen = _ask(f"Which networks to compare: {sizes}", networks, "usual", yes, _known_networks)
    computes = _ask("What computes: auto (a GPU if there is one), cpu, cuda, cuda:1", device, AUTO, yes, _known_device)

    def named(text: str) -> StarterConfigs:
        found = StarterConfigs(seen, chosen, text, shared.overrides)
        found.require_free()
        return found

    configs = _ask("A name for it", name, name_for(seen), yes, named)
    files = configs.write()
    typer.echo(f"{configs.folder}: {counted(len(files), 'options file')}, and their schema for editors")
    typer.echo(_next(str(configs.folder), computes))


def _require_answers(given: dict[str, str | None], yes: bool) -> None:
    """Raise OptionsError where an answer is needed and nobody can be asked."""
    if yes and given["--images"] is None:
        raise OptionsError("init: --yes asks nothing, and --images DATA is not there. Say where the images are.")
    missing = [flag for flag, value in given.items() if value is None]
    if missing and not yes and not _at_a_terminal():
        raise OptionsError(
            f"init: nobody can be asked here, standard input is no terminal. Give {', '.join(missing)}; or --images "
            "DATA and --yes, which takes for the others what is usual."
        )


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _ask(question: str, given: str | None, usual: str | None, yes: bool, read: Callable[[str], Any]) -> Any:
    """What `read` makes of the answer: given, usual, or asked for until it can be read."""
    if given is not None or yes:
        return read(given if given is not None else str(usual))

    def answered(text: str) -> Any:
        try:
            return read(text)
        except FeatcacheError as error:
            raise typer.BadParameter(str(error)) from None

    return typer.prompt(question, default=usual, value_proc=answered)


def _look(images: str, shared: Shared) -> str:
    """Show what is there; raises DataError for what training would refuse."""
    options = options_for(images, shared)
    with shared.telling() as progress:
        from featcache.data import look_over, survey

        view = look_over(survey(options.data, options.cache.folder), options.data, progress)
    print_view(view)
    if view.survey.refused:
        raise DataError(view.survey.refused)
    return options.data.path


def _known_networks(text: str) -> Networks:
    for one in get_args(Networks):
        if text == one:
            return one  # type: ignore[no-any-return]
    raise OptionsError(f"{text}: expected {', '.join(get_args(Networks))}")


def _known_device(text: str) -> str:
    from featcache.devices import pick_device

    if text != AUTO:
        pick_device(text)
    return text


def _next(folder: str, device: str) -> str:
    on = "" if device == AUTO else f" --device {device}"
    steps = {
        f"featcache check {shlex.quote(folder)}{on}": "what it takes: time, disk",
        f"featcache benchmark {shlex.quote(folder)}{on}": "which network separates the classes best",
        f"featcache finetune --top 3{on}": "the best three of them, end to end",
    }
    width = max(map(len, steps))
    return "\n".join(["\nNext", *(f"  {line:<{width}}  {what}" for line, what in steps.items())])
