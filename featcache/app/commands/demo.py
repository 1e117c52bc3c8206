"""`featcache demo`: what featcache does, seen once, on images that it came with."""

from __future__ import annotations

from typing import Annotated

import typer

from featcache.app.commands.benchmark import Tuned, rank_all
from featcache.app.results import Heads, RankBy
from featcache.app.shared_options import Shared, command

# One with weights that `featcache[offline]` brings, the same untrained, and two that are quick.
SMALL = ("tf_efficientnet_lite0", "tf_efficientnet_lite0_random", "mobilenet_v3_large", "squeezenet1_1")


@command(
    *("set_", "device", "devices", "cache_dir", "results_dir", "fresh", "json", "verbose", "quiet"),
    answers="as `benchmark`",
)
def demo(
    shared: Shared,
    small: Annotated[
        bool, typer.Option("--small", help="4 of the 20 configs: a minute on 2 CPU cores instead of 5.")
    ] = False,
    tuned: Tuned = False,
    heads: Heads = "auto",
    rank_by: RankBy = None,
) -> None:
    """Phase 1 on embedded handwritten digits, nothing to prepare: 17 backbones, 3 of them with random weights too."""
    from featcache.options import shipped_config

    configs = [shipped_config(f"demo/{name}.json") for name in SMALL] if small else [shipped_config("demo")]
    options = shared.load([str(one) for one in configs])
    outcome, page = rank_all(options, shared, tuned=tuned, heads=heads, rank_by=rank_by)
    if page is not None:
        typer.echo(_next(str(page.resolve()), small))
    outcome.raise_if_failed()


def _next(page: str, small: bool) -> str:
    """What a person does after it."""
    more = "\n  All 17 backbones, what is done is kept: featcache demo" if small else ""
    return (
        f"\nNext\n  Open {page}\n  On your images, a folder with one folder for each class: featcache init{more}\n"
        "  or at once, 15 backbones: featcache benchmark configs/phase1 --set data.path=FOLDER"
    )
