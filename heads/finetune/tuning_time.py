"""How long end-to-end training takes here: some real steps of each stage of the schedule, on noise."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from featcache.atomic import save_tensors
from featcache.backbones import Backbone, Block, blocks, build_head, run_network, split, train_from
from featcache.data import normalise
from featcache.devices import out_of_memory
from featcache.extraction import CostEstimate, nearest_folder, untrained_backbone
from featcache.options import Options
from featcache.profiling import seconds_a_pass
from featcache.session import Session
from heads.finetune.end_to_end import training_mode
from heads.finetune.forward_path import ForwardPath, modules_to_checkpoint
from heads.finetune.parity import PARITY_IMAGES
from heads.finetune.unfreezing import Schedule, make_schedule
from heads.training import torch_optimiser

SECONDS = 1.0  # that a step is told from
SAVED = 1 << 24  # numbers that are written to see how fast that goes


@dataclass(frozen=True)
class StageTime:
    """Some epochs in which the same blocks train."""

    epochs: int
    blocks: tuple[str, ...]  # and the head
    kept: bool  # what comes before them is computed once
    once: float  # seconds, for that
    epoch: float  # seconds of an epoch


@dataclass(frozen=True)
class FineTuningTime:
    """Seconds of Phase 2 of one run beyond the extraction that it begins with."""

    stages: tuple[StageTime, ...]  # of one seed
    seeds: int
    before_and_after: float  # building the network, parity, and test by every seed's best epoch

    @property
    def total(self) -> float:
        """All of it."""
        seed = sum(stage.once + stage.epoch * stage.epochs for stage in self.stages)
        return self.before_and_after + self.seeds * seed


def time_fine_tuning(options: Options, estimate: CostEstimate, session: Session) -> FineTuningTime:
    """Of a run with an `unfreeze_schedule`, whose images decode as fast as `estimate` says."""
    begin = time.perf_counter()
    backbone = untrained_backbone(options, session)
    every = blocks(backbone)
    schedule = make_schedule(options.training, [b.name for b in every], options.model.backbone)
    layout = torch.channels_last if options.training.channels_last else torch.contiguous_format
    backbone.to(session.device, memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it
    built = time.perf_counter() - begin
    timed = _Timed(options, estimate, backbone, every, schedule, session.device)
    with training_mode(options, session.device):
        stages = timed.stages()
        whole = timed.forward(backbone.network, timed.images())
    seeds = len(options.training.seed_list)
    test = estimate.images["test"] * (whole + timed.decoding)
    return FineTuningTime(tuple(stages), seeds, built + 2 * PARITY_IMAGES * whole + seeds * test)


@dataclass(frozen=True)
class _Timed:
    options: Options
    estimate: CostEstimate
    backbone: Backbone
    every: tuple[Block, ...]
    schedule: Schedule
    device: torch.device

    @property
    def decoding(self) -> float:
        """Seconds to decode an image anew."""
        return self.estimate.time.decode / max(1, self.estimate.passes)

    @property
    def batch(self) -> int:
        """Images in one forward and backward pass."""
        return min(self.options.data.batch_size, self.estimate.images["train"])

    def images(self) -> Tensor:
        """A batch uint8 `[B, 3, S, S]`."""
        side = self.backbone.preprocessing.input_size
        return torch.randint(0, 256, (self.batch, 3, side, side), dtype=torch.uint8, device=self.device)

    def stages(self) -> list[StageTime]:
        """Of every stage that lasts an epoch."""
        found, steps = [], self.schedule.stages
        for number, stage in enumerate(steps):
            end = steps[number + 1].epoch if number + 1 < len(steps) else self.options.training.epochs
            if end > stage.epoch:
                found.append(self._stage(stage.first, end - stage.epoch))
        return found

    def _stage(self, first: int, epochs: int) -> StageTime:
        train_from(self.backbone, self.every, first)
        trunk, x, once, kept = self._inputs(first)
        step, x = self._step(first, trunk, x)
        forward = self.forward(trunk, x)
        train, val, trainings = self._seen()
        epoch = train * step + val * forward + trainings * self._saving(first)
        if not kept and first == 0 and self.options.data.augmentations:  # views that no epoch had
            epoch += train * self.decoding
        names = tuple(b.name for b in self.every[first:])
        return StageTime(epochs, names, kept, once, epoch)

    def _seen(self) -> tuple[int, int, int]:
        """Images that an epoch of all trainings of a seed trains on, and judges by, and how many trainings there are:
        with folds one for each, that of what is kept, and one for each pair where both ways are measured."""
        train, val = self.estimate.images["train"], self.estimate.images["val"]
        folds, kept = self.options.data.folds, self.options.training.kept_of_folds
        if folds is None:
            return train, val, 1
        pool = train + val
        trained, judged, trainings = pool * (folds - 1), pool, folds
        if kept != "average":
            trained, judged, trainings = trained + pool, judged + pool, trainings + 1
        if kept == "measured":
            pairs = folds * (folds - 1) // 2
            trained, judged, trainings = trained + pool * (folds - 2) * pairs // folds, judged, trainings + pairs
        return trained, judged, trainings

    def _inputs(self, first: int) -> tuple[nn.Module | None, Tensor, float, bool]:
        """What runs in every step, a batch of what it takes, and the seconds to make that for all images."""
        options, network = self.options, self.backbone.network
        if options.training.mixup or options.training.cutmix or first == 0:
            return network, self.images(), 0.0, False
        if first == len(self.every):
            return None, torch.randn(self.batch, self.backbone.features, device=self.device), 0.0, True
        layout = torch.channels_last if options.training.channels_last else torch.contiguous_format
        found = split(self.backbone, self.every, first, layout)
        rows = self.estimate.images["train"] * self.estimate.views + self.estimate.images["val"]
        if found is None or rows * found.width * 4 > options.cache.max_trunk_gb * 1e9:
            return network, self.images(), 0.0, False
        # By its share of the whole network's time: extraction arranges both for speed, and timed the whole.
        share = self._seconds_of(found.front) / max(1e-12, self._seconds_of(network))
        once = rows * min(1.0, share) * self.estimate.time.forward / max(1, self.estimate.passes)
        return found.rest, torch.randn(self.batch, found.width, device=self.device), once, True

    def _seconds_of(self, network: nn.Module) -> float:
        """A batch of images through a network or its front."""
        layout = torch.channels_last if self.options.training.channels_last else torch.contiguous_format
        x = normalise(self.images(), self.backbone.preprocessing).contiguous(memory_format=layout)
        precision = self.options.training.precision
        with torch.no_grad():
            return seconds_a_pass(lambda: run_network(network.eval(), x, precision), self.device, SECONDS / 2)

    def forward(self, trunk: nn.Module | None, x: Tensor) -> float:
        """Seconds of an image's evaluation."""
        path = self._path(trunk).eval()
        with torch.no_grad():
            return seconds_a_pass(lambda: path(x), self.device, SECONDS / 2) / len(x)

    def _step(self, first: int, trunk: nn.Module | None, x: Tensor) -> tuple[float, Tensor]:
        """Seconds of an image in training: forward, backward, and its part of the update; and as much of the batch as
        fits the memory."""
        while True:
            try:
                return self._step_seconds(first, trunk, x), x
            except RuntimeError as error:
                if len(x) == 1 or not out_of_memory(error):
                    raise
            x = x[: len(x) // 2]  # outside the handler, whose traceback holds what did not fit

    def _step_seconds(self, first: int, trunk: nn.Module | None, x: Tensor) -> float:
        training = self.options.training
        path = self._path(trunk, checkpointed=training.gradient_checkpointing).train()
        named = dict(self.backbone.named_parameters())
        groups = [[named[n] for n in block.parameters] for block in self.every[first:]]
        optimizer = torch_optimiser(training, [*groups, list(path.head.parameters())])
        scaler = torch.amp.GradScaler(self.device.type, enabled=training.precision == "float16")
        labels = torch.zeros(len(x), dtype=torch.long, device=self.device)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(cross_entropy(path(x), labels)).backward()
            scaler.step(optimizer)
            scaler.update()

        return seconds_a_pass(step, self.device, SECONDS) / len(x)

    def _path(self, trunk: nn.Module | None, checkpointed: bool = False) -> ForwardPath:
        options = self.options
        head = build_head(self.estimate.dims, options.model.dropout).to(self.device)
        again = modules_to_checkpoint(self.backbone) if checkpointed and trunk is not None else ()
        preprocessing, layout = self.backbone.preprocessing, options.training.channels_last
        return ForwardPath(trunk, head, preprocessing, options.training.precision, layout, again)

    def _saving(self, first: int) -> float:
        """Seconds of an epoch's checkpoint: what trains, and its optimiser's state."""
        named = dict(self.backbone.named_parameters())
        trains = sum(named[n].numel() for block in self.every[first:] for n in block.parameters)
        trains += sum(a * b + b for a, b in zip(self.estimate.dims, self.estimate.dims[1:], strict=False))
        moments = 1 if self.options.training.optimizer == "sgd" else 2
        numbers = trains * (1 + moments)
        with tempfile.TemporaryDirectory(prefix=".timed-", dir=nearest_folder(self.options.cache.folder)) as folder:
            begin = time.perf_counter()
            save_tensors(Path(folder) / "last.pth", {"x": torch.zeros(min(numbers, SAVED))})
            return (time.perf_counter() - begin) * numbers / min(numbers, SAVED)
