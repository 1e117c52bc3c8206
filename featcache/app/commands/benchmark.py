"""`featcache benchmark`: Phase 1 in one go, from images to leaderboard and page."""

from __future__ import annotations

from featcache.app.commands.train import train_all
from featcache.app.results import audit_data, show_leaderboard, write_page
from featcache.app.shared_options import Configs, Shared, command


@command("set_", "device", "cache_dir", "results_dir", "allow_custom", "fresh", "verbose", "quiet")
def benchmark(configs: Configs, shared: Shared) -> None:
    """Phase 1 in one go: extract with every config, train its heads, rank them all."""
    outcome = train_all(shared.load(configs), shared, ranked_after=True)
    if outcome.done:
        ranked = show_leaderboard(shared.results_dir, outcome.done[-1].summary["data"]["fingerprint"], shared.cache_dir)
        audit_data(ranked, shared)
        write_page(ranked, shared)
    outcome.raise_if_failed()
