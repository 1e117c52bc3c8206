"""A run with `data.folds`: each seed is cross-validated, and then one network of all of train and val is kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from featcache.counted_nouns import counted
from featcache.extraction import CachedFeatures, Indices
from heads.finetune.checkpoints import Checkpoints, Finished, Position
from heads.finetune.epoch_choice import EpochChoice
from heads.finetune.fold_average import put_average
from heads.finetune.fold_comparison import compare_folds
from heads.finetune.fold_training import FoldTraining, fold_weights
from heads.finetune.run_setup import RunSetup
from heads.finetune.seed_trainer import Trainer
from heads.finetune.tuned_network import Network, make_trainer
from heads.training import START, Features, Fit, Fold, TrainedHead, fit_features, load_features

log = logging.getLogger("featcache")


def train_in_folds(
    setup: RunSetup, cached: CachedFeatures, network: Network, checkpoints: Checkpoints, position: Position
) -> None:
    """Train the seeds that are not finished yet; `setup` is that of all images."""
    features = pooled_features(setup, cached)
    run = FoldRun(setup, features, fold_setups(setup, features), network, checkpoints, position)
    for seed in setup.training.seed_list[len(position.finished) :]:
        position.finished.append(run.train(seed))
        position.current = None
        checkpoints.save(position)


def cross_validation(setup: RunSetup, cached: CachedFeatures, network: Network, seed: int) -> EpochChoice:
    """The training of a seed in folds, with nothing kept of it."""
    return _choice(setup, fold_setups(setup, pooled_features(setup, cached)), network, seed)


def pooled_features(setup: RunSetup, cached: CachedFeatures) -> Features:
    """Train and val as one pool, cut into the folds."""
    options = setup.options
    limit = options.cache.max_features_gb * 1e9
    return load_features(cached, setup.device, folds=options.data.folds, limit_bytes=limit)


def _choice(setup: RunSetup, folds: Sequence[RunSetup], network: Network, seed: int) -> EpochChoice:
    trainers = [make_trainer(one, network, None, seed) for one in folds]
    return EpochChoice(setup, FoldTraining(trainers, network.pristine), seed, setup.dataset.val)


def fold_setups(setup: RunSetup, features: Features) -> tuple[RunSetup, ...]:
    """What each fold trains with: the folds of heads on the cached features of the same options, cut by class, with
    copies and groups in one; what is fitted in front of a head knows of the fold's training images alone."""
    return tuple(
        replace(
            setup,
            dataset=replace(setup.dataset, train=fold.train, val=fold.val),
            fit=fit_features(features, setup.options.head.normalise, number),
        )
        for number, fold in enumerate(features.folds)
    )


@dataclass(frozen=True)
class FoldRun:
    """Trains one seed after the other; goes on where it was stopped."""

    setup: RunSetup
    features: Features
    folds: Sequence[RunSetup]
    network: Network
    checkpoints: Checkpoints
    position: Position

    def train(self, seed: int) -> Finished:
        """Cross-validate; then make the network that is kept, beside what each image was answered out of fold."""
        current = self.position.current
        if current is None or "whole" not in current:
            current = {**self._cross_validate(seed, current), "whole": None}
        head = current["head"]
        best, logits = self._best(current)
        of_folds = self._choice(seed, head.best_epoch + 1, logits)
        averaged = of_folds["kept"] == "average"
        weights = self._average(seed, head, best) if averaged else self._retrained(seed, current)
        name = f"best-{seed}-kept.pth"
        self.checkpoints.save_best(name, weights, logits)
        return Finished(head, name, of_folds)

    def _best(self, current: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
        """What the best epoch of the folds left: the first process has written it, and removes it in the end, and every
        process reads it between."""
        self.setup.processes.wait()
        found = self.checkpoints.load_best(str(current["best"]))
        self.setup.processes.wait()
        return found

    def _choice(self, seed: int, epochs: int, logits: Tensor) -> dict[str, Any]:
        """Which network is kept, and what says so."""
        asked = self.setup.training.kept_of_folds
        if asked != "measured":
            return {"kept": asked, "epochs": epochs}
        found = compare_folds(
            self.folds, logits, epochs, lambda one: make_trainer(one, self.network, None, seed), self._fit
        )
        return {"kept": "average" if found.average else "retrained", "epochs": epochs, **found.as_dict()}

    def _fit(self, train: Indices) -> Fit | None:
        own = replace(self.features, folds=(Fold(train, train),))
        return fit_features(own, self.setup.options.head.normalise, 0)

    def _cross_validate(self, seed: int, current: dict[str, Any] | None) -> dict[str, Any]:
        choice = _choice(self.setup, self.folds, self.network, seed)
        begin = START
        if current is not None:
            begin = choice.restore(current)
            log.info("%s: seed %d goes on with epoch %d", self.setup.options.experiment_name, seed, begin)

        def commit(name: str, weights: dict[str, Tensor], logits: Tensor) -> None:
            if name:
                self.checkpoints.save_best(name, weights, logits)
            self._save(choice.checkpoint())

        choice.run(begin, commit)
        return {"head": choice.result, "best": choice.best}

    def _whole(self, seed: int) -> Trainer:
        """A trainer of all images, which nothing judges."""
        nobody = np.zeros(0, np.int64)
        whole = replace(self.setup, dataset=replace(self.setup.dataset, val=nobody))
        return make_trainer(whole, self.network, None, seed)

    def _average(self, seed: int, head: TrainedHead, best: dict[str, Tensor]) -> dict[str, Tensor]:
        trainer = self._whole(seed)
        trainer.prepare(max(head.best_epoch, 0))
        put_average(trainer, fold_weights(best), [one.fit for one in self.folds])
        return trainer.judged()

    def _retrained(self, seed: int, current: dict[str, Any]) -> dict[str, Tensor]:
        trainer, begin = self._whole(seed), 0
        if current["whole"] is not None:
            begin = current["whole"]["epochs"]
            trainer.restore(current["whole"])
        epochs = current["head"].best_epoch + 1
        log.info(
            "%s: seed %d: what is kept trains for %s, the best out of fold, on all %s of train and val",
            self.setup.options.experiment_name,
            seed,
            counted(epochs, "epoch"),
            counted(len(self.setup.dataset.train), "image"),
        )
        for epoch in range(begin, epochs):
            trainer.prepare(epoch)
            trainer.epoch(epoch)
            self._save({**current, "whole": {"epochs": epoch + 1, **trainer.checkpoint()}})
        trainer.prepare(max(epochs - 1, 0))
        return trainer.judged()

    def _save(self, current: dict[str, Any]) -> None:
        self.position.current = current
        self.checkpoints.save(self.position)
