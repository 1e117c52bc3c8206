"""One seed's end-to-end training, epoch by epoch along its schedule."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torchvision.transforms import v2

from featcache.backbones import Backbone, Block, train_from
from featcache.data.decoding import Decoder
from featcache.data.images import normalise
from featcache.data.scratch import Scratch
from featcache.errors import NonFiniteError, WorkError
from featcache.extraction import Extraction
from featcache.options import Options, TrainingOptions
from featcache.profiling import out_of_memory
from featcache.records import SILENT, Progress
from heads.draws import Draws, scale, threshold
from heads.features import Indices
from heads.finetune.average import WeightAverage
from heads.finetune.path import Path, hidden_units
from heads.finetune.processes import Processes
from heads.finetune.schedule import Schedule, Stage
from heads.finetune.sources import Batch, Decoded, Source
from heads.finetune.trunk import Pool, keep_trunk, pooled_source
from heads.metrics import TOP_K, in_top_k
from heads.optimisers import BETAS, EPS
from heads.stacked import EpochRow, TrainedHead

log = logging.getLogger("featcache")

BACKBONE, HEAD = "backbone.", "head."  # before the names of weights
LOOK_EVERY = 32  # steps between looks at the losses on a device that computes beside the CPU


@dataclass(frozen=True)
class Job:
    """What every seed of a run trains with."""

    options: Options
    extraction: Extraction
    pool: Pool
    blocks: tuple[Block, ...]  # of the backbone
    schedule: Schedule
    device: torch.device
    processes: Processes
    progress: Progress = SILENT
    scratch: Scratch | None = None
    plain: bool = False  # keep nothing: every epoch runs the whole network

    @property
    def training(self) -> TrainingOptions:
        """How it is trained."""
        return self.options.training

    @property
    def mixes(self) -> bool:
        """Whether images are mixed, so that no single image's features can be kept."""
        return self.training.mixup > 0 or self.training.cutmix > 0

    def decoder(self, fresh: bool = False) -> Decoder:
        """Images as tensors; those of `fresh` views come once and are not kept."""
        data = self.options.data
        preprocessing = self.extraction.info.identity.preprocessing
        return Decoder(preprocessing, data.augmentations, data.workers, None if fresh else self.scratch)


