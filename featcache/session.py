"""What stays the same from a command's beginning to its end: made once at the door, handed on as one object."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import torch

from featcache.backbones import STAND_IN
from featcache.data import Scratch
from featcache.devices import local_device, pick_device, pick_devices
from featcache.errors import InputError
from featcache.options import CacheOptions, Options
from featcache.records import SILENT, Progress
from featcache.workers import Workers

log = logging.getLogger("featcache")


class SessionKeywords(TypedDict, total=False):
    """The keywords by which a call from Python says what a command says by its flags; all can be left out."""

    results_dir: str | Path  # where runs are kept; default: results
    device: str | None  # cpu, cuda, cuda:1; default: the first GPU, else the CPU
    allow_custom: bool  # options may name code to import
    reuse: bool  # a finished run of equal options on equal rows is given back
    progress: Progress  # who is told how it goes
    scratch: Scratch | None  # where several calls keep decoded images for each other


@dataclass(frozen=True)
class Session:
    """Where one command computes, what it may do, whom it tells, where its results go."""

    device: torch.device
    allow_custom: bool = False  # options may name code to import
    progress: Progress = SILENT
    scratch: Scratch | None = None  # decoded images that several configs share
    results_dir: Path = Path("results")
    reuse: bool = False  # a finished run of equal options on equal rows is given back
    workers: Workers | None = None  # processes on several devices, the first of which is `device`; of a command alone
    stand_ins: list[str] | None = None  # of a command, which says at its end which backbones got random weights

    def random_weights_stand_in(self, backbone: str) -> None:
        """Say that no pretrained weights could be had: at once, or by the command at its end, for all backbones."""
        if self.stand_ins is None:
            log.warning(STAND_IN, backbone)
        elif backbone not in self.stand_ins:
            self.stand_ins.append(backbone)

    @classmethod
    def begin(
        cls,
        device: str | None = None,
        *,
        allow_custom: bool = False,
        progress: Progress = SILENT,
        scratch: Scratch | None = None,
        results_dir: str | Path = "results",
        reuse: bool = False,
    ) -> Session:
        """A session on the device called `device` (default: the first GPU, else the CPU; under `torchrun` this
        process's own GPU). Raises InputError for a device that is not there."""
        place = pick_device(local_device(device))
        return cls(place, allow_custom, progress, scratch, Path(results_dir), reuse)

    @contextmanager
    def on_devices(self, names: str | None) -> Iterator[Session]:
        """This session with a worker process on each of several devices, if any are named, which are ended with the
        block; a lone one needs none. Raises InputError for devices that are not there."""
        if names is None:
            yield self
            return
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InputError(
                f"--devices {names}: torchrun has started a process for each device already. Leave one of the two out."
            )
        devices = pick_devices(names)
        session = replace(self, device=devices[0])
        if len(devices) == 1:
            yield session
            return
        with closing(Workers(devices)) as workers:
            yield replace(session, workers=workers)

    @contextmanager
    def decoding_once(self, cache: CacheOptions) -> Iterator[Session]:
        """This session with a place for decoded images, which is gone when the block ends; its own if it has one."""
        if self.scratch is not None:
            yield self
            return
        with closing(Scratch(cache.folder, int(cache.max_decoded_gb * 1e9))) as scratch:
            yield replace(self, scratch=scratch)

    @contextmanager
    def sharing_images(self, configs: Sequence[Options]) -> Iterator[Session]:
        """This session with a place where several configs keep decoded images for each other; a lone one needs none."""
        if len(configs) < 2:
            yield self
            return
        with self.decoding_once(configs[0].cache) as shared:
            yield shared
