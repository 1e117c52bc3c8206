"""`featcache check`: validate, and say what a run would take."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.app.shared_options import Configs, Shared, command
from featcache.counted_nouns import counted, size_said

if TYPE_CHECKING:
    from featcache.app.predicted_times import PredictedTimes
    from featcache.extraction import CostEstimate
    from featcache.options import Options
    from featcache.session import Session


Tuned = Annotated[bool, typer.Option("--tuned", help="Say what `benchmark --tuned` would add: heads and seconds.")]


@command(
    *("set_", "device", "cache_dir", "allow_custom", "json", "verbose", "quiet"),
    answers="`seconds` of whole commands, `configs` with each part",
)
def check(configs: Configs, shared: Shared, tuned: Tuned = False) -> None:
    """Validate, and say what would be computed, how long and how much disk; runs nothing but a short calibration."""
    options = shared.load(configs)
    if tuned:
        from heads.tuned_heads import require_tunable

        for one in options:
            require_tunable(one)
    with shared.working() as session:
        from featcache.app import predicted_times
        from featcache.app.many_configs import run_each

        found: list[PredictedTimes] = []
        import heads.experiment  # noqa: F401  # as what trains does before it begins

        start = predicted_times.seconds_since_start()

        def work(one: Options) -> None:
            times = _predict(one, session)
            found.append(times)
            if shared.json:
                return
            for line in _lines(one, times, session):  # said as it comes: of many large networks the last takes minutes
                typer.echo(line)
            if tuned:
                typer.echo(f"  {_tuned(one, list(times.estimates), session)}")

        outcome = run_each(options, work)
        seconds = predicted_times.command_seconds(found, start)
        if found:
            shared.answer({"seconds": seconds, "configs": found})
            typer.echo(predicted_times.commands_line(seconds, len(found)))
    outcome.raise_if_failed()


def _predict(options: Options, session: Session) -> PredictedTimes:
    """Every part of a run is timed a little."""
    from featcache.app.predicted_times import PredictedTimes
    from featcache.extraction import estimate_costs
    from heads.distill import require_lesson

    require_lesson(options)
    estimates = estimate_costs(options, session)
    if options.training.unfreeze_schedule is not None:
        from heads.finetune import time_fine_tuning

        return PredictedTimes(tuple(estimates), None, time_fine_tuning(options, estimates[0], session))
    from heads.head_times import time_heads

    return PredictedTimes(tuple(estimates), time_heads(options, estimates[0], session.device), None)


def _lines(options: Options, times: PredictedTimes, session: Session) -> list[str]:
    """What a run would take, for people."""
    found = []
    for estimate in times.estimates:
        found += _lines_of(estimate)
    more = [*_schedule(options, session), *times.lines(), *times.estimates[0].notices]
    if options.training.distillation is not None:
        more.append("what the teacher takes, its extraction and its answers, is not in these seconds")
    return [*found, *(f"  {line}" for line in more)]


def _lines_of(one: CostEstimate) -> list[str]:
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


def _schedule(options: Options, session: Session) -> list[str]:
    """What an unfreeze_schedule comes to."""
    if options.training.unfreeze_schedule is None:
        return []
    from featcache.backbones import list_blocks
    from heads.finetune import make_schedule

    names = list_blocks(options.model, allow_custom=session.allow_custom)
    return [f"blocks: {', '.join(names)}", *make_schedule(options.training, names, options.model.backbone).lines()]
