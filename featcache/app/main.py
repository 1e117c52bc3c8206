"""The console command `featcache`: every command by its name, each in a file of its own.

Heavy imports wait inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress

import typer

from featcache.app.commands.audit import audit
from featcache.app.commands.backbones import backbones
from featcache.app.commands.benchmark import benchmark
from featcache.app.commands.cache import cache
from featcache.app.commands.check import check
from featcache.app.commands.combine import combine
from featcache.app.commands.curve import curve
from featcache.app.commands.demo import demo
from featcache.app.commands.distill import distill
from featcache.app.commands.export import export
from featcache.app.commands.extract import extract
from featcache.app.commands.finetune import finetune
from featcache.app.commands.init import init
from featcache.app.commands.predict import predict
from featcache.app.commands.profile import profile
from featcache.app.commands.report import report
from featcache.app.commands.schema import schema
from featcache.app.commands.serve import serve
from featcache.app.commands.show import show
from featcache.app.commands.soup import soup
from featcache.app.commands.split import split
from featcache.app.commands.sweep import sweep
from featcache.app.commands.train import train
from featcache.app.json_answers import Command

# In the order that `--help` lists them: from images to results, then what looks after things.
COMMANDS = (
    *(demo, init, benchmark, extract, train, sweep, finetune, combine, soup, distill),
    *(report, predict, serve, export, profile, curve, audit),
    *(show, split, check, backbones, schema),
)

app = typer.Typer(
    help="Which pretrained backbone separates your image classes best, and at what latency?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for one in COMMANDS:
    app.command(cls=Command)(one)
app.add_typer(cache, name="cache")


def main() -> None:
    """The console command `featcache`.

    What is left to do at the end is done, all but taking PyTorch's modules down piece by piece, which takes seconds.
    """
    code = 1
    _open_closed_streams()
    atexit.register(lambda: _leave(code))  # the first to be registered is the last to be called
    try:
        app()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise


def _open_closed_streams() -> None:
    """Where the caller closed a standard stream (`<&-`, some services), nobody reads or writes it: before any other
    file is opened, which would take its number and have printed into it what is for nobody."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False, encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False, encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False, encoding="utf-8")


def _leave(code: int) -> None:
    with suppress(OSError, ValueError):  # whoever read them is gone, or they are closed
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
