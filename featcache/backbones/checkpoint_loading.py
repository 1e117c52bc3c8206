"""A checkpoint in, its tensors in a network whose classifier is off; what was chosen, left out and changed is said."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from featcache.backbones.checkpoint_file import CheckpointFile, read_checkpoint, settings, whole_network
from featcache.backbones.checkpoint_fit import Fit, fit, groups, in_short
from featcache.backbones.checkpoint_keys import COUNTER, Candidate, candidates, largest
from featcache.backbones.checkpoint_path import split_key
from featcache.backbones.position_resampling import adapted
from featcache.errors import WeightsError

log = logging.getLogger("featcache")

NAMINGS = (
    (r"embedder\.convolution|embeddings\.patch_embeddings|encoder\.layer\.\d+\.", "Hugging Face transformers"),
    (r"^(backbone\.bottom_up\.)?(stem\.conv1\.norm|res[2-5]\.\d+\.)", "detectron2"),
    (r"\.attn\.w_msa\.|\.ffn\.layers\.", "OpenMMLab"),
    (r"^(model\.)+\d+\.(conv|cv1|m)\.", "Ultralytics"),
    (r"/|(^|\.)kernel$", "TensorFlow or JAX"),
)
SIZED = re.compile(r"pos|bias_table|attention_biases|patch_embed")  # what depends on the input size


@dataclass
class _Choice:
    """One way to read a checkpoint."""

    candidate: Candidate
    state: dict[str, Tensor]  # under the network's names, as far as they are known
    fit: Fit
    resampled: list[str] = field(default_factory=list)
    renamed: bool = False


def load_file_into(network: nn.Module, classifier_keys: Collection[str], location: str) -> dict[str, Any]:
    """Load the checkpoint at `location`, a path and perhaps `:key`, into a network whose classifier is off.

    `classifier_keys` are the names that the whole network had and this one lacks: they may be in the file or not.
    Returns the plain settings that lie beside the weights. Raises WeightsError that names the first tensors that
    differ, or says why the file cannot be read.
    """
    path, key = split_key(location)
    file = read_checkpoint(path)
    own = network.state_dict()
    every = candidates(file.content, own)
    _require_some(file, every)
    named = [c for c in every if key is None or c.answers(key)]
    if not named:
        there = ", ".join(dict.fromkeys(c.label for c in every if c.label)) or "one state dict, without a name"
        raise WeightsError(f"model.weights: {path} has no {key!r}. It holds {there}.")
    choice = _choose(network, classifier_keys, named)
    if not choice.fit.good:
        raise _mismatch(file, choice, len([k for k in own if not k.endswith(COUNTER)]))
    _say(file, choice, [c for c in every if c.place != choice.candidate.place or c.prefix != choice.candidate.prefix])
    # Into the network's own dict, which carries the layers' versions that some of them ask for.
    for name, tensor in choice.fit.tensors.items():
        own[name] = tensor
    network.load_state_dict(own)
    return settings(file.content)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint whose network is not known yet, without what DataParallel and torch.compile put
    before their names. Raises WeightsError."""
    file = read_checkpoint(path)
    _require_some(file, candidates(file.content, ()))
    return {re.sub(r"^((module|_orig_mod)\.)+", "", name): t for name, t in largest(file.content).items()}


def _choose(network: nn.Module, classifier_keys: Collection[str], every: list[Candidate]) -> _Choice:
    """The first candidate that fits as it is, or else as the network's library adapts it; or else the nearest."""
    most = every[0].fitting
    full = [c for c in every if c.fitting == most]
    choices = [_Choice(c, c.inside, fit(network, classifier_keys, c.inside)) for c in full]
    for choice in choices:
        if choice.fit.good:
            return choice
    for candidate in full:
        if (one := _adapt(network, classifier_keys, candidate)) is not None:
            return one
    for candidate in {c.place: c for c in every}.values():
        bare = Candidate(candidate.place, _shared_words(candidate.state), candidate.state, candidate.fitting)
        if (one := _adapt(network, classifier_keys, bare)) is not None:
            return one
    return choices[0]


