"""One seed's training: the loop over its epochs, and which of them is best on val, the start among them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from featcache.extraction import Indices
from heads.finetune.network_training import NetworkTraining, Passed, not_finite
from heads.finetune.run_setup import RunSetup
from heads.training import START, EpochOutcomes, EpochRow, TrainedHead, epoch_row, metrics, outcomes_of_logits

log = logging.getLogger("featcache")

Commit = Callable[[str, dict[str, Tensor], Tensor], None]


class EpochChoice:
    """Trains a network of one seed and keeps the epoch that is best on val. The weights before any training take part
    as epoch -1, so that no run ends below where it began."""

    def __init__(self, setup: RunSetup, network: NetworkTraining, seed: int, val: Indices) -> None:
        self.setup, self.network, self.seed = setup, network, seed
        self.result = TrainedHead(seed, outcomes=EpochOutcomes(len(val)))
        self.best = ""  # the name of the file of the best epoch
        self._labels = torch.from_numpy(setup.dataset.labels[val])

    def restore(self, state: dict[str, Any]) -> int:
        """Go on from a checkpoint; returns the epoch to begin with."""
        self.result, self.best = state["head"], state["best"]
        self.network.restore(state)
        return self.result.curve[-1].epoch + 1

    def checkpoint(self) -> dict[str, Any]:
        """Everything that the next epoch depends on: plain types and tensors."""
        return {"head": self.result, "best": self.best, **self.network.checkpoint()}

    def run(self, begin: int, commit: Commit) -> None:
        """Train from epoch `begin` on, -1 being the start. `commit` is told after every epoch: the name, weights and
        val logits of a new best one, or an empty name."""
        setup, training = self.setup, self.setup.training
        # Patience does not run out before the last blocks, and the average of epochs, have had a chance.
        since = max(setup.schedule.stages[-1].epoch, training.swa_from or 0)
        for epoch in range(begin, training.epochs):
            if self.result.curve and self.result.over(training, since):
                break
            if self.network.prepare(max(epoch, 0)) or epoch == begin:
                setup.progress.begin(f"{setup.backbone} seed {self.seed}", training.epochs - max(epoch, 0), "epoch")
            began = time.perf_counter()
            passed = self.network.start() if epoch == START else self.network.epoch(epoch)
            row = self._row(epoch, passed, began)
            better = self._note(row, passed.logits.cpu())
            weights = self.network.judged() if better else {}
            if self.result.diverged is not None:
                raise not_finite(setup, self.seed, epoch, "on the validation images")
            self.best = f"best-{self.seed}-{epoch}.pth" if better else self.best
            commit(self.best if better else "", weights, passed.logits.cpu())
            if epoch != START:
                said = f"{row.blocks.split()[0]}: val top-1 {row.val_top1:.4f}, loss {row.val_loss:.4f}"
                setup.progress.advance(1, said)
        best = self.result.best
        setup.progress.end(f"{best.said}, val top-1 {best.val_top1:.4f}")
        if best.epoch == START:
            log.warning(
                "%s: seed %d: no epoch was better on val than the start (top-1 %.4f, loss %.4f), so what is kept is "
                "the network as it was before training",
                setup.options.experiment_name,
                self.seed,
                best.val_top1,
                best.val_loss,
            )

    def _note(self, row: EpochRow, logits: Tensor) -> bool:
        """Add an epoch to the result, with its logits on val; whether it is the best so far."""
        metric = self.setup.training.selection_metric
        better = self.result.note(row, metric)
        assert self.result.outcomes is not None
        self.result.outcomes.add(outcomes_of_logits(logits, self._labels, metric), better)
        return better

    def _row(self, epoch: int, passed: Passed, began: float) -> EpochRow:
        logits, y = passed.logits, self._labels.to(passed.logits.device)
        values = {name: metric.values(logits, y) for name, metric in metrics().items() if name != "loss"}
        values["loss"] = cross_entropy(logits, y)
        figures = {name: float(value.double().mean()) for name, value in values.items()}
        seconds = time.perf_counter() - began
        if epoch == START:
            return epoch_row(epoch, passed.train, figures, 0.0, seconds, blocks="", rates="")
        names, rates = self.setup.schedule.training_now(epoch)
        every = " ".join(f"{rate:.6g}" for rate in rates)
        return epoch_row(epoch, passed.train, figures, rates[-1], seconds, blocks=" ".join(names), rates=every)
