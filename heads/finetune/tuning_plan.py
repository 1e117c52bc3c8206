"""What `featcache finetune` is to do: options files as they are, or the options of Phase 1 runs with a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.backbones import list_blocks
from featcache.errors import InputError, OptionsError, RunError
from featcache.options import MAX_NAME, Options, apply_overrides, load_options, parse_options, read_json, shipped_config
from heads.finetune.phase1_start import require_start
from heads.finetune.unfreezing import make_schedule, require_schedule
from heads.leaderboard import Criterion, Ranking, choose, rank_results
from heads.runs import finished_runs

# The options of data that say which images are in which split.
OF_THE_IMAGES = (
    *("path", "root", "columns", "classes", "limit", "exclude", "groups"),
    *("max_bad_fraction", "depth", "truncated", "val_fraction", "test_fraction"),
)
SUFFIX = "-phase2"  # of the names of runs that began as runs of heads


@dataclass(frozen=True)
class TuningPlan:
    """One run to make."""

    options: Options
    from_run: Path | None = None  # the Phase 1 run that it comes from
    keep_head: bool = True  # whether it begins with that run's head


def plan_top(
    results_dir: Path,
    count: int,
    by: Criterion,
    *,
    config: str | None,
    overrides: Sequence[str],
    keep_heads: bool,
    ranking: Ranking,
) -> list[TuningPlan]:
    """The `count` best Phase 1 runs of the leaderboard, to be trained as `config` says (default: configs/phase2.json).

    Raises RunError where there is no leaderboard, or fewer backbones on it.
    """
    runs = finished_runs(results_dir)
    if not any(run.summary["phase"] == 1 for run in runs):
        raise RunError(
            f"--top {count}: {results_dir} holds no finished Phase 1 run to choose from. Run `featcache benchmark "
            "CONFIG...` first, or name its folder with --results-dir."
        )
    chosen = choose(rank_results(results_dir, ranking).board, count, by)
    return [
        plan_from_run(results_dir / row.run, config=config, overrides=overrides, keep_head=keep_heads) for row in chosen
    ]


def plan_from_run(folder: Path, *, config: str | None, overrides: Sequence[str], keep_head: bool = True) -> TuningPlan:
    """The run in `folder`, to be trained as `config` says: its model, its images, its cache. A run of heads on cached
    features gives its head, one that was fine-tuned (a soup and a student too) its whole network.

    Raises RunError where the folder holds no run, or a combination of several networks.
    """
    require_start(folder)
    own = load_options(folder / "options.json").as_dict()
    file = config if config is not None else shipped_config("phase2.json")
    document = read_json(Path(file))
    document["experiment_name"] = folder.resolve().name[: MAX_NAME - len(SUFFIX)] + SUFFIX
    document["model"] = own["model"]
    document["head"] = {**own["head"], **_section(document, "head")}
    document["data"] = {**_section(document, "data"), **{key: own["data"][key] for key in OF_THE_IMAGES}}
    document["cache"] = {**own["cache"], **_section(document, "cache")}
    document["profile"] = own["profile"]  # so that latencies compare
    apply_overrides(document, overrides)
    return TuningPlan(parse_options(document, f"{file} for {folder}"), folder, keep_head)


def require_sound(plans: Sequence[TuningPlan], allow_custom: bool = False) -> None:
    """Raise OptionsError with the faults of every plan, before the first of them does any work."""
    faults = []
    for plan in plans:
        options = plan.options
        try:
            require_schedule(options)
            names = list_blocks(options.model, allow_custom=allow_custom)
            make_schedule(options.training, names, options.model.backbone)
        except InputError as error:
            faults.append(f"{options.experiment_name}: {error}")
    if faults:
        raise OptionsError("\n".join(faults))


def _section(document: dict[str, Any], name: str) -> dict[str, Any]:
    section = document.get(name, {})
    if not isinstance(section, dict):
        raise OptionsError(f"{name} is not a section of the options: got {section!r}, expected an object.")
    return section
