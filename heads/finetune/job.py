"""What every seed of an end-to-end run trains with."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from featcache.backbones import Block
from featcache.data.decoding import Decoder
from featcache.data.scratch import Scratch
from featcache.extraction import Extraction
from featcache.options import Options, TrainingOptions
from featcache.records import SILENT, Preprocessing, Progress
from heads.finetune.judging import Pieces
from heads.finetune.pool import Pool
from heads.finetune.processes import Processes
from heads.finetune.schedule import Schedule


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
    pieces: Pieces
    progress: Progress = SILENT
    scratch: Scratch | None = None
    plain: bool = False  # keep nothing: every epoch runs the whole network

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
        return Decoder(self.preprocessing, data.augmentations, data.workers, None if fresh else self.scratch)
