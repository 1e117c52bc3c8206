"""One step end to end: gradients of a batch (mixup, CutMix, accumulation, clipping, loss scaling) and the update."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torch.nn.parallel import DistributedDataParallel

from featcache.data import normalise
from featcache.devices import out_of_memory
from featcache.errors import WorkError
from featcache.extraction import Indices
from heads.finetune.batch_inputs import Batch
from heads.finetune.run_setup import RunSetup
from heads.training import class_weights, soft_loss, torch_optimiser, weight_scales


@dataclass(frozen=True)
class Teaching:
    """What a teacher answers to some images: logarithms of its probabilities `[n, C]`, and what they count in each
    one's loss `[n]`."""

    logs: Tensor
    weights: Tensor


@dataclass(frozen=True)
class BatchShare:
    """What one process has of a batch of `total` images: inputs `[n, ..]`, labels `[n]`, what dropout keeps."""

    x: Tensor
    y: Tensor
    keep: Tensor | None  # [units, n]; None where nothing is dropped
    weight: float  # that each of these images counts
    total: int
    mass: float  # that the sum of the whole batch's losses is divided by: its images, or what their classes weigh
    counts: Tensor | None = None  # what each image's loss is multiplied by [n]; None: 1
    taught: Teaching | None = None


class OptimiserStep:
    """Optimiser and gradients. All parameter groups are there from the start; what is frozen has no gradients, and so
    neither state nor decay."""

    def __init__(self, setup: RunSetup, groups: Sequence[Sequence[nn.Parameter]]) -> None:
        self._setup = setup
        dataset = setup.dataset
        labels, weights = dataset.labels[dataset.train], dataset.weights
        own = None if weights is None else weights[dataset.train]
        self._weights = class_weights(setup.training, setup.extraction.manifest.classes, labels, own)
        self._counts = None
        if weights is not None and own is not None:
            of_classes = np.ones(setup.extraction.dims[-1]) if self._weights is None else self._weights
            scales = weight_scales(setup.training, labels, own, of_classes)
            self._counts = torch.from_numpy(weights * scales[dataset.labels]).to(setup.device, torch.float32)
        self._of_classes = None
        if self._weights is not None:
            self._of_classes = torch.from_numpy(self._weights).to(setup.device, torch.float32)
        self._groups = groups
        self._optimizer = torch_optimiser(setup.training, groups)
        # Of the backbone: the last group is the head.
        self._began = _copies(groups[:-1]) if setup.training.l2_to_start else []
        self._scaler = torch.amp.GradScaler(setup.device.type, enabled=setup.training.precision == "float16")
        self.batch = min(setup.options.data.batch_size * setup.training.accumulate, len(setup.dataset.train))

    def begin(self, rates: Sequence[float]) -> None:
        """Set the learning rate of each group."""
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def mass(self, labels: Indices) -> float:
        """What the summed losses of a batch with these labels are divided by, as `torch.nn.CrossEntropyLoss(weight=..)`
        has it: the labels' weights, and where labels are mixed the number of images."""
        if self._weights is None or self._setup.mixes:
            return float(len(labels))
        return float(self._weights[labels].sum())

    def counts(self, images: Tensor) -> Tensor | None:
        """What the losses of these images, by their places, are multiplied by; None where that is 1."""
        return None if self._counts is None else self._counts[images]

    def teaching(self, batch: Batch) -> Teaching | None:
        """What the teacher answers to a batch; None where there is none."""
        dataset, device = self._setup.dataset, self._setup.device
        if dataset.soft is None:
            return None
        logs = dataset.soft.logs[dataset.first[batch.images] + batch.views]
        weights = dataset.soft.weights(self._setup.training, batch.images)
        return Teaching(torch.from_numpy(logs).to(device), torch.from_numpy(weights).to(device))

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"optimizer": self._optimizer.state_dict(), "scaler": self._scaler.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])

    def step(self, model: nn.Module, share: BatchShare) -> tuple[Tensor, Tensor]:
        """One update from this process's share of a batch; the sums of its losses and hits."""
        while True:
            try:
                sums = self._gradients(model, share)
                break
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            except ValueError as error:
                raise _lone_value(error, self._setup.backbone) from None
            self._setup.micro_batches.halve()  # outside the handler, whose traceback holds what did not fit
        if self._began or self._setup.training.clip_norm is not None:
            self._scaler.unscale_(self._optimizer)
        for weight, began in self._began:
            if weight.grad is not None:
                weight.grad.add_(weight.detach() - began, alpha=self._setup.training.l2_to_start)
        if self._setup.training.clip_norm is not None:
            trains = [p for group in self._groups for p in group if p.grad is not None]
            nn.utils.clip_grad_norm_(trains, self._setup.training.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return sums

    def _gradients(self, model: nn.Module, share: BatchShare) -> tuple[Tensor, Tensor]:
        """Fill the gradients, piece by piece, of the mean over the whole batch in all processes."""
        self._optimizer.zero_grad(set_to_none=True)
        training, processes = self._setup.training, self._setup.processes.count
        x, y, keep, weight, counts = share.x, share.y, share.keep, share.weight, share.counts
        parts = np.array_split(np.arange(len(x)), self._pieces(share.total))
        loss_sum, right = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
        for number, part in enumerate(parts):
            cut = slice(int(part[0]), int(part[-1]) + 1)
            with _unsynced(model, more=number + 1 < len(parts)):
                inputs, target = self._mixed(x[cut], y[cut] if counts is None else self._weighed(y[cut], counts[cut]))
                logits = model(inputs, keep if keep is None else keep[:, cut])
                smoothing = training.label_smoothing
                if counts is not None:  # torch's own takes every distribution for one that sums to 1
                    whole = target.sum(dim=1, keepdim=True)
                    target, smoothing = target * (1 - smoothing) + whole * (smoothing / target.shape[1]), 0.0
                loss = self._loss(logits, target, smoothing, share, cut)
                self._scaler.scale(loss * weight * processes / share.mass).backward()
            with torch.no_grad():
                loss_sum += loss.detach() * weight * (share.total / share.mass)
                right += (logits.argmax(dim=1) == y[cut]).sum() * weight
        return loss_sum, right

    def _loss(self, logits: Tensor, target: Tensor, smoothing: float, share: BatchShare, cut: slice) -> Tensor:
        """The sum over some images of a share; a teacher's part is a mean over images whatever classes weigh."""
        if share.taught is None:
            return cross_entropy(logits, target, self._of_classes, reduction="sum", label_smoothing=smoothing)
        distillation = self._setup.training.distillation
        assert distillation is not None
        weights = share.taught.weights[cut]
        own = cross_entropy(logits, target, self._of_classes, reduction="none", label_smoothing=smoothing)
        soft = soft_loss(logits, share.taught.logs[cut], distillation.temperature)
        return ((1 - weights) * own).sum() + (weights * soft).sum() * (share.mass / share.total)

    def _pieces(self, total: int) -> int:
        """How many pieces a batch is taken in: as many in every process, or they would wait for each other."""
        processes = self._setup.processes.count
        if total < processes:
            return 1
        # A last image that joined the batch before, since a batch norm cannot train on one, makes no piece of its own.
        size = self._setup.micro_batches.size
        joined = int(total > self.batch and size > 1)
        return min(total // processes, -(-(-(-total // processes) - joined) // size))

    def _weighed(self, y: Tensor, counts: Tensor) -> Tensor:
        """Labels as distributions times what their images count `[N, C]`: the loss is linear in its target, so that of
        images that are mixed each part has the weight of its own."""
        return one_hot(y, self._setup.extraction.dims[-1]) * counts[:, None]

    def _mixed(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels, mixed where that is wanted: then labels are distributions over the classes `[N, C]`."""
        from torchvision.transforms import v2  # late, as all of torchvision: see `functional` of featcache.data

        training, classes = self._setup.training, self._setup.extraction.dims[-1]
        ways: list[v2.Transform] = []
        if training.mixup:
            ways.append(v2.MixUp(alpha=training.mixup, num_classes=classes))
        if training.cutmix:
            ways.append(v2.CutMix(alpha=training.cutmix, num_classes=classes))
        if not ways:
            return x, y
        mixed: tuple[Tensor, Tensor] = v2.RandomChoice(ways)(normalise(x, self._setup.preprocessing), y)
        return mixed


def _copies(groups: Sequence[Sequence[nn.Parameter]]) -> list[tuple[nn.Parameter, Tensor]]:
    """Every parameter, and what it was."""
    return [(weight, weight.detach().clone()) for group in groups for weight in group]


def _lone_value(error: ValueError, backbone: str) -> Exception:
    """What a batch norm says that was given one number of each channel, in the user's words."""
    if "more than 1 value per channel" not in str(error):
        return error
    return WorkError(
        f"{backbone}: a batch norm cannot train on one image whose feature map is a single pixel there. Choose a "
        "larger data.batch_size or model.input_size, or freeze that block."
    )


def _unsynced(model: nn.Module, more: bool) -> AbstractContextManager[object]:
    """Processes exchange gradients once, after the last piece."""
    return model.no_sync() if more and isinstance(model, DistributedDataParallel) else nullcontext()
