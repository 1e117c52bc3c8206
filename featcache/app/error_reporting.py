"""An error becomes one paragraph on standard error and its exit code; Ctrl-C says how to go on."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unicodedata import category

import typer

from featcache.atomic import in_the_way
from featcache.errors import FeatcacheError, InputError

STOPPED = 130  # exit code of Ctrl-C, as shells have it
PIPE_CLOSED = 141  # and of a pipe that nobody reads any more


@contextmanager
def exiting(verbose: bool) -> Iterator[None]:
    """Errors inside become one paragraph on standard error and an exit code; `verbose` shows where they came from."""
    try:
        yield
    except FeatcacheError as error:
        raise _said(error, verbose) from None
    except IsADirectoryError as error:  # of a file that featcache reads by a name of its own
        raise _said(in_the_way(Path(error.filename or "")), verbose) from None
    except KeyboardInterrupt:
        typer.echo(
            "featcache: stopped. Rows that are extracted, and runs, epochs of end-to-end training and batches of "
            "trials that are finished, are kept; run the same command again (without --fresh) to go on from there.",
            err=True,
        )
        raise typer.Exit(STOPPED) from None
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:  # whoever read the output, `head` say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes
        raise typer.Exit(PIPE_CLOSED) from None
    except Exception as error:
        traceback.print_exc()
        typer.echo(f"featcache: unexpected {type(error).__name__}: {error}. This is a fault of featcache.", err=True)
        raise typer.Exit(1) from None


def _said(error: FeatcacheError, verbose: bool) -> typer.Exit:
    """The exit that is left to do once an error has been said."""
    if verbose:
        traceback.print_exc()
    # Of the processes that torchrun started all refuse the same input; one says so.
    if not isinstance(error, InputError) or os.environ.get("RANK", "0") == "0":
        typer.echo(f"featcache: {printable(str(error))}", err=True)
    return typer.Exit(error.exit_code)


_SHOWN = "\n\u200c\u200d"  # a new line; zero width (non-)joiners, of Persian, Hindi and many emoji


def printable(text: str) -> str:
    """As a terminal may show it: a name can hold what it would obey, or would show in another order. Spaces of other
    scripts and what joins or parts their letters stay."""
    return "".join(
        c if c.isprintable() or c in _SHOWN or category(c) == "Zs" else c.encode("unicode_escape").decode()
        for c in text
    )
