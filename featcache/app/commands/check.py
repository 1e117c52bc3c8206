"""`featcache check`: validate, and say what a run would take."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.app.shared_options import Configs, Shared, command
from featcache.counted_nouns import counted, size_said

if TYPE_CHECKING:
    from featcache.extraction import CostEstimate
    from featcache.options import Options
    from featcache.session import Session


Tuned = Annotated[bool, typer.Option("--tuned", help="Say what `benchmark --tuned` would add: heads and seconds.")]


@command("set_", "device", "cache_dir", "allow_custom", "verbose", "quiet")
def check(configs: Configs, shared: Shared, tuned: Tuned = False) -> None:
    """Validate, and say what would be computed, how long and how much disk; runs nothing."""
    options = shared.load(configs)
    if tuned:
        from heads.tuned_heads import require_tunable

        for one in options:
            require_tunable(one)
    with shared.working() as session:
        from featcache.app.many_configs import run_each
        from featcache.extraction import estimate_costs

        def work(one: Options) -> None:
            estimates = estimate_costs(one, session)
            end_to_end = _end_to_end(one, estimates[0], session)
            for estimate in estimates:  # said as it comes: of many large networks the last takes minutes
                for line in [*_lines(estimate), *(f"  {line}" for line in [*end_to_end, *estimate.notices])]:
                    typer.echo(line)
            if tuned:
                typer.echo(f"  {_tuned(one, estimates, session)}")

        outcome = run_each(options, work)
    outcome.raise_if_failed()


def _lines(one: CostEstimate) -> list[str]:
    """What a run of one backbone would take, for people."""
    images = ", ".join(f"{n} {s}" for s, n in one.images.items())
    lines = [
        f"{one.name}: {one.backbone} ({one.weights}), {counted(one.features, 'feature')}, head {list(one.dims)}",
        f"  {counted(len(one.classes), 'class')}, {images}; {counted(one.passes, 'forward pass')} from an empty "
        f"cache, about {one.seconds:.0f} s, {size_said(one.disk_bytes)} as float16",
    ]
    if one.views > 1:
        lines.append(
            f"  of these {one.view_passes} for data.views {one.views} ({counted(one.views - 1, 'augmented view')} of "
            f"each training image): about {one.view_seconds:.0f} s, {size_said(one.view_disk_bytes)}"
        )
    return lines


def _tuned(options: Options, estimates: list[CostEstimate], session: Session) -> str:
    """What the best head of several recipes would add; that of joined backbones is one on all their features."""
    from heads.tuning_cost import estimate_tuning

    whole = replace(estimates[0], features=sum(one.features for one in estimates))
    cost = estimate_tuning(options, whole, session.device)
    return (
        f"--tuned adds {counted(cost.heads, 'head')} ({counted(cost.recipes, 'recipe')} with every seed"
        f"{' and fold' if options.data.folds else ''}, the best once more): about {cost.seconds:.0f} s"
    )


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