class Trainer:
    """Trains `backbone` and `head`, which are on the job's device, in place."""

    def __init__(self, job: Job, backbone: Backbone, head: nn.Sequential, seed: int) -> None:
        self.job, self.backbone, self.head, self.seed = job, backbone, head, seed
        self.result = TrainedHead(seed)
        self.best = ""  # the name of the file of the best epoch
        training = job.training
        self._named = dict(backbone.named_parameters())
        groups = [[self._named[n] for n in block.parameters] for block in job.blocks]
        self._groups = [*groups, list(head.parameters())]
        self._optimizer = _optimizer(training, self._groups)
        self._scaler = torch.amp.GradScaler(job.device.type, enabled=training.precision == "float16")
        self._average = WeightAverage(training.ema_decay) if training.ema_decay is not None else None
        self._batch = min(job.options.data.batch_size * training.accumulate, len(job.pool.train))
        self._piece = min(job.options.data.batch_size, self._batch)
        self._units = hidden_units(head)
        self._stage: Stage | None = None
        self._labels = torch.from_numpy(job.pool.labels).to(job.device)

    def restore(self, state: dict[str, Any]) -> int:
        """Go on from a checkpoint; returns the epoch to begin with."""
        self.result, self.best = state["head"], state["best"]
        self.load(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.restore(state["average"], self.job.device)
        self._piece = min(self._piece, state["piece"])
        return len(self.result.curve)

    def checkpoint(self) -> dict[str, Any]:
        """Everything that the next epoch depends on: plain types and tensors."""
        return {
            "head": self.result,
            "best": self.best,
            "weights": self._weights(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.state() if self._average is not None else None,
            "piece": self._piece,
        }

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take over weights that `_weights` gave, of the blocks that trained by then."""
        here = {**_named_state(self.backbone, BACKBONE), **_named_state(self.head, HEAD)}
        with torch.no_grad():
            for name, value in weights.items():
                here[name].copy_(value)

    def run(self, begin: int, commit: Callable[[str, dict[str, Tensor], Tensor], None]) -> None:
        """Train from epoch `begin` on. `commit` is told after every epoch: the name, weights and val logits of a new
        best one, or an empty name."""
        job, training = self.job, self.job.training
        since = job.schedule.stages[-1].epoch  # patience does not run out before the last blocks have had a chance
        name = self.job.extraction.info.identity.backbone
        for epoch in range(begin, training.epochs):
            if self.result.curve and self.result.over(training, since):
                break
            with _seeded(self.seed, epoch, job.processes.rank, job.device):
                if self._follow(job.schedule.stage(epoch)) or epoch == begin:
                    job.progress.begin(f"{name} seed {self.seed}", training.epochs - epoch, "epoch")
                start = time.perf_counter()
                train = self._train(epoch)
                with self._averaged():
                    logits, figures = self._evaluate()
                    row = self._row(epoch, train, figures, time.perf_counter() - start)
                    better = self.result.note(row, training.selection_metric)
                    weights = self._weights() if better else {}
            if self.result.diverged is not None:
                raise self._not_finite(epoch, "on the validation images")
            self.best = f"best-{self.seed}-{epoch}.pth" if better else self.best
            commit(self.best if better else "", weights, logits)
            job.progress.advance(1, f"{row.blocks.split()[0]}: val top-1 {row.val_top1:.4f}, loss {row.val_loss:.4f}")
        best = self.result.best
        job.progress.end(f"best epoch {best.epoch}, val top-1 {best.val_top1:.4f}")

    def _row(self, epoch: int, train: tuple[float, float], val: tuple[float, float, float], seconds: float) -> EpochRow:
        names, rates = self.job.schedule.training_now(epoch)
        every = " ".join(f"{rate:.6g}" for rate in rates)
        return EpochRow(epoch, *train, *val, rates[-1], seconds, " ".join(names), every)

    def logits(self, source: Source, count: int) -> Tensor:
        """Logits `[count, C]` of the plain views of `count` images, by the weights as they are, on the CPU."""
        whole = self._path(self.backbone.network)
        return _forward(whole, source, np.arange(count), self._piece).cpu()

    def _follow(self, stage: Stage) -> bool:
        """Prepare for the blocks that train in a stage; whether there was anything to do."""
        if self._stage is not None and self._stage.first == stage.first:
            self._stage = stage
            return False
        job, first = self.job, stage.first
        self._source: Source | None = None  # what the last stage kept makes room
        self._stage = stage
        train_from(self.backbone, job.blocks, first)
        self._live = self._live_tensors(first)
        self._plain_views = first > 0 or not job.options.data.augmentations
        kept = None if job.plain or job.mixes or first == 0 else self._keep(first)
        if kept is not None:
            self._source, trunk, where = kept
        else:
            self._source, trunk, where = (
                Decoded(job.decoder(), job.pool.images, job.device),
                self.backbone.network,
                "images",
            )
        what = job.schedule.training_now(stage.epoch)[0]
        log.info("%s: from epoch %d on %s trains (from %s)", self._name, stage.epoch, ", ".join(what), where)
        self._bare = self._path(trunk)
        model: nn.Module = torch.compile(self._bare) if job.training.compile else self._bare  # type: ignore[assignment]
        if job.processes.count > 1:
            model = DistributedDataParallel(model, device_ids=[job.device] if job.device.type == "cuda" else None)
        self._model = model
        return True

    def _keep(self, first: int) -> tuple[Source, nn.Module | None, str] | None:
        job = self.job
        if first == len(job.blocks):
            limit = job.options.cache.max_features_gb * 1e9
            return pooled_source(job.extraction, job.pool, limit, job.device), None, "cached features"
        return keep_trunk(
            self.backbone,
            job.blocks,
            first,
            job.extraction,
            job.pool,
            job.options,
            job.device,
            job.progress,
            job.decoder,
        )

    def _path(self, trunk: nn.Module | None) -> Path:
        identity = self.job.extraction.info.identity
        layout = self.job.training.channels_last
        return Path(trunk, self.head, identity.preprocessing, identity.precision, layout)

    def _train(self, epoch: int) -> tuple[float, float]:
        """One pass over the training images; mean loss and top-1 as seen in training."""
        job, pool = self.job, self.job.pool
        draws = Draws(self.seed, epoch)
        order = pool.train[draws.order(len(pool.train))]
        views = self._views(draws, order, epoch)
        for group, rate in zip(self._optimizer.param_groups, job.schedule.rates(epoch), strict=True):
            group["lr"] = rate
        starts = range(0, len(order), self._batch)
        whole = [order[s : s + self._batch] for s in starts]
        shares = [job.processes.share(np.arange(s, s + len(b))) for s, b in zip(starts, whole, strict=True)]
        batches = [Batch(order[mine], views[mine]) for mine, _ in shares]
        self._model.train()
        seen = torch.zeros(2, dtype=torch.float64)
        losses: list[Tensor] = []
        rights: list[Tensor] = []
        for step, x in enumerate(self._training_source().inputs(batches)):
            mine, real = shares[step]
            keep = self._keep_units(draws, mine - starts[step])
            y = self._labels[torch.from_numpy(batches[step].images).to(job.device)]
            loss, right = self._step(x, y, keep, real, len(whole[step]))
            losses.append(loss)
            rights.append(right)
            if job.device.type == "cpu" or step % LOOK_EVERY == 0 or step + 1 == len(batches):
                self._look(losses, epoch, step, len(batches))
        for column, values in enumerate((losses, rights)):
            seen[column] = torch.stack(values).double().sum().cpu()
        loss_sum, right_sum = (job.processes.total(seen) / len(order)).tolist()
        return loss_sum, right_sum

    def _training_source(self) -> Source:
        assert self._source is not None
        if self._plain_views:
            return self._source
        return Decoded(self.job.decoder(fresh=True), self.job.pool.images, self.job.device)

    def _views(self, draws: Draws, order: Indices, epoch: int) -> Indices:
        """While a part is frozen one of the views that are kept is drawn for each image, as for heads on cached
        features; once everything trains each epoch has views that no epoch had."""
        count = self.job.extraction.views
        if not self._plain_views:
            return np.full(len(order), count + epoch)
        return draws.views(len(order), count) if count > 1 else np.zeros(len(order), np.int64)

    def _keep_units(self, draws: Draws, mine: Indices) -> Tensor | None:
        """What hidden units of the head are multiplied by for some of a batch's images, `[units, n]`."""
        p = self.job.options.model.dropout
        if not self._units or p == 0:
            return None
        drawn = draws.dropout(1, self._units, self._batch)[0][:, mine]
        return torch.from_numpy((drawn >= threshold(p)).astype(np.float32) * scale(p)).to(self.job.device)

    def _step(self, x: Tensor, y: Tensor, keep: Tensor | None, real: int, total: int) -> tuple[Tensor, Tensor]:
        """One update from this process's share of a batch of `total` images; the sums of its losses and hits."""
        while True:
            try:
                sums = self._gradients(x, y, keep, real, total)
                break
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                if self.job.processes.count > 1:
                    raise WorkError(
                        f"{self._name}: a batch does not fit the memory of one of {self.job.processes.count} "
                        "processes. Choose a smaller data.batch_size and a larger training.accumulate."
                    ) from None
            self._halve()  # outside the handler, whose traceback holds what did not fit
        training = self.job.training
        if training.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
            trains = [p for group in self._groups for p in group if p.grad is not None]
            nn.utils.clip_grad_norm_(trains, training.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._average is not None:
            self._average.update(self._live)
        return sums

    def _gradients(self, x: Tensor, y: Tensor, keep: Tensor | None, real: int, total: int) -> tuple[Tensor, Tensor]:
        """Fill the gradients, piece by piece, of the mean over the whole batch in all processes."""
        self._optimizer.zero_grad(set_to_none=True)
        # As many pieces in every process, whatever its share, or they would wait for each other.
        least, most = max(1, total // self.job.processes.count), -(-total // self.job.processes.count)
        parts = np.array_split(np.arange(len(x)), min(least, -(-most // self._piece)))
        loss_sum, right = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
        for number, part in enumerate(parts):
            cut = slice(int(part[0]), int(part[-1]) + 1)
            with self._unsynced(number + 1 < len(parts)):
                inputs, target = self._mixed(x[cut], y[cut])
                logits = self._model(inputs, keep if keep is None else keep[:, cut])
                smoothing = self.job.training.label_smoothing
                loss = cross_entropy(logits, target, reduction="sum", label_smoothing=smoothing)
                if not real:
                    loss = loss * 0
                self._scaler.scale(loss * self.job.processes.count / total).backward()
            with torch.no_grad():
                loss_sum += loss.detach()
                right += (logits.argmax(dim=1) == y[cut]).sum() if real else 0
        return loss_sum, right

    def _unsynced(self, more: bool) -> AbstractContextManager[object]:
        if more and isinstance(self._model, DistributedDataParallel):
            return self._model.no_sync()
        return nullcontext()

    def _mixed(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels, mixed where that is wanted: then labels are distributions over the classes `[N, C]`."""
        training, classes = self.job.training, self.job.extraction.dims[-1]
        ways: list[v2.Transform] = []
        if training.mixup:
            ways.append(v2.MixUp(alpha=training.mixup, num_classes=classes))
        if training.cutmix:
            ways.append(v2.CutMix(alpha=training.cutmix, num_classes=classes))
        if not ways:
            return x, y
        x = normalise(x, self.job.extraction.info.identity.preprocessing)
        mixed: tuple[Tensor, Tensor] = v2.RandomChoice(ways)(x, y)
        return mixed

    def _halve(self) -> None:
        if self._piece == 1:
            raise WorkError(
                f"{self._name}: one image does not fit the memory of {self.job.device}. Choose a smaller "
                "model.input_size, freeze more blocks, or another device."
            )
        self._piece = max(1, self._piece // 2)
        if self.job.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning(
            "%s: out of memory; going on with %d images at a time, gradients accumulated over %d of them",
            self._name,
            self._piece,
            -(-self._batch // self._piece),
        )

    def _look(self, losses: Sequence[Tensor], epoch: int, step: int, steps: int) -> None:
        """Raise NonFiniteError at the first batch whose loss was not finite."""
        recent = losses[-1:] if self.job.device.type == "cpu" else losses[-LOOK_EVERY:]
        finite = torch.isfinite(torch.stack(list(recent))).tolist()
        if not all(finite):
            batch = step - len(recent) + 1 + finite.index(False)
            raise self._not_finite(epoch, f"in batch {batch + 1} of {steps}")

    def _not_finite(self, epoch: int, where: str) -> NonFiniteError:
        kept = f" The last good checkpoint, of epoch {epoch - 1}, is kept." if epoch else ""
        return NonFiniteError(
            f"{self.job.options.experiment_name}: the loss of seed {self.seed} is not finite in epoch {epoch}, {where}."
            f"{kept} Lower training.learning_rate (now {self.job.training.learning_rate:g}) or lr_scale of the "
            "schedule, set training.clip_norm, or train in float32 or bfloat16 where training.precision is float16."
        )

    def _evaluate(self) -> tuple[Tensor, tuple[float, float, float]]:
        """Logits on val `[n, C]` on the CPU; mean loss, top-1 and top-3."""
        pool, processes = self.job.pool, self.job.processes
        assert self._source is not None
        mine, real = processes.share(pool.val)
        while True:
            try:
                own = _forward(self._bare, self._source, mine, self._piece)
                break
            except RuntimeError as error:
                if not out_of_memory(error) or processes.count > 1:
                    raise
            self._halve()
        logits = processes.gathered(own[:real])
        y = self._labels[torch.from_numpy(pool.val).to(self.job.device)]
        figures = cross_entropy(logits, y), in_top_k(logits, y, 1), in_top_k(logits, y, TOP_K)
        loss, top1, top3 = (float(f.double().mean()) for f in figures)
        return logits.cpu(), (loss, top1, top3)

    @property
    def _name(self) -> str:
        return self.job.extraction.info.identity.backbone

    def _live_tensors(self, first: int) -> dict[str, Tensor]:
        """What trains, as it is: parameters and buffers of the blocks from `first` on, and of the head."""
        names = {n for block in self.job.blocks[first:] for n in (*block.parameters, *block.modules)}
        state = _named_state(self.backbone, BACKBONE)
        chosen = {n: t for n, t in state.items() if names & {n.removeprefix(BACKBONE), _owner(n)}}
        return {**chosen, **_named_state(self.head, HEAD)}

    def _weights(self) -> dict[str, Tensor]:
        """A copy of what trains, on the CPU."""
        return {n: t.detach().cpu().clone() for n, t in self._live.items()}

    def _averaged(self) -> AbstractContextManager[None]:
        """The weights that are judged."""
        return self._average.in_place_of(self._live) if self._average is not None else nullcontext()


def _owner(name: str) -> str:
    """The module that a tensor of the backbone is of."""
    return name.removeprefix(BACKBONE).rpartition(".")[0]


def _named_state(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + n: t for n, t in module.state_dict().items()}


def _forward(path: Path, source: Source, images: Indices, size: int) -> Tensor:
    """Logits `[n, C]` of the plain views of some images, one at least."""
    pieces = [images[s : s + size] for s in range(0, len(images), size)]
    path.eval()
    with torch.no_grad():
        inputs = source.inputs([Batch(p, np.zeros(len(p), np.int64)) for p in pieces])
        found = [path(x) for x in inputs]
    return torch.cat(found)


def _optimizer(training: TrainingOptions, groups: Sequence[list[nn.Parameter]]) -> torch.optim.Optimizer:
    """All groups from the start; what is frozen has no gradients, and so neither state nor decay."""
    every = [{"params": group} for group in groups]
    rate, decay = training.learning_rate, training.weight_decay
    match training.optimizer:
        case "sgd":
            return torch.optim.SGD(every, rate, training.momentum, weight_decay=decay, fused=True)
        case "adam":
            return torch.optim.Adam(every, rate, BETAS, EPS, decay, fused=True)
        case _:
            return torch.optim.AdamW(every, rate, BETAS, EPS, decay, fused=True)


@contextmanager
def _seeded(seed: int, epoch: int, rank: int, device: torch.device) -> Iterator[None]:
    """Whatever draws random numbers inside draws those of (seed, epoch); the caller's generators stay as they were."""
    words = np.random.SeedSequence([seed, epoch, rank]).generate_state(2, np.uint64)
    python, legacy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(words[0] >> np.uint64(1)))
        random.seed(int(words[1]))
        np.random.seed(int(words[1] & np.uint64(0xFFFFFFFF)))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)
