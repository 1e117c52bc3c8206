"""What commands that go on from a finished run are given: the run, and how its predictions are to be read."""

from __future__ import annotations

from typing import Annotated

import typer

from featcache.app.named_run import run_names

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's folder or name, best, or a place on the leaderboard.", autocompletion=run_names
    ),
]
FalseAlarms = Annotated[
    float,
    typer.Option(min=0, max=1, help="Flag images unlike the training ones, and at most this share of others."),
]
Uncalibrated = Annotated[
    bool, typer.Option("--uncalibrated", help="Probabilities as trained, without the run's temperature.")
]
