"""The average of the folds' networks, which began as one, as a network of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from heads.finetune.averaged_weights import average_weights, estimate_from_images, moved_norms
from heads.finetune.batch_inputs import DecodedInputs
from heads.finetune.seed_trainer import BACKBONE, HEAD, Trainer
from heads.training import Fit


def put_average(trainer: Trainer, folds: Sequence[dict[str, Tensor]], fits: Sequence[Fit | None]) -> None:
    """The network of `trainer` holds the mean of the weights that trained in each fold, and its batch norms that moved
    have statistics of all its training images. Heads behind a `fit` of their fold are averaged as ones of plain
    features."""
    plain = [
        own if fit is None else _with_head(own, fit.folded(_head(own))) for own, fit in zip(folds, fits, strict=True)
    ]
    mean, fit = average_weights(plain), trainer.setup.fit
    trainer.load(mean if fit is None else _with_head(mean, fit.unfolded(_head(mean))))
    network = trainer.backbone.network
    pristine = {n: t.detach().cpu().clone() for n, t in network.state_dict().items()}
    prefix = f"{BACKBONE}network."
    norms = moved_norms(network, [{**pristine, **_without(own, prefix)} for own in folds])
    if norms:
        setup = trainer.setup
        source = DecodedInputs(setup.decoder(), setup.dataset.images, setup.device)
        estimate_from_images(norms, trainer.whole(), source, setup)


def _without(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}


def _head(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return _without(weights, HEAD)


def _with_head(weights: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {**weights, **{HEAD + n: t for n, t in head.items()}}
