"""What every seed of an end-to-end run trains with: options, images, blocks, schedule, processes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from featcache.backbones import Block
from featcache.data import Decoder
from featcache.extraction import Extraction
from featcache.options import Options, TrainingOptions
from featcache.records import Preprocessing, Progress
from featcache.session import Session
from heads.finetune.distributed import Processes
from heads.finetune.evaluation import MicroBatches
from heads.finetune.kept_inputs import KeptInputs
from heads.finetune.training_images import TrainingImages
from heads.finetune.unfreezing import Schedule
from heads.training import Fit


@dataclass(frozen=True)
class RunSetup:
    """What every seed of a run trains with."""

    options: Options
    extraction: Extraction
    dataset: TrainingImages
    blocks: tuple[Block, ...]  # of the backbone
    schedule: Schedule
    session: Session
    processes: Processes
    micro_batches: MicroBatches
    fit: Fit | None = None  # of the features before any training, where head.normalise asks for one
    kept: KeptInputs = field(default_factory=lambda: KeptInputs(float("inf")))  # what frozen blocks gave
    plain: bool = False  # keep nothing: every epoch runs the whole network

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return self.session.device

    @property
    def progress(self) -> Progress:
        """Who is told how it goes."""
        return self.session.progress

    @property
    def training(self) -> TrainingOptions:
        """How it is trained."""
        return self.options.training

    @property
    def backbone(self) -> str:
        """Its name."""
        return self.extraction.info.identity.backbone

    @property
    def preprocessing(self) -> Preprocessing:
        """What images go through."""
        return self.extraction.info.identity.preprocessing

    @property
    def mixes(self) -> bool:
        """Whether images are mixed, so that no single image's features can be kept."""
        return self.training.mixup > 0 or self.training.cutmix > 0

    def decoder(self, fresh: bool = False) -> Decoder:
        """Images as tensors; those of `fresh` views come once and are not kept."""
        data = self.options.data
        return Decoder(
            self.preprocessing,
            data.augmentations,
            data.workers,
            None if fresh else self.session.scratch,
            processes=data.decoders == "processes",
            timeout_s=data.decode_timeout_s,
        )