def _adapt(network: nn.Module, classifier_keys: Collection[str], candidate: Candidate) -> _Choice | None:
    state = adapted(network, candidate.inside)
    if state is None:
        return None
    found = fit(network, classifier_keys, state)
    if not found.good:
        return None
    before = candidate.inside
    resampled = [
        f"{k} from {list(before[k].shape)} to {list(v.shape)}"
        for k, v in found.tensors.items()
        if k in before and before[k].shape != v.shape and SIZED.search(k)
    ]
    return _Choice(candidate, state, found, resampled, any(k not in before for k in found.tensors))


def _shared_words(state: Any) -> str:
    """The words, with their dots, that every name of `state` begins with."""
    shared = ""
    while len({k.removeprefix(shared).partition(".")[0] for k in state}) == 1 and all(
        "." in k.removeprefix(shared) for k in state
    ):
        shared += next(iter(state)).removeprefix(shared).partition(".")[0] + "."
    return shared


def _require_some(file: CheckpointFile, every: list[Candidate]) -> None:
    """Raise WeightsError for a file without any tensor by name, with what is in it instead."""
    whole = whole_network(file.content)
    if whole is not None and not any(c.fitting for c in every):
        where, kind = whole
        out = file.path.with_name(f"{file.path.stem}_state.pth")
        raise WeightsError(
            f"model.weights: {file.path} holds a whole network ({kind}) and no state dict. A pickled network is code, "
            "which is not run here. Where you trust the file, and its code is installed, this takes out the weights: "
            f"python -c \"import torch; torch.save(torch.load('{file.path}', weights_only=False){where}"
            f".state_dict(), '{out}')\""
        )
    if isinstance(file.content, dict) and {"head", "dims", "identities"} <= file.content.keys():
        if file.content.get("network") is None:
            raise WeightsError(
                f"model.weights: {file.path} is the model of a run that trained a head and left the backbone as it "
                "was. Name the weights that the backbone came from."
            )
    elif not every:
        raise WeightsError(
            f"model.weights: {file.path} holds no state dict (names to tensors) but a {type(file.content).__name__}."
        )


def _mismatch(file: CheckpointFile, choice: _Choice, count: int) -> WeightsError:
    faults = choice.fit.faults
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    where = f" under {choice.candidate.label!r}" if choice.candidate.label else ""
    foreign = next(
        (who for pattern, who in NAMINGS if any(re.search(pattern, k) for k in choice.candidate.state)), None
    )
    hint = (
        f"Its names are those of {foreign}, which are not translated: take torchvision's or timm's weights of the "
        "network."
        if foreign is not None and choice.candidate.fitting < count
        else "Is it another architecture's?"
    )
    there = sum(not k.endswith(COUNTER) for k in choice.fit.tensors)
    return WeightsError(
        f"model.weights: {file.path} does not fit the network: {'; '.join(faults[:3])}{more}. "
        f"{there} of the network's {count} tensors are there{where}. {hint}"
    )


def _say(file: CheckpointFile, choice: _Choice, others: list[Candidate]) -> None:
    """One line of what was not simply taken as it lies in the file."""
    said = []
    chosen = choice.candidate
    if chosen.place or chosen.prefix:
        said.append(f"read {chosen.label}")
    also = [c.label for c in others if c.fitting == chosen.fitting and c.label]
    if also:
        said.append(f"also there: {in_short(also)} (name one after a colon)")
    beside = [k for k in chosen.outside if not any(k.startswith(o.prefix) for o in others if o.prefix)]
    # Under the word that tells them apart: `queue` of `module.queue` beside `module.encoder_q.`.
    words = chosen.prefix.split(".")[:-2]
    around = ".".join([*words, ""])
    if ignored := [*choice.fit.ignored, *(k.removeprefix(around).partition(".")[0] for k in beside)]:
        said.append(f"left out: {groups(ignored)}")
    if choice.renamed:
        said.append("names translated as the library does for its own weights")
    if choice.resampled:
        said.append(f"resampled to this input size: {in_short(choice.resampled)}")
    kinds = {str(t.dtype).removeprefix("torch.") for t in choice.fit.tensors.values() if t.is_floating_point()}
    if kinds - {"float32"}:
        said.append(f"{' and '.join(sorted(kinds - {'float32'}))} became float32")
    if file.left_out:
        said.append(f"settings skipped, not run: {in_short(file.left_out)}")
    if said:
        log.info("%s: %s", file.path.name, "; ".join(said))
