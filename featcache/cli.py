"""The command line: the one place that prints and exits, and the one above both packages.

Heavy imports wait inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from featcache.cli_audit import audit
from featcache.cli_cache import cache_app
from featcache.cli_report import audit_data, report, show_leaderboard, write_page
from featcache.console import (
    RESULTS,
    AllowCustom,
    CacheDir,
    Configs,
    Device,
    Fresh,
    Quiet,
    ResultsDir,
    Set,
    Verbose,
    cache_override,
    guarded,
    load,
    working,
)

if TYPE_CHECKING:
    from featcache.batch import Outcome
    from featcache.check import Plan
    from featcache.options import Options
    from heads.finetune.plan import Plan as TuningPlan
    from heads.runs import Run


app = typer.Typer(
    help="Which pretrained backbone separates your image classes best, and at what latency?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(cache_app, name="cache")
app.command()(audit)
app.command()(report)

By = Literal["accuracy", "pareto", "separability"]


@app.command()
@guarded
def benchmark(
    configs: Configs,
    set_: Set = None,
    device: Device = None,
    cache_dir: CacheDir = None,
    results_dir: ResultsDir = RESULTS,
    allow_custom: AllowCustom = False,
    fresh: Fresh = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Phase 1 in one go: extract with every config, train its heads, rank them all."""
    options = load(configs, set_, cache_dir)
    outcome = _train_all(options, device, results_dir, allow_custom, fresh, verbose, quiet)
    if outcome.done:
        ranked = show_leaderboard(results_dir, outcome.done[-1].summary["data"]["fingerprint"])
        audit_data(ranked, cache_dir, verbose, quiet)
        write_page(ranked, cache_dir, verbose, quiet)
    outcome.raise_if_failed()


