"""`featcache check`: validate, and say what a run would take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from featcache.app.shared_options import Configs, Shared, command

if TYPE_CHECKING:
    from featcache.extraction import CostEstimate
    from featcache.options import Options
    from featcache.session import Session


@command("set_", "device", "cache_dir", "allow_custom", "verbose", "quiet")
def check(configs: Configs, shared: Shared) -> None:
    """Validate, and say what would be computed, how long and how much disk; runs nothing."""
    options = shared.load(configs)
    with shared.working() as session:
        from featcache.app.many_configs import run_each
        from featcache.extraction import estimate_costs

        def work(one: Options) -> None:
            estimates = estimate_costs(one, session)
            end_to_end = _end_to_end(one, estimates[0], session)
            for estimate in estimates:  # said as it comes: of many large networks the last takes minutes
                for line in [*_lines(estimate), *(f"  {line}" for line in [*end_to_end, *estimate.notices])]:
                    typer.echo(line)

        outcome = run_each(options, work)
    outcome.raise_if_failed()


def _lines(one: CostEstimate) -> list[str]:
    """What a run of one backbone would take, for people."""
    images = ", ".join(f"{n} {s}" for s, n in one.images.items())
    lines = [
        f"{one.name}: {one.backbone} ({one.weights}), {one.features} features, head {list(one.dims)}",
        f"  {len(one.classes)} classes, {images}; {one.passes} forward passes from an empty cache, about "
        f"{one.seconds:.0f} s, {one.disk_bytes / 1e6:.1f} MB as float16",
    ]
    if one.views > 1:
        lines.append(
            f"  of these {one.view_passes} for data.views {one.views} ({one.views - 1} augmented views of each "
            f"training image): about {one.view_seconds:.0f} s, {one.view_disk_bytes / 1e6:.1f} MB"
        )
    return lines


def _end_to_end(options: Options, estimate: CostEstimate, session: Session) -> list[str]:
    """What an unfreeze_schedule comes to."""
    if options.training.unfreeze_schedule is None:
        return []
    from featcache.backbones import list_blocks
    from heads.finetune import make_schedule

    names = list_blocks(options.model, allow_custom=session.allow_custom)
    lines = make_schedule(options.training, names, options.model.backbone).lines()
    # A backward pass costs about two forward passes.
    images = 3 * estimate.images["train"] + estimate.images["val"]
    seconds = images * estimate.seconds / max(estimate.passes, 1)
    return [f"blocks: {', '.join(names)}", *lines, f"an epoch in which everything trains: about {seconds:.0f} s"]
