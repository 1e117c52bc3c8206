"""The network of an end-to-end run: loaded, put on its device, and given fresh to the trainer of each seed."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from featcache.backbones import (
    Backbone,
    Block,
    blocks,
    build_head,
    load_parts,
    put_in_front,
    put_weights,
    rebuild_backbone,
)
from featcache.extraction import CachedFeatures, fill_store
from featcache.options import Options
from featcache.session import Session
from heads.distill import Lesson
from heads.finetune.adapters import draw, put_in
from heads.finetune.distributed import Processes, share_batch_norms
from heads.finetune.evaluation import MicroBatches
from heads.finetune.kept_inputs import KeptInputs
from heads.finetune.parity import require_parity
from heads.finetune.phase1_start import Phase1Start
from heads.finetune.run_setup import RunSetup
from heads.finetune.seed_trainer import Trainer
from heads.finetune.training_images import make_training_images, taught
from heads.finetune.unfreezing import Schedule, make_schedule
from heads.training import FITTED, Fit, Fold, fit_features, initial_state, load_features


@dataclass(frozen=True)
class Network:
    """The network of a run, as it was before any training."""

    backbone: Backbone
    blocks: tuple[Block, ...]
    schedule: Schedule
    pristine: dict[str, Tensor]  # its weights, on the CPU


def load_network(options: Options, allow_custom: bool) -> Network:
    """The network that `options` name, in blocks; raises InputError where it or the schedule cannot be followed."""
    (backbone,) = load_parts(options, allow_custom=allow_custom)
    if options.training.adapter is not None:
        put_in(backbone, options.training.adapter)
    every = blocks(backbone)
    schedule = make_schedule(options.training, [b.name for b in every], options.model.backbone)
    return Network(backbone, every, schedule, {n: t.clone() for n, t in backbone.state_dict().items()})


def started(
    network: Network, cached: CachedFeatures, start: Phase1Start | None, options: Options, session: Session
) -> tuple[Network, CachedFeatures]:
    """The network that training begins with, and its features: those published, or where the start was fine-tuned
    those that it left, whose features have a store of their own."""
    if start is None or start.network is None:
        return network, cached
    (part,) = cached.parts
    backbone = rebuild_backbone(options.model, part.info.identity, start.network, allow_custom=session.allow_custom)
    store = fill_store(_copied(backbone), options, part.manifest, session)
    if options.training.adapter is not None:
        put_in(backbone, options.training.adapter)
    own = replace(part, info=replace(backbone.info, params=part.info.params), store=store)
    weights = {n: t.clone() for n, t in backbone.state_dict().items()}
    found = replace(network, backbone=backbone, blocks=blocks(backbone), pristine=weights)
    return found, CachedFeatures((own,), cached.dims)


def _copied(backbone: Backbone) -> Backbone:
    """For extraction, which rearranges the weights."""
    return Backbone(copy.deepcopy(backbone.network), backbone.info)


def make_setup(
    options: Options,
    cached: CachedFeatures,
    network: Network,
    them: Processes,
    session: Session,
    *,
    plain: bool,
    lesson: Lesson | None = None,
) -> RunSetup:
    """What every seed trains with; a `lesson` brings a teacher's answers and images without labels."""
    (extraction,) = cached.parts
    dataset = make_training_images(extraction, options.data.folds is not None)
    if lesson is not None:
        with them.first_alone():  # extracts what the others then find
            dataset = taught(dataset, lesson, cached, session, _copied(network.backbone))
    size = min(options.data.batch_size, len(dataset.train))
    micro_batches = MicroBatches(size, options.model.backbone, session.device, them.count)
    fit = _fit(options, cached, session.device)
    kept = KeptInputs(options.cache.max_features_gb * 1e9 / them.count)
    return RunSetup(
        options, extraction, dataset, network.blocks, network.schedule, session, them, micro_batches, fit, kept, plain
    )


def _fit(options: Options, cached: CachedFeatures, device: torch.device) -> Fit | None:
    """On the frozen network's features, as for heads on them: what the features become in training moves no mean."""
    if options.head.normalise not in FITTED:
        return None
    limit = options.cache.max_features_gb * 1e9
    features = load_features(cached, device, folds=options.data.folds, limit_bytes=limit)
    if options.data.folds is not None:  # what is kept trains on all of them
        train, val = (np.unique(np.concatenate([getattr(f, of) for f in features.folds])) for of in ("train", "val"))
        features = replace(features, folds=(Fold(train, val),))
    return fit_features(features, options.head.normalise, 0)


def prepare(backbone: Backbone, setup: RunSetup) -> None:
    """The backbone on its device, in the layout and with the batch norms that it trains with; checks parity."""
    layout = torch.channels_last if setup.training.channels_last else torch.contiguous_format
    if setup.processes.count > 1:
        backbone.network = share_batch_norms(backbone.network, setup.device, setup.processes)
    backbone.to(setup.device, memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it
    # Of features as they are: over a small spread, what float16 rounds off them would look like another network's.
    require_parity(
        backbone, _plain_head(setup, initial_state(setup.extraction.dims, setup.training.seed_list[0])), setup
    )


def _plain_head(setup: RunSetup, state: dict[str, Tensor]) -> nn.Sequential:
    head = build_head(setup.extraction.dims, setup.options.model.dropout, setup.options.head.normalise)
    head.load_state_dict(state)
    return head.to(setup.device)


def _fresh_head(setup: RunSetup, start: Phase1Start | None, seed: int) -> nn.Sequential:
    """What training begins with; what is fitted stays in front of it until it is kept, so that rates mean the same."""
    fit = setup.fit
    state = start.head if start is not None and start.head is not None else None
    if fit is None:
        return _plain_head(setup, initial_state(setup.extraction.dims, seed) if state is None else state)
    state = initial_state(setup.extraction.dims, seed) if state is None else fit.unfolded(state)
    return put_in_front(_plain_head(setup, state), fit.module(setup.device))


def make_trainer(setup: RunSetup, network: Network, start: Phase1Start | None, seed: int) -> Trainer:
    """A trainer of the network as it was before any training."""
    put_weights(network.backbone, network.pristine)
    if setup.training.adapter is not None:
        draw(network.backbone, setup.training.adapter, seed)
    return Trainer(setup, network.backbone, _fresh_head(setup, start, seed), seed)
