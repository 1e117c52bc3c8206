"""One network's end-to-end training, epoch by epoch: its batches along the schedule, its logits on val."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from featcache.backbones import Backbone, train_from
from featcache.extraction import Indices
from heads.finetune.adapters import hold_the_rest
from heads.finetune.averaged_weights import STATISTICS, estimate_from_images
from heads.finetune.batch_inputs import Batch, DecodedInputs, InputSource
from heads.finetune.evaluation import evaluate_logits
from heads.finetune.forward_path import ForwardPath, hidden_units, modules_to_checkpoint
from heads.finetune.frozen_trunk import keep_trunk, pooled_source
from heads.finetune.kept_inputs import Kept
from heads.finetune.network_training import Passed, not_finite
from heads.finetune.run_setup import RunSetup
from heads.finetune.running_average import RunningAverage, equal, exponential
from heads.finetune.seeding import dropout, seeded
from heads.finetune.training_step import BatchShare, OptimiserStep
from heads.finetune.unfreezing import Stage
from heads.training import Draws

log = logging.getLogger("featcache")

BACKBONE, HEAD = "backbone.", "head."  # before the names of weights
LOOK_EVERY = 32  # steps between looks at the losses on a device that computes beside the CPU


class Trainer:
    """Trains `backbone` and `head`, which are on the job's device, in place."""

    def __init__(self, setup: RunSetup, backbone: Backbone, head: nn.Sequential, seed: int) -> None:
        self.setup, self.backbone, self.head, self.seed = setup, backbone, head, seed
        named = dict(backbone.named_parameters())
        groups = [[named[n] for n in block.parameters] for block in setup.blocks]
        self._updates = OptimiserStep(setup, [*groups, list(head.parameters())])
        decay, since = setup.training.ema_decay, setup.training.swa_from
        self._ema = RunningAverage(exponential(decay)) if decay is not None else None
        self._swa = RunningAverage(equal) if since is not None else None
        self._average = self._ema or self._swa
        self._units = hidden_units(head)
        self._stage: Stage | None = None
        self._labels = torch.from_numpy(setup.dataset.labels).to(setup.device)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.load(state["weights"])
        self._updates.restore(state["updates"])
        self.setup.micro_batches.size = min(self.setup.micro_batches.size, state["pieces"])
        if self._average is not None:
            self._average.restore(state["average"], self.setup.device)

    def checkpoint(self) -> dict[str, Any]:
        """Everything that the next epoch depends on: plain types and tensors."""
        return {
            "weights": self._weights(),
            "updates": self._updates.state(),
            "pieces": self.setup.micro_batches.size,
            "average": self._average.state() if self._average is not None else None,
        }

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take over weights that `_weights` gave, of the blocks that trained by then."""
        here = {**_named_state(self.backbone, BACKBONE), **_named_state(self.head, HEAD)}
        with torch.no_grad():
            for name, value in weights.items():
                here[name].copy_(value)

    def prepare(self, epoch: int) -> bool:
        """Be ready to train in an epoch; whether what trains is other than before."""
        return self._follow(self.setup.schedule.stage(epoch))

    def epoch(self, epoch: int) -> Passed:
        """Train for an epoch; what it came to, by the weights that are judged."""
        with seeded(self.seed, epoch, self.setup.processes.rank, self.setup.device):
            train = self._train(epoch)
            self._end_epoch(epoch)
            with self._averaged():
                return Passed(train, self._evaluate())

    def start(self) -> Passed:
        """What the weights give as they are, before any training."""
        return Passed((float("nan"), float("nan")), self._evaluate())

    def judged(self) -> dict[str, Tensor]:
        """A copy of the weights that the last epoch was judged by, of what trains."""
        with self._averaged():
            return self._weights()

    def logits(self, source: InputSource, count: int) -> Tensor:
        """Logits `[count, C]` of the plain views of `count` images, by the weights as they are, on the CPU."""
        return evaluate_logits(self.whole(), source, np.arange(count), self.setup.micro_batches).cpu()

    def whole(self) -> ForwardPath:
        """The whole network, from images on."""
        return self._path(self.backbone.network)

    def _end_epoch(self, epoch: int) -> None:
        """The end of an epoch is one more in the equal average (`training.swa_from`), whose batch norms that train have
        statistics of its own: those of one epoch alone are right as they are."""
        since = self.setup.training.swa_from
        if self._swa is None or since is None or epoch < since:
            return
        self._swa.update(self._live)
        moved = [n for n in self._live if n.rpartition(".")[2] in STATISTICS]
        if moved and self._swa.updates > 1 and not self.setup.training.frozen_batch_norms:
            modules = dict(self.backbone.named_modules())
            owners = dict.fromkeys(_owner(n) for n in moved)
            norms = [norm for norm in (modules[n] for n in owners) if isinstance(norm, _BatchNorm)]
            assert self._source is not None
            with self._averaged():
                estimate_from_images(norms, self._bare, self._source, self.setup)
                self._swa.put({n: self._live[n] for n in moved})

    def _follow(self, stage: Stage) -> bool:
        """Prepare for the blocks that train in a stage; whether there was anything to do."""
        if self._stage is not None and self._stage.first == stage.first:
            self._stage = stage
            return False
        setup, first = self.setup, stage.first
        self._source: InputSource | None = None  # what the last stage kept makes room
        self._stage = stage
        train_from(self.backbone, setup.blocks, first)
        if setup.training.adapter is not None:
            hold_the_rest(self.backbone, setup.training.adapter)
        self._live = self._live_tensors(first)
        self._follows_norms = first < len(setup.blocks)
        # A teacher has answered the views that are kept, and no others.
        fresh = first == 0 and setup.options.data.augmentations and setup.dataset.soft is None
        self._kept_views = not fresh
        kept = None if setup.plain or setup.mixes or first == 0 else self._keep(first)
        if kept is not None:
            self._source, trunk, where = kept
        else:
            self._source, trunk, where = (
                DecodedInputs(setup.decoder(), setup.dataset.images, setup.device),
                self.backbone.network,
                "images",
            )
        what = setup.schedule.training_now(stage.epoch)[0]
        log.info("%s: from epoch %d on %s trains (from %s)", self.setup.backbone, stage.epoch, ", ".join(what), where)
        self._bare = self._path(
            trunk, modules_to_checkpoint(self.backbone) if setup.training.gradient_checkpointing else ()
        )
        model: nn.Module = torch.compile(self._bare) if setup.training.compile else self._bare  # type: ignore[assignment]
        if setup.processes.count > 1:
            model = DistributedDataParallel(model, device_ids=[setup.device] if setup.device.type == "cuda" else None)
        self._model = model
        return True

    def _keep(self, first: int) -> Kept | None:
        return self.setup.kept.of(first, lambda: self._make(first))

    def _make(self, first: int) -> Kept | None:
        setup = self.setup
        if first == len(setup.blocks):
            limit = setup.options.cache.max_features_gb * 1e9
            return pooled_source(setup.extraction, setup.dataset, limit, setup.device), None, "cached features"
        return keep_trunk(self.backbone, first, setup)

    def _path(self, trunk: nn.Module | None, checkpointed: Sequence[nn.Module] = ()) -> ForwardPath:
        identity, layout = self.setup.extraction.info.identity, self.setup.training.channels_last
        return ForwardPath(trunk, self.head, identity.preprocessing, identity.precision, layout, checkpointed)

    def _train(self, epoch: int) -> tuple[float, float]:
        """One pass over the training images; mean loss and top-1 as seen in training."""
        setup, dataset, updates = self.setup, self.setup.dataset, self._updates
        draws = Draws(self.seed, epoch)
        order = dataset.train[self._order(draws)]
        views = self._views(draws, order, epoch)
        updates.begin(setup.schedule.rates(epoch))
        places = self._batches(len(order))
        shares = [setup.processes.share(whole) for whole in places]
        batches = [Batch(order[mine], views[mine]) for mine, _ in shares]
        self._model.train()
        if setup.training.frozen_batch_norms:
            for module in self._model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        sums: list[Tensor] = []
        for step, x in enumerate(self._training_source().inputs(batches)):
            (mine, weight), whole = shares[step], places[step]
            setup.processes.copies[0] = round(1 / weight)
            images = torch.from_numpy(batches[step].images).to(setup.device)
            keep = dropout(draws, setup.options.model.dropout, self._units, updates.batch, mine - whole[0])
            keep = keep if keep is None else keep.to(setup.device)
            mass = updates.mass(dataset.labels[order[whole]])
            counts, taught = updates.counts(images), updates.teaching(batches[step])
            share = BatchShare(x, self._labels[images], keep, weight, len(whole), mass, counts, taught)
            sums.append(torch.stack(updates.step(self._model, share)))
            if self._ema is not None:
                self._ema.update(self._live)
            if setup.device.type == "cpu" or step % LOOK_EVERY == 0 or step + 1 == len(batches):
                self._look(sums, epoch, step, len(batches))
        seen = torch.stack(sums).double().sum(dim=0).cpu()
        loss, right = (setup.processes.total(seen) / len(order)).tolist()
        return loss, right

    def _order(self, draws: Draws) -> Indices:
        dataset = self.setup.dataset
        if self.setup.training.balanced_draws:
            return draws.balanced(dataset.labels[dataset.train])
        return draws.order(len(dataset.train))

    def _batches(self, images: int) -> list[Indices]:
        """The places in an epoch's order that each batch takes."""
        size = self._updates.batch
        starts = list(range(0, images, size))
        if images % size == 1 and len(starts) > 1 and self._follows_norms:
            del starts[-1]  # the last image joins the batch before: a batch norm cannot train on a lone one
        return np.split(np.arange(images), starts[1:])

    def _training_source(self) -> InputSource:
        assert self._source is not None
        if self._kept_views:
            return self._source
        return DecodedInputs(self.setup.decoder(fresh=True), self.setup.dataset.images, self.setup.device)

    def _views(self, draws: Draws, order: Indices, epoch: int) -> Indices:
        """While a part is frozen one of the views that are kept is drawn for each image, as for heads on cached
        features; once everything trains each epoch has views that no epoch had."""
        count = self.setup.extraction.views
        if not self._kept_views:
            return count + epoch + self.setup.training.epochs * _repeats(order)
        return draws.views(len(order), count) if count > 1 else np.zeros(len(order), np.int64)

    def _look(self, sums: Sequence[Tensor], epoch: int, step: int, steps: int) -> None:
        """Raise NonFiniteError at the first batch whose loss was not finite."""
        recent = sums[-1:] if self.setup.device.type == "cpu" else sums[-LOOK_EVERY:]
        finite = torch.isfinite(torch.stack(list(recent))[:, 0]).tolist()
        if not all(finite):
            batch = step - len(recent) + 1 + finite.index(False)
            raise not_finite(self.setup, self.seed, epoch, f"in batch {batch + 1} of {steps}")

    def _evaluate(self) -> Tensor:
        """Logits on val `[n, C]`, on the device."""
        dataset, processes = self.setup.dataset, self.setup.processes
        assert self._source is not None
        mine = np.array_split(dataset.val, processes.count)[processes.rank]
        own = evaluate_logits(self._bare, self._source, mine, self.setup.micro_batches)
        return processes.gathered(own)

    def _live_tensors(self, first: int) -> dict[str, Tensor]:
        """What is not frozen, as it is: parameters and buffers but for those of the blocks before `first`."""
        frozen = {n for block in self.setup.blocks[:first] for n in (*block.parameters, *block.modules)}
        frozen |= {n for n, p in self.backbone.named_parameters() if not p.requires_grad}
        state = _named_state(self.backbone, BACKBONE)
        live = {n: t for n, t in state.items() if not frozen & {n.removeprefix(BACKBONE), _owner(n)}}
        return {**live, **_named_state(self.head, HEAD)}

    def _weights(self) -> dict[str, Tensor]:
        """A copy of what trains, on the CPU."""
        return {n: t.detach().cpu().clone() for n, t in self._live.items()}

    def _averaged(self) -> AbstractContextManager[None]:
        """The weights that are judged."""
        return self._average.in_place_of(self._live) if self._average is not None else nullcontext()


def _repeats(images: Indices) -> Indices:
    """How often each image was there before, in an order that may have one several times."""
    by_image = np.argsort(images, kind="stable")
    ordered = images[by_image]
    begin = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counted = np.arange(len(images)) - np.repeat(begin, np.diff(np.r_[begin, len(images)]))
    found = np.empty_like(counted)
    found[by_image] = counted
    return found


def _owner(name: str) -> str:
    """The module that a tensor of the backbone is of."""
    return name.removeprefix(BACKBONE).rpartition(".")[0]


def _named_state(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + n: t for n, t in module.state_dict().items()}
