"""The command-line options that commands share (--set, --device, ..), each declared once, and the session they make.

A command names those that it takes: `@command("set_", "device", ..)`, and gets them as one `Shared`.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from featcache.app.error_reporting import exiting
from featcache.app.json_answers import STDOUT, AsJson, JsonFile, answering

if TYPE_CHECKING:
    from rich.console import Console

    from featcache.app.progress import TerminalProgress
    from featcache.options import Options
    from featcache.session import Session

CLUSTER = ("cluster", "worker_gpus", "worker_cpus")  # of the commands that compute: those of one name
TRAINING = (  # of the commands that make runs
    *("set_", "device", "devices", *CLUSTER, "cache_dir", "results_dir", "allow_custom", "fresh"),
    *("json", "verbose", "quiet"),
)
Configs = Annotated[list[str], typer.Argument(metavar="CONFIG...", help="Options files, or folders of them.")]


def cache_folder_of(text: str) -> Path:
    """The folder on this machine of the cache that `--cache-dir` names."""
    from featcache.options import cache_folder

    return cache_folder(text)


@dataclass(frozen=True)
class Shared:
    """What was given for the shared options; one that a command does not take has its default."""

    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override any option; repeatable.")
    ] = None
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: the first GPU, else the CPU.")] = None
    devices: Annotated[
        str | None,
        typer.Option(metavar="all|LIST", help="Several at once, each with a process: all GPUs, or cuda:0,cuda:2."),
    ] = None
    cluster: Annotated[
        str | None,
        typer.Option(metavar="auto|ADDRESS|local:N", help="Workers of a Ray cluster, or N of this machine."),
    ] = None
    worker_gpus: Annotated[
        float | None,
        typer.Option(min=0, help="What each worker of the cluster takes: 1, 0.25 of one; default: one, where any are."),
    ] = None
    worker_cpus: Annotated[
        int | None, typer.Option(min=1, help="Cores of each worker of the cluster; default: its part of the machine's.")
    ] = None
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            parser=cache_folder_of,
            metavar="PATH|URL",
            help="Where features are kept; default: what the options say, else cache.",
        ),
    ] = None
    results_dir: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("results")
    allow_custom: Annotated[
        bool, typer.Option("--allow-custom", help="Let model.backbone name code: package.module:function.")
    ] = False
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew: use no run and no trial from before.")] = False
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more; show tracebacks.")] = False
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings, errors and results.")] = False
    json: AsJson = False
    json_file: JsonFile = None
    answers: list[Any] = field(default_factory=list)  # no option: what --json writes at the end

    @property
    def json_to(self) -> str | None:
        """Where --json writes: a file, "-" for standard output, None where it was not given."""
        return STDOUT if self.json else self.json_file

    @property
    def speaks_json(self) -> bool:
        """Whether standard output is for JSON alone."""
        return self.json_to == STDOUT

    def answer(self, document: Any) -> None:
        """What this command found, for --json: numbers, texts, paths, dataclasses and collections of them."""
        self.answers.append(document)

    @property
    def overrides(self) -> list[str]:
        """Every `--set`, `--cache-dir` being one of them."""
        if self.cache_dir is None:
            return list(self.set_ or [])
        from featcache.options import cache_url

        return [*(self.set_ or []), f"cache.dir={json.dumps(cache_url(self.cache_dir) or str(self.cache_dir))}"]

    def load(self, configs: list[str]) -> list[Options]:
        """Every options file that is meant, all checked before any work."""
        from featcache.app.many_configs import load_all

        return load_all(configs, self.overrides)

    @contextmanager
    def working(self, speaks: bool = True, ranked_after: bool = False) -> Iterator[Session]:
        """The session of this command: notices go to standard error, and progress is shown until the work is over,
        however it ends. Of several processes one `speaks`. One line at the end says which backbones got random weights
        instead of pretrained ones, but where a leaderboard comes after it and says so (`ranked_after`)."""
        with self.telling(speaks) as progress:
            from featcache.errors import InputError
            from featcache.session import Session

            if self.device is not None and self.devices is not None:
                raise InputError("--device and --devices: got both, expected one. Leave one of the two out.")
            if self.cluster is not None and self.devices is not None:
                raise InputError("--cluster and --devices: got both, expected one. Leave one of the two out.")
            session = Session.begin(
                self.device if self.devices is None else "cpu",
                allow_custom=self.allow_custom,
                progress=progress,
                results_dir=self.results_dir,
                reuse=not self.fresh,
            )
            session = replace(session, stand_ins=[])
            try:
                with (
                    session.on_devices(self.devices) as own,
                    own.on_cluster(self.cluster, self.worker_gpus, self.worker_cpus) as working,
                ):
                    yield working
            finally:
                if session.stand_ins and not ranked_after:
                    logging.getLogger("featcache").warning(
                        "NO PRETRAINED WEIGHTS could be had for %s: seeded random ones stand in (-v says why)",
                        ", ".join(session.stand_ins),
                    )

    @contextmanager
    def telling(self, speaks: bool = True) -> Iterator[TerminalProgress]:
        """Notices and progress alone, of work that computes on no device."""
        from featcache.app.progress import TerminalProgress, consoles

        console, quiet = consoles()[1], self.quiet or not speaks
        with self.noticing(console, quiet), closing(TerminalProgress(console, quiet)) as progress:
            yield progress

    @contextmanager
    def noticing(self, console: Console, quiet: bool) -> Iterator[None]:
        """Notices go to `console` inside the block, and after it where they went before: a console is bound to the
        standard error of its time, which may be closed when the next command runs in the same process."""
        from featcache.app.progress import ConsoleHandler

        log = logging.getLogger("featcache")
        before = log.handlers, log.propagate, log.level
        level = logging.WARNING if quiet else logging.INFO
        log.handlers = [ConsoleHandler(console, logging.DEBUG if self.verbose else level)]
        log.propagate = False
        if self.verbose:
            log.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            log.handlers, log.propagate = before[:2]
            log.setLevel(before[2])


def command(*taken: str, answers: str = "") -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A function with parameters of its own and `shared` becomes a command that takes these shared options too;
    `answers` says, for the reference, what its JSON has.

    Its errors become one paragraph and an exit code.
    """
    types = get_type_hints(Shared, include_extras=True)
    defaults = {f.name: f.default for f in fields(Shared) if f.default is not MISSING}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        own = [
            p.replace(annotation=hints[name])
            for name, p in inspect.signature(function).parameters.items()
            if name != "shared"
        ]
        common = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=types[name])
            for name in taken
        ]

        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            from featcache.app.progress import consoles

            shared = Shared(**{name: arguments.pop(name) for name in taken})
            with (
                exiting(shared.verbose),
                shared.noticing(consoles()[1], shared.quiet),
                answering(shared.json_to, shared.answers),
            ):
                function(shared=shared, **arguments)

        run.answers = answers  # type: ignore[attr-defined]
        parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *common]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate
