"""The forward pass while some blocks train: images, trunk outputs or pooled features in, logits out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from featcache.backbones import Backbone, checkpointed_modules, gradients_checkpointed, run_network
from featcache.data import normalise
from featcache.records import Preprocessing

log = logging.getLogger("featcache")


class ForwardPath(nn.Module):
    """A batch's inputs to logits `[N, C]`: images through the whole network, rows of the cut through the rest of it, or
    pooled features straight into the head."""

    def __init__(
        self,
        trunk: nn.Module | None,
        head: nn.Sequential,
        preprocessing: Preprocessing,
        precision: str,
        channels_last: bool,
        checkpointed: Sequence[nn.Module] = (),
    ) -> None:
        """`checkpointed`: modules of the trunk whose insides are computed again in the backward pass."""
        super().__init__()
        self._checkpointed = tuple(checkpointed)
        self.trunk = trunk
        self.head = head
        self._preprocessing, self._precision = preprocessing, precision
        self._layout = torch.channels_last if channels_last else torch.contiguous_format

    @property
    def classes(self) -> int:
        """C."""
        return int(cast(nn.Linear, self.head[-1]).out_features)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Logits; with `keep` `[units, N]` hidden units are multiplied by it: 0 where dropout drops them."""
        if x.dtype == torch.uint8:
            x = normalise(x, self._preprocessing)
        if self.trunk is not None:
            if x.ndim == 4:
                x = x.contiguous(memory_format=self._layout)
            with gradients_checkpointed(self._checkpointed if self.training else ()):
                x = run_network(self.trunk, x, self._precision)
        return run_head(self.head, x, keep)


def run_head(head: nn.Sequential, x: Tensor, keep: Tensor | None) -> Tensor:
    """Logits of features `[N, F]`; what dropout draws comes from outside, so that it does not depend on the device."""
    start = 0
    for layer in head:
        if not isinstance(layer, nn.Dropout):
            x = layer(x)
        elif keep is not None:
            units = x.shape[1]
            x = x * keep[start : start + units].mT
            start += units
    return x


def modules_to_checkpoint(backbone: Backbone) -> list[nn.Module]:
    """The modules whose insides are not kept for the backward pass; a network without any is warned of."""
    every = dict(backbone.network.named_modules())
    found = [every[name] for name in checkpointed_modules(backbone.network)]
    if not found:
        log.warning(
            "%s: training.gradient_checkpointing saves nothing, as it has no blocks that can be computed again one by "
            "one",
            backbone.info.identity.backbone,
        )
    return found


def hidden_units(head: nn.Sequential) -> int:
    """How many units dropout has a say in."""
    return sum(m.out_features for m in list(head)[:-1] if isinstance(m, nn.Linear))
