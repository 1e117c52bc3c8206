"""What a checkpoint holds and a network's names in, the state dict that fits the network out, under those names.

A checkpoint may hold several (a student and its teacher, weights and their moving average), one within the other, and
each may have put words before the network's names (`module.`, `backbone.`). Which words those are is not guessed from a
list: they are what stands before the network's own names in the file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from featcache.backbones.inert_unpickling import Inert, plain_tensors

MAX_DEPTH = 4  # of state dicts within mappings
NOT_WEIGHTS = frozenset({"optimizer", "optimizers", "optimizer_states", "optimizer_state_dict", "amp", "scaler"})
# What of a checkpoint's copies of a network is the one to use: averaged weights, then a teacher, then any; those that
# only follow another in contrastive training last, with what Lightning keeps beside
# its average (`current_model_state`). Words of the path to them.
FIRST_WORDS = ({"ema", "averaged", "swa"}, {"teacher"})
LAST_WORDS = {"k", "momentum", "target", "current"}
WRAPPED = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
COUNTER = "num_batches_tracked"  # a batch norm's, which no forward pass in evaluation reads


@dataclass(frozen=True)
class Candidate:
    """One state dict of a checkpoint, read with one prefix."""

    place: tuple[str, ...]  # the keys that lead to it
    prefix: str  # with its dot at the end, or empty
    state: Mapping[str, Tensor]  # whole, under the names in the file
    fitting: int  # how many of the network's own names it has

    @property
    def label(self) -> str:
        """How a user can name it after the file's name and a colon."""
        return ".".join([*self.place, *filter(None, [self.prefix.rstrip(".")])])

    @property
    def inside(self) -> dict[str, Tensor]:
        """The tensors under the prefix, without it."""
        return {k.removeprefix(self.prefix): v for k, v in self.state.items() if k.startswith(self.prefix)}

    @property
    def outside(self) -> list[str]:
        """The names of the others."""
        return [k for k in self.state if not k.startswith(self.prefix)]

    def answers(self, key: str) -> bool:
        """Whether `key` names it: some of its label, in whole words."""
        return f".{key}." in f".{self.label}."


def candidates(content: Any, own: Collection[str]) -> list[Candidate]:
    """Every state dict in `content`, with each prefix that leads to many of the names `own`, the one to use first."""
    found = []
    for place, state in _state_dicts(content, (), set()):
        prefixes = _prefixes(state, own)
        most = max(prefixes.values(), default=0)
        found += [Candidate(place, p, state, n) for p, n in prefixes.items() if 2 * n > most]
        if not prefixes:
            found.append(Candidate(place, "", state, 0))
    return sorted(found, key=lambda c: (-c.fitting, *_rank(c)))


def largest(content: Any) -> dict[str, Tensor]:
    """The state dict with the most tensors in `content`, averaged weights before others; empty where there is none."""
    found = [Candidate(place, "", state, len(state)) for place, state in _state_dicts(content, (), set())]
    return min(found, key=lambda c: (-c.fitting, *_rank(c))).inside if found else {}


def _rank(candidate: Candidate) -> tuple[int, int, str]:
    words = set(re.split(r"[._]", candidate.label))
    first = next((i for i, some in enumerate(FIRST_WORDS) if words & some), len(FIRST_WORDS))
    return (first + 1 if words & LAST_WORDS else first), len(candidate.prefix), candidate.label


def _state_dicts(
    content: Any, place: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Tensor]]]:
    """With the keys that lead to each. Those in `seen` are not entered again: a file can hold itself, many times."""
    if isinstance(content, Inert):
        content = {} if "_modules" in content.fields else content.fields  # a whole network's parts are no state dict
    if not isinstance(content, Mapping) or len(place) > MAX_DEPTH:
        return
    values = {str(k): plain_tensors(v) for k, v in content.items()}
    named = {k: v for k, v in values.items() if isinstance(v, Tensor)}
    tensors = {plain_name(k): v for k, v in named.items()}
    if len(tensors) < len(named):  # with and without a wrapper: two networks, and a prefix tells them apart
        tensors = named
    if tensors:
        yield place, tensors
    if id(content) in seen:
        return
    seen.add(id(content))
    for key, value in values.items():
        if key not in NOT_WEIGHTS and isinstance(value, Mapping | Inert):
            yield from _state_dicts(value, (*place, key), seen)


def _prefixes(state: Mapping[str, Tensor], own: Collection[str]) -> Counter[str]:
    """How many of the names `own` there are after each prefix."""
    wanted = {name for name in own if not name.endswith(COUNTER)}
    counts: Counter[str] = Counter()
    for key in state:
        start = 0
        while True:
            if key[start:] in wanted:
                counts[key[:start]] += 1
            dot = key.find(".", start)
            if dot < 0:
                break
            start = dot + 1
    return counts


def plain_name(key: str) -> str:
    """A name without what torch.compile and FSDP put before the parts that they wrap; and as the libraries write it
    now: DenseNet's layers in the hub's files have one ("norm.1") that PyTorch has not allowed since 0.4."""
    key = WRAPPED.sub("", key)
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key)
