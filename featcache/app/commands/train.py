"""`featcache train`: one run for each config."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from featcache.app.results import leave_recipe_notes_out
from featcache.app.shared_options import TRAINING, Configs, Shared, command

if TYPE_CHECKING:
    from featcache.app.many_configs import Outcome
    from featcache.options import Options
    from heads.runs import Run


@command(
    *TRAINING,
    answers="`runs`: each folder with every metric of val and test, `best_epoch`, `reused`; `failed`",
)
def train(configs: Configs, shared: Shared) -> None:
    """One run for each config, on cached features (extracted first where rows are missing)."""
    outcome = train_all(shared.load(configs), shared)
    from heads.training import best_epoch_said

    runs = [{"run": r.folder, **r.metrics, "best_epoch": r.best_epoch, "reused": r.reused} for r in outcome.done]
    shared.answer({"runs": runs, "failed": outcome.failed()})
    for run in outcome.done:
        metrics = ", ".join(f"{k} {v:.4f}" for k, v in run.metrics.items())
        before = " (finished before)" if run.reused else ""
        typer.echo(f"{run.folder}: {metrics}, {best_epoch_said(run.best_epoch)}{before}")
    outcome.raise_if_failed()


def train_all(configs: list[Options], shared: Shared, ranked_after: bool = False, tuned: bool = False) -> Outcome[Run]:
    """The run of each config, and with `tuned` that of its best head too; what an unfreeze_schedule asks for is checked
    before the first of them works."""
    with shared.working(ranked_after=ranked_after) as session:
        if ranked_after:
            leave_recipe_notes_out()
        from featcache.app.many_configs import run_each
        from featcache.extraction import spread_backbones
        from heads.experiment import train_run
        from heads.finetune import TuningPlan, require_sound

        end_to_end = [TuningPlan(one) for one in configs if one.training.unfreeze_schedule is not None]
        require_sound(end_to_end, session.allow_custom)
        # Whether a teacher may teach is looked at when its student's turn comes, and nothing is extracted before that.
        spread_backbones([one for one in configs if one.training.distillation is None], session)
        with session.sharing_images(configs) as sharing:
            if not tuned:
                return run_each(configs, partial(train_run, session=sharing), session.progress)
            from heads.tuned_heads import require_tunable, tune_run

            for one in configs:
                require_tunable(one)

            def both(options: Options) -> Run:
                train_run(options, sharing)
                return tune_run(options, sharing)

            return run_each(configs, both, session.progress)
