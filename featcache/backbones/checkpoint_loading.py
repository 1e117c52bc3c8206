"""A checkpoint's file in, its tensors in the network."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from featcache.backbones.checkpoint_file import read_state_dict
from featcache.errors import WeightsError


def load_file_into(network: nn.Module, classifier_keys: set[str], path: Path) -> None:
    """Load the state dict in `path` into a network whose classifier is off.

    `classifier_keys` are the names that the whole network had and this one lacks: they may be in the file or not.
    Raises WeightsError that names the first tensors that differ.
    """
    state = read_state_dict(path)
    own = network.state_dict()
    wrong = [f"{k} is missing" for k in own if k not in state and not k.endswith("num_batches_tracked")]
    wrong += [
        f"{k} has the shape {list(state[k].shape)}, expected {list(v.shape)}"
        for k, v in own.items()
        if k in state and state[k].shape != v.shape
    ]
    # By the classifier's first name part too: a fine-tuned classifier may have other layers than the original.
    heads = {k.partition(".")[0] for k in classifier_keys} - {k.partition(".")[0] for k in own}
    wrong += [
        f"{k} is not in the network"
        for k in state
        if k not in own and k not in classifier_keys and k.partition(".")[0] not in heads
    ]
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
        raise WeightsError(
            f"model.weights: {path} does not fit the network: {'; '.join(wrong[:3])}{more}. "
            "Is it another architecture's?"
        )
    # Into the network's own dict, which carries the layers' versions that some of them ask for.
    for key in own:
        own[key] = state.get(key, own[key])
    network.load_state_dict(own)