@app.command()
@guarded
def train(
    configs: Configs,
    set_: Set = None,
    device: Device = None,
    cache_dir: CacheDir = None,
    results_dir: ResultsDir = RESULTS,
    allow_custom: AllowCustom = False,
    fresh: Fresh = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """One run for each config, on cached features (extracted first where rows are missing)."""
    outcome = _train_all(load(configs, set_, cache_dir), device, results_dir, allow_custom, fresh, verbose, quiet)
    for run in outcome.done:
        metrics = ", ".join(f"{k} {v:.4f}" for k, v in run.metrics.items())
        typer.echo(f"{run.folder}: {metrics}, best epoch {run.best_epoch}{' (finished before)' if run.reused else ''}")
    outcome.raise_if_failed()


@app.command()
@guarded
def extract(
    configs: Configs,
    set_: Set = None,
    device: Device = None,
    cache_dir: CacheDir = None,
    allow_custom: AllowCustom = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Stage one: fill the cache for each config, and measure latency and MACs."""
    options = [part for one in load(configs, set_, cache_dir) for part in one.parts]
    with working(verbose, quiet) as progress:
        from featcache.batch import run_each, shared_scratch
        from featcache.extraction import extract as run_extract

        with shared_scratch(options) as scratch:
            work = partial(run_extract, device=device, allow_custom=allow_custom, progress=progress, scratch=scratch)
            outcome = run_each(options, work, progress)
    for e in outcome.done:
        latency = e.profile.latency_ms
        typer.echo(
            f"{e.store.path}: {e.reused} rows reused, {e.new} new, {len(e.bad)} bad; {latency.mean:.1f} ms "
            f"(p95 {latency.p95:.1f}) on {e.profile.device}, {e.profile.macs / 1e9:.3f} GMACs"
        )
    outcome.raise_if_failed()


@app.command()
@guarded
def sweep(
    space: Annotated[Path, typer.Argument(metavar="SPACE.json", help="What is searched, around which base options.")],
    set_: Set = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many trials in all; default: as the file says.")
    ] = None,
    device: Device = None,
    cache_dir: CacheDir = None,
    results_dir: ResultsDir = RESULTS,
    allow_custom: AllowCustom = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the trials of an earlier sweep of this name.")] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Search any options, heads trained in bulk on the cache; a sweep that was stopped goes on."""
    with working(verbose, quiet) as progress:
        from featcache.errors import OptionsError
        from featcache.options import apply_overrides
        from featcache.terminal import consoles, trials_table
        from heads.search import load_sweep, run_sweep

        options, base = load_sweep(space, trials)
        searched = [one for one in set_ or [] if one.partition("=")[0] in options.space]
        if searched:
            raise OptionsError(f"--set {searched[0]}: the sweep searches that option. Take it out of the space.")
        apply_overrides(base, [*(set_ or []), *cache_override(cache_dir)])
        result = run_sweep(
            options,
            base,
            results_dir=results_dir,
            device=device,
            allow_custom=allow_custom,
            fresh=fresh,
            progress=progress,
        )
    out = consoles()[0]
    out.print(trials_table(result.leading(), list(result.importances)))
    for line in result.lines():
        out.print(line, markup=False)


@app.command()
@guarded
def finetune(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CONFIG...",
            help="Options files with an unfreeze_schedule; with --top or --from-run the one to train by, by default "
            "configs/phase2.json.",
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Fine-tune the leaderboard's best N backbones.")] = None,
    by: Annotated[By | None, typer.Option(help="What --top goes by; default: accuracy.")] = None,
    from_run: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Fine-tune this Phase 1 run, beginning with its head.")
    ] = None,
    with_heads: Annotated[
        bool, typer.Option("--with-heads", help="With --top: begin with the runs' heads, not with fresh ones.")
    ] = False,
    set_: Set = None,
    device: Device = None,
    cache_dir: CacheDir = None,
    results_dir: ResultsDir = RESULTS,
    allow_custom: AllowCustom = False,
    fresh: Fresh = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Phase 2: train backbone and head end to end, unfreezing step by step; a run that was stopped goes on."""
    import os

    first = int(os.environ.get("RANK", "0")) == 0  # of the processes that torchrun started, one speaks
    with working(verbose, quiet or not first) as progress:
        from featcache.batch import Outcome, run_each_of, shared_scratch
        from featcache.extraction import pick_device
        from heads.finetune import fine_tune
        from heads.finetune.plan import require_sound
        from heads.finetune.processes import local_device, processes

        plans = _plans(configs or [], top, by, from_run, with_heads, set_, cache_dir, results_dir)
        require_sound(plans, allow_custom)
        with shared_scratch([plan.options for plan in plans]) as scratch:

            def work(plan: TuningPlan) -> Run:
                return fine_tune(
                    plan.options,
                    results_dir=results_dir,
                    device=device,
                    allow_custom=allow_custom,
                    reuse=not fresh,
                    progress=progress,
                    scratch=scratch,
                    from_run=plan.from_run,
                    keep_head=plan.keep_head,
                )

            with processes(pick_device(local_device(device))) as them:  # connected once for all runs
                if them.count == 1:
                    outcome = run_each_of(plans, work, lambda plan: plan.options.experiment_name, progress)
                else:  # a process that goes on alone after an error would wait for the others for ever
                    outcome = Outcome(tuple(work(plan) for plan in plans), ())
    if outcome.done and first:
        show_leaderboard(results_dir, outcome.done[-1].summary["data"]["fingerprint"])
        typer.echo(f"`featcache report --results-dir {results_dir}` writes the page anew.")
    outcome.raise_if_failed()


def _plans(
    configs: list[str],
    top: int | None,
    by: By | None,
    from_run: Path | None,
    with_heads: bool,
    overrides: list[str] | None,
    cache_dir: Path | None,
    results_dir: Path,
) -> list[TuningPlan]:
    """What `finetune` was asked for; raises OptionsError for what does not go together."""
    from featcache.errors import OptionsError
    from heads.finetune.plan import Plan, plan_from_run, plan_top

    if top is None and (by is not None or with_heads):
        raise OptionsError(
            f"finetune: {'--with-heads' if with_heads else '--by'} goes with --top N, which is not there."
        )
    changes = [*(overrides or []), *cache_override(cache_dir)]
    if top is None and from_run is None:
        if not configs:
            raise OptionsError("finetune: say what: --top N, --from-run FOLDER, or options files (CONFIG...).")
        return [Plan(options) for options in load(configs, overrides, cache_dir)]
    if top is not None and from_run is not None:
        raise OptionsError("finetune: --top and --from-run are two ways to choose runs. Give one of them.")
    if len(configs) > 1:
        raise OptionsError(f"finetune: --top and --from-run take one CONFIG to train by, got {len(configs)}.")
    config = configs[0] if configs else None
    if from_run is not None:
        return [plan_from_run(from_run, config=config, overrides=changes)]
    assert top is not None
    return plan_top(
        results_dir,
        top,
        by or "accuracy",
        config=config,
        overrides=changes,
        keep_heads=with_heads,
    )


@app.command()
@guarded
def backbones(
    pattern: Annotated[str, typer.Argument(help="A name or a glob such as 'resnet*'; timm is listed when given.")] = "",
    allow_custom: AllowCustom = False,
    verbose: Verbose = False,
) -> None:
    """What model.backbone can name: feature size, input size, whether weights are at hand."""
    del verbose
    from featcache.catalogue import catalogue
    from featcache.terminal import catalogue_table, consoles

    consoles()[0].print(catalogue_table(catalogue(pattern, allow_custom)))


@app.command()
@guarded
def check(
    configs: Configs,
    set_: Set = None,
    device: Device = None,
    cache_dir: CacheDir = None,
    allow_custom: AllowCustom = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Validate, and say what would be computed, how long and how much disk; runs nothing."""
    options = load(configs, set_, cache_dir)
    with working(verbose, quiet):
        from featcache.batch import run_each
        from featcache.check import check_joined

        def work(one: Options) -> tuple[list[Plan], list[str]]:
            plans = check_joined(one, device=device, allow_custom=allow_custom)
            return plans, _end_to_end(one, plans[0], allow_custom)

        outcome = run_each(options, work)
    for plan, end_to_end in [(plan, lines) for plans, lines in outcome.done for plan in plans]:
        images = ", ".join(f"{n} {s}" for s, n in plan.images.items())
        typer.echo(
            f"{plan.name}: {plan.backbone} ({plan.weights}), {plan.features} features, head {list(plan.dims)}\n"
            f"  {len(plan.classes)} classes, {images}; {plan.passes} forward passes from an empty cache, about "
            f"{plan.seconds:.0f} s, {plan.disk_bytes / 1e6:.1f} MB as float16"
        )
        if plan.views > 1:
            typer.echo(
                f"  of these {plan.view_passes} for data.views {plan.views} ({plan.views - 1} augmented views of each "
                f"training image): about {plan.view_seconds:.0f} s, {plan.view_disk_bytes / 1e6:.1f} MB"
            )
        for line in [*end_to_end, *plan.notices]:
            typer.echo(f"  {line}")
    outcome.raise_if_failed()


def _end_to_end(options: Options, plan: Plan, allow_custom: bool) -> list[str]:
    """What an unfreeze_schedule comes to; raises OptionsError where the backbone cannot follow it."""
    if options.training.unfreeze_schedule is None:
        return []
    from featcache.backbones import list_blocks
    from heads.finetune.schedule import make_schedule

    names = list_blocks(options.model, allow_custom=allow_custom)
    lines = make_schedule(options.training, names, options.model.backbone).lines()
    # A backward pass costs about two forward passes.
    images = 3 * plan.images["train"] + plan.images["val"]
    seconds = images * plan.seconds / max(plan.passes, 1)
    return [f"blocks: {', '.join(names)}", *lines, f"an epoch in which everything trains: about {seconds:.0f} s"]


@app.command()
@guarded
def schema(
    sweeps: Annotated[bool, typer.Option("--sweep", help="That of a sweep's file.")] = False, verbose: Verbose = False
) -> None:
    """Print the JSON schema of an options file, or of a sweep's."""
    del verbose
    import json

    if sweeps:
        from heads.search.options import sweep_schema

        typer.echo(json.dumps(sweep_schema(), indent=2))
        return
    from featcache.options import options_schema

    typer.echo(json.dumps(options_schema(), indent=2))


def _train_all(
    options: list[Options],
    device: str | None,
    results_dir: Path,
    allow_custom: bool,
    fresh: bool,
    verbose: bool,
    quiet: bool,
) -> Outcome[Run]:
    with working(verbose, quiet) as progress:
        from featcache.batch import run_each, shared_scratch
        from heads import train_model
        from heads.finetune.plan import Plan, require_sound

        end_to_end = [Plan(one) for one in options if one.training.unfreeze_schedule is not None]
        require_sound(end_to_end, allow_custom)
        with shared_scratch(options) as scratch:
            work = partial(
                train_model,
                results_dir=results_dir,
                device=device,
                allow_custom=allow_custom,
                reuse=not fresh,
                progress=progress,
                scratch=scratch,
            )
            return run_each(options, work, progress)


def main() -> None:
    """The console command `featcache`."""
    app()


if __name__ == "__main__":
    main()
