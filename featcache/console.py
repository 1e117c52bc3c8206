"""What every command of the command line shares: its options' names, its notices, its errors and exit codes."""

from __future__ import annotations

import functools
import logging
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from featcache.errors import FeatcacheError, InputError

if TYPE_CHECKING:
    from featcache.options import Options
    from featcache.terminal import TerminalProgress

Configs = Annotated[list[str], typer.Argument(metavar="CONFIG...", help="Options files, or folders of them.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override any option; repeatable.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: the first GPU, else the CPU.")]
CacheDir = Annotated[Path | None, typer.Option(help="Where features are kept; default: cache.dir of the options.")]
ResultsDir = Annotated[Path, typer.Option(help="Where runs are kept.")]
AllowCustom = Annotated[
    bool, typer.Option("--allow-custom", help="Let model.backbone name code: package.module:function.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Train again what is finished already.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more; show tracebacks.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings, errors and results.")]

RESULTS = Path("results")
CACHE = Path("cache")
F = TypeVar("F", bound=Callable[..., None])


def guarded(command: F) -> F:
    """Errors become one paragraph and an exit code; `-v` shows where they came from."""

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        verbose = bool(arguments.get("verbose"))
        try:
            command(**arguments)
        except FeatcacheError as error:
            if verbose:
                traceback.print_exc()
            # Of the processes that torchrun started all refuse the same input; one says so.
            if not isinstance(error, InputError) or os.environ.get("RANK", "0") == "0":
                typer.echo(f"featcache: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo(
                "featcache: stopped. Rows that are extracted, and runs, epochs of end-to-end training and batches of "
                "trials that are finished, are kept; run the same command again (without --fresh) to go on from there.",
                err=True,
            )
            raise typer.Exit(130) from None
        except Exception as error:
            traceback.print_exc()
            typer.echo(
                f"featcache: unexpected {type(error).__name__}: {error}. This is a fault of featcache.",
                err=True,
            )
            raise typer.Exit(1) from None

    return run  # type: ignore[return-value]


@contextmanager
def working(verbose: bool, quiet: bool) -> Iterator[TerminalProgress]:
    """Notices to standard error, and who is told of progress until the work is over, however it ends."""
    from featcache.terminal import ConsoleHandler, TerminalProgress, consoles

    console = consoles()[1]
    level = logging.WARNING if quiet else logging.INFO
    log = logging.getLogger("featcache")
    log.handlers = [ConsoleHandler(console, logging.DEBUG if verbose else level)]
    log.propagate = False
    if verbose:
        log.setLevel(logging.DEBUG)
    with closing(TerminalProgress(console, quiet)) as progress:
        yield progress


def load(configs: list[str], overrides: list[str] | None, cache_dir: Path | None) -> list[Options]:
    """Every options file that is meant, all checked before any work."""
    from featcache.batch import load_all

    return load_all(configs, [*(overrides or []), *cache_override(cache_dir)])


def cache_override(cache_dir: Path | None) -> list[str]:
    """`--cache-dir` as the `--set` that it is."""
    import json

    return [f"cache.dir={json.dumps(str(cache_dir))}"] if cache_dir is not None else []
