"""A module's tensors by name: put into it, and digested."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def put_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """`module` holds `weights`, by name; raises ValueError where they are not those of such a module.

    Unlike `load_state_dict` it asks for no record of versions, which a plain dict does not have.
    """
    here = module.state_dict()
    wrong = sorted(here.keys() ^ weights.keys())
    wrong = wrong or sorted(n for n, t in here.items() if t.shape != weights[n].shape)
    if wrong:
        raise ValueError(f"{wrong[0]} is missing, too many or of another shape")
    with torch.no_grad():
        for name, tensor in here.items():
            tensor.copy_(weights[name])


def tensor_digest(module: nn.Module) -> str:
    """The sha256 (hex) of a module's parameters and buffers, by name, type and shape."""
    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue  # no forward pass in evaluation reads it
        sha.update(f"{name} {tensor.dtype} {list(tensor.shape)};".encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()
