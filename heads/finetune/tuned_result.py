"""What an end-to-end run came to: every seed's best epoch on val and, once, on test; what trained when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from featcache.records import Split
from heads.finetune.adapters import merged_state
from heads.finetune.batch_inputs import DecodedInputs
from heads.finetune.checkpoints import Checkpoints, Position
from heads.finetune.phase1_start import Phase1Start
from heads.finetune.run_setup import RunSetup
from heads.finetune.tuned_network import Network, make_trainer
from heads.finetune.unfreezing import HEAD
from heads.runs import Predictions, Result, make_result, outcomes_of_heads
from heads.training import TrainedHead


def make_tuned_result(
    setup: RunSetup, network: Network, checkpoints: Checkpoints, position: Position, start: Phase1Start | None
) -> Result:
    """The figures of every seed's best epoch on val and, now for the first time, on test."""
    test = setup.extraction.manifest.of("test")
    source = DecodedInputs(setup.decoder(), test, setup.device)
    val, tested = [], []
    for finished in position.finished:
        weights, logits = checkpoints.load_best(finished.best)
        trainer = make_trainer(setup, network, start, finished.head.seed)
        trainer.load(weights)
        tested.append(trainer.logits(source, len(test)).numpy())
        val.append(logits.numpy())
        state = {n.removeprefix("head."): t for n, t in weights.items() if n.startswith("head.")}
        finished.head.state = state if setup.fit is None else setup.fit.folded(state)
    dataset = setup.dataset
    predictions: dict[Split, Predictions] = {
        "val": Predictions.of(np.stack(val), [dataset.images[i] for i in dataset.val]),
        "test": Predictions.of(np.stack(tested), test),
    }
    heads = [f.head for f in position.finished]
    seconds = sum(row.seconds for head in heads for row in head.curve)
    result = make_result(setup.options, [[head] for head in heads], predictions, seconds)
    weights, _ = checkpoints.load_best(position.finished[result.best].best)
    make_trainer(setup, network, start, 0).load(weights)
    kept = merged_state(network.backbone.network)
    return replace(
        result,
        network=kept,
        from_run=start.name if start is not None else None,
        from_inputs=start.made_from if start is not None else None,
        stages=_stages(setup, heads),
        of_folds=[f.of_folds for f in position.finished if f.of_folds is not None],
        val_outcomes=outcomes_of_heads(
            [[[head] for head in heads]], predictions["val"].images, [np.arange(len(dataset.val))]
        ),
    )


def _stages(setup: RunSetup, heads: list[TrainedHead]) -> list[dict[str, Any]]:
    """What trained from which epoch on, and how long its epochs took."""
    schedule, found = setup.schedule, []
    epochs = max(len(head.trained) for head in heads)
    for number, stage in enumerate(schedule.stages):
        end = schedule.stages[number + 1].epoch if number + 1 < len(schedule.stages) else epochs
        rows = [row for head in heads for row in head.curve if stage.epoch <= row.epoch < end]
        if rows:
            found.append(
                {
                    "epoch": stage.epoch,
                    "blocks": [*schedule.blocks[stage.first :], HEAD],
                    "lr_scale": stage.lr_scale,
                    "seconds_per_epoch": float(np.median([row.seconds for row in rows])),
                }
            )
    return found
