"""Tensors of another library's names or another input size in, the same as a network has them out.

The libraries do this themselves when they load their published weights; a file of the user's goes the same way.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def adapted(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """`state` as the network's library adapts it: position embeddings and relative position tables resampled to the
    network's size, names of the architecture's original repository translated. None where the library has nothing for
    this network or cannot adapt it."""
    try:
        if type(network).__module__ == "torchvision.models.vision_transformer":
            return _torchvision_vit(network, state)
        # timm's own, beside the architecture; each takes what it knows of and trips over what it does not.
        module = sys.modules[type(network).__module__]
        adapt: Any = getattr(module, "checkpoint_filter_fn", None)
        if not type(network).__module__.startswith("timm.") or adapt is None:
            return None
        # One of them prints, and one warns of how it indexes.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(adapt(dict(state), network))
    except Exception:  # whatever it trips over, what was not adapted is then said tensor by tensor
        return None


def _torchvision_vit(network: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    from torchvision.models.vision_transformer import interpolate_embeddings

    return dict(interpolate_embeddings(network.image_size, network.patch_size, dict(state)))
