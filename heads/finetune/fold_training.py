"""The networks of all folds, trained side by side epoch by epoch, so that one epoch can be chosen for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from featcache.backbones import put_weights
from heads.finetune.network_training import Passed
from heads.finetune.seed_trainer import Trainer


class FoldTraining:
    """A trainer of each fold, all of one network that holds the weights of one fold at a time.

    Val is every image once, by the network that did not train on it.
    """

    def __init__(self, folds: Sequence[Trainer], pristine: Mapping[str, Tensor]) -> None:
        self._folds, self._pristine = folds, pristine
        self._states: list[dict[str, Any]] = [{} for _ in folds]
        self._judged: list[dict[str, Tensor]] = [{} for _ in folds]

    def prepare(self, epoch: int) -> bool:
        """Be ready to train in an epoch; whether what trains is other than before."""
        changed = [fold.prepare(epoch) for fold in self._folds]
        return any(changed)

    def start(self) -> Passed:
        """What the weights give as they are, before any training."""
        return self._pass(None)

    def epoch(self, epoch: int) -> Passed:
        """Train every fold for an epoch."""
        return self._pass(epoch)

    def judged(self) -> dict[str, Tensor]:
        """The weights that the last epoch was judged by, of what trains in each fold."""
        return {f"{number}/{n}": t for number, own in enumerate(self._judged) for n, t in own.items()}

    def checkpoint(self) -> dict[str, Any]:
        """Everything that the next epoch depends on: plain types and tensors."""
        return {"folds": list(self._states)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._states = list(state["folds"])
        for fold, own in zip(self._folds, self._states, strict=True):
            fold.restore(own)

    def _pass(self, epoch: int | None) -> Passed:
        """Every fold in its turn; figures of training are means over all their images."""
        passed = []
        for number, fold in enumerate(self._folds):
            self._enter(number)
            passed.append(fold.start() if epoch is None else fold.epoch(epoch))
            self._states[number], self._judged[number] = fold.checkpoint(), fold.judged()
        counts = torch.tensor([float(len(fold.setup.dataset.train)) for fold in self._folds], dtype=torch.float64)
        loss, right = (torch.tensor([p.train for p in passed]).double() * counts[:, None]).sum(0) / counts.sum()
        return Passed((float(loss), float(right)), self._in_order([p.logits for p in passed]))

    def _enter(self, number: int) -> None:
        """The network holds a fold's weights; blocks that do not train yet are as they were before any training."""
        fold = self._folds[number]
        put_weights(fold.backbone, self._pristine)
        if self._states[number]:
            fold.load(self._states[number]["weights"])

    def _in_order(self, logits: Sequence[Tensor]) -> Tensor:
        """The folds' logits `[n, C]` as those of all images `[N, C]`."""
        held_out = [torch.from_numpy(fold.setup.dataset.val) for fold in self._folds]
        order = torch.cat(held_out).argsort().to(logits[0].device)
        return torch.cat(list(logits))[order]


def fold_weights(judged: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """What `judged` gave, fold by fold."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, value in judged.items():
        number, _, own = name.partition("/")
        found.setdefault(int(number), {})[own] = value
    return [found[number] for number in sorted(found)]
