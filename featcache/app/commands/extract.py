"""`featcache extract`: stage one alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from featcache.app.shared_options import CLUSTER, Configs, Shared, command
from featcache.counted_nouns import counted

if TYPE_CHECKING:
    from featcache.extraction import Extraction


@command(
    *("set_", "device", "devices", *CLUSTER, "cache_dir", "allow_custom", "json", "verbose", "quiet"),
    answers="`stores`: each with its rows, latency and MACs; `failed`",
)
def extract(configs: Configs, shared: Shared) -> None:
    """Stage one: fill the cache for each config, and measure latency and MACs."""
    options = [part for one in shared.load(configs) for part in one.parts]
    with shared.working() as session:
        from featcache.app.many_configs import run_each
        from featcache.extraction import extract_backbone, spread_backbones

        spread_backbones(options, session)
        with session.sharing_images(options) as sharing:
            outcome = run_each(options, partial(extract_backbone, session=sharing), session.progress)
    shared.answer({"stores": [_stored(e) for e in outcome.done], "failed": outcome.failed()})
    for e in outcome.done:
        latency = e.profile.latency_ms
        typer.echo(
            f"{e.store.where}: {counted(e.reused, 'row')} reused, {e.new} new, {len(e.bad)} bad; {latency.mean:.1f} ms "
            f"(p95 {latency.p95:.1f}) on {e.profile.device}, {e.profile.macs / 1e9:.3f} GMACs"
        )
    outcome.raise_if_failed()


def _stored(found: Extraction) -> dict[str, Any]:
    profile = found.profile
    return {
        "store": found.store.where,
        "backbone": found.info.identity.backbone,
        "reused": found.reused,
        "new": found.new,
        "bad": len(found.bad),
        "latency_ms": profile.latency_ms,
        "device": profile.device,
        "macs": profile.macs,
    }
