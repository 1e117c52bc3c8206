"""`featcache benchmark`: Phase 1 in one go, from images to leaderboard and page."""

from __future__ import annotations

from typing import Annotated

import typer

from featcache.app.commands.train import train_all
from featcache.app.results import Heads, RankBy, audit_data, show_leaderboard, show_recipe_notes, write_page
from featcache.app.shared_options import CLUSTER, Configs, Shared, command

Tuned = Annotated[
    bool,
    typer.Option("--tuned", help="Beside it, find the best of several recipes for each backbone's head: NAME-tuned."),
]


@command("set_", "device", "devices", *CLUSTER, "cache_dir", "results_dir", "allow_custom", "fresh", "verbose", "quiet")
def benchmark(
    configs: Configs, shared: Shared, tuned: Tuned = False, heads: Heads = "auto", rank_by: RankBy = None
) -> None:
    """Phase 1 in one go: extract with every config, train its heads, rank them all."""
    outcome = train_all(shared.load(configs), shared, ranked_after=True, tuned=tuned)
    if outcome.done:
        from heads.leaderboard import Ranking

        data = outcome.done[-1].summary["data"]["fingerprint"]
        heads = "tuned" if tuned and heads == "auto" else heads  # what was asked for is what is shown
        ranked = show_leaderboard(shared.results_dir, Ranking(data, heads, rank_by, shared.cache_dir))
        audit_data(ranked, shared)
        show_recipe_notes(ranked)
        write_page(ranked, shared)
    outcome.raise_if_failed()
