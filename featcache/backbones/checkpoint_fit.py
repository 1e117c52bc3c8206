"""A state dict and a network in, the tensor for each of the network's names out, and what does not fit."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from featcache.backbones.checkpoint_keys import COUNTER

# Buffers that a network computes for itself, and that profilers leave behind: never worth an error.
LEFT_OVER = (
    "total_ops",
    "total_params",
    "attn_mask",
    "relative_position_index",
    "relative_coords_table",
    "attention_bias_idxs",
    COUNTER,
)
# First words of what stands beside a backbone: classifiers, and parts that only its training needs.
BESIDE = re.compile(
    r"(head|heads|head_dist|fc|classifier|last_linear|aux\w*|neck|decoder\w*|mask_token|projector|projection_head|"
    r"predictor|prototypes|queue|queue_ptr|dino_head|ibot_head|criterion|loss|loss_fn|n_averaged|center|"
    r"data_preprocessor|lm_head|online_head|train_\w+|val_\w+|test_\w+)$"
)
SHOWN = 3  # tensors that an error or a log line names


@dataclass
class Fit:
    """How a state dict goes with a network."""

    tensors: dict[str, Tensor] = field(default_factory=dict)  # what is to be loaded, by the network's names
    missing: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # of another shape or type, in words
    strange: list[str] = field(default_factory=list)  # not in the network, nor beside a backbone
    ignored: list[str] = field(default_factory=list)  # left-over buffers and what stands beside the backbone

    @property
    def good(self) -> bool:
        """Whether the network can be loaded."""
        return not (self.missing or self.wrong or self.strange)

    @property
    def faults(self) -> list[str]:
        """What is wrong, tensor by tensor."""
        absent = [f"{name} is missing" for name in self.missing]
        return absent + self.wrong + [f"{name} is not in the network" for name in self.strange]


def fit(network: nn.Module, classifier_keys: Collection[str], state: Mapping[str, Tensor]) -> Fit:
    """How `state` goes with a network whose classifier is off; `classifier_keys` are the names that it had.

    Those may be in `state` or not, with other layers and shapes: only the first part of their names is looked at.
    """
    found = Fit()
    own = network.state_dict()
    for name, tensor in own.items():
        if name not in state:
            if not name.endswith(LEFT_OVER):
                found.missing.append(name)
        elif name.endswith(LEFT_OVER) and not _alike(state[name], tensor):
            found.ignored.append(name)
        elif state[name].shape != tensor.shape:
            found.wrong.append(f"{name} has the shape {list(state[name].shape)}, expected {list(tensor.shape)}")
        elif not _alike(state[name], tensor):
            found.wrong.append(f"{name} holds {state[name].dtype} values, expected {tensor.dtype}")
        else:
            found.tensors[name] = state[name]
    first = {name.partition(".")[0] for name in own}
    heads = {name.partition(".")[0] for name in classifier_keys} - first
    for name in state.keys() - own.keys() - set(classifier_keys):
        word = name.partition(".")[0]
        if word in heads:
            continue
        if name.endswith(LEFT_OVER) or (word not in first and BESIDE.match(word)):
            found.ignored.append(name)
        else:
            found.strange.append(name)
    found.strange.sort(key=list(state).index)
    return found


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether both have the same shape and both hold fractions, or neither does."""
    return one.shape == other.shape and one.is_floating_point() == other.is_floating_point()


def in_short(names: Collection[str], shown: int = SHOWN) -> str:
    """The first few of `names`, and how many more there are."""
    more = len(names) - shown
    return ", ".join(list(names)[:shown]) + (f" and {more} more" if more > 0 else "")


def groups(names: Collection[str]) -> str:
    """`names` by what tells them apart: the left-over buffer, or else the first word."""
    kinds: dict[str, int] = {}
    for name in sorted(names):
        kind = next((k for k in LEFT_OVER if name.endswith(k)), name.partition(".")[0])
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(kind if count == 1 else f"{kind} ({count} tensors)" for kind, count in kinds.items())
