"""The one network of which members are averaged: its weights by who takes part, and what it answers then."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.backbones import put_weights
from featcache.data import Decoder
from featcache.extraction import Extraction
from featcache.options import Options
from featcache.session import Session
from heads.finetune import (
    Batch,
    DecodedInputs,
    ForwardPath,
    MicroBatches,
    average_weights,
    estimate_statistics,
    evaluate_logits,
    make_training_images,
    moved_norms,
)
from heads.soup.shared_start import Member

log = logging.getLogger("featcache")

Taken = tuple[int, ...]  # members by their number, ascending


class AveragedNetwork:
    """Members' networks averaged in place, on the session's device. Images are decoded once where there is room."""

    def __init__(self, members: Sequence[Member], options: Options, extraction: Extraction, session: Session) -> None:
        """`options` are those of the first member, `extraction` has the images."""
        self._members = tuple(members)
        model = members[0].model
        (self._backbone,) = model.backbones(allow_custom=session.allow_custom)
        layout = torch.channels_last if options.training.channels_last else torch.contiguous_format
        self._backbone.to(session.device, memory_format=layout)  # type: ignore[call-overload]  # torch's stub lacks it
        self._head = copy.deepcopy(model.head).to(session.device)  # the member keeps its own
        identity = extraction.info.identity
        self._forward = ForwardPath(
            self._backbone.network,
            self._head,  # type: ignore[arg-type]  # heads of runs are sequences of layers
            identity.preprocessing,
            identity.precision,
            options.training.channels_last,
        )
        self._dataset = make_training_images(extraction)
        self._test = extraction.manifest.of("test")
        data = options.data
        decoder = Decoder(
            identity.preprocessing,
            data.augmentations,
            data.workers,
            session.scratch,
            processes=data.decoders == "processes",
            timeout_s=data.decode_timeout_s,
        )
        self._trained_on = DecodedInputs(decoder, self._dataset.images, session.device)
        self._tested_on = DecodedInputs(decoder, self._test, session.device)
        self._batch = min(data.batch_size, len(self._dataset.train))
        self._micro_batches = MicroBatches(self._batch, options.model.backbone, session.device, 1)
        self._states: list[dict[str, Tensor]] = [
            {n: t.to(session.device) for n, t in one.items()} for m in members for one in (m.network, m.head)
        ]
        self._val: dict[Taken, NDArray[np.float32]] = {}
        self.norms = 0  # whose statistics were found anew

    def val_logits(self, taken: Taken) -> NDArray[np.float32]:
        """`[N, C]`: of one member what it answered itself."""
        if len(taken) == 1:
            found: NDArray[np.float32] = self._members[taken[0]].answers["val"].logits[0]
            return found
        if taken not in self._val:
            log.info("averaging %s", ", ".join(self._members[one].name for one in taken))
            self.take(taken)
            self._val[taken] = self._logits(self._trained_on, self._dataset.val)
        return self._val[taken]

    def test_logits(self, taken: Taken) -> NDArray[np.float32]:
        """`[N, C]` of the average that `take` put into the network; of one member what it answered itself."""
        if len(taken) == 1:
            found: NDArray[np.float32] = self._members[taken[0]].answers["test"].logits[0]
            return found
        return self._logits(self._tested_on, np.arange(len(self._test)))

    def take(self, taken: Taken) -> None:
        """Put the average of some members into the network; batch norms that moved get their statistics anew, from
        plain views of the training images."""
        states = [self._states[2 * one] for one in taken]
        put_weights(self._backbone.network, average_weights(states))
        put_weights(self._head, average_weights([self._states[2 * one + 1] for one in taken]))
        self._forward.eval()
        norms = moved_norms(self._backbone.network, states)
        self.norms = len(norms)
        if norms:
            estimate_statistics(norms, self._trained_on.inputs(self._batches()), self._forward)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Weights and buffers of backbone and head, on the CPU."""
        network, head = (
            {n: t.detach().cpu().clone(memory_format=torch.contiguous_format) for n, t in m.state_dict().items()}
            for m in (self._backbone.network, self._head)
        )
        return network, head

    def _batches(self) -> list[Batch]:
        """The training images in batches that differ by one image at most, each of images from all over the data set:
        they lie sorted by class, and batches of one class would know nothing of how classes differ."""
        train = self._dataset.train
        count = -(-len(train) // self._batch)
        return [Batch(own, np.zeros(len(own), np.int64)) for own in (train[k::count] for k in range(count))]

    def _logits(self, source: DecodedInputs, images: NDArray[np.int64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = (
            evaluate_logits(self._forward, source, images, self._micro_batches).float().cpu().numpy()
        )
        return found
