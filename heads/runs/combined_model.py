"""The model of a combination: each backbone of its members once, their heads, and the average of what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from featcache.records import digest
from heads.runs.combination_members import MemberRecord, member_folder, members_of, require_fresh
from heads.runs.run import load_run_record
from heads.runs.run_model import RunModel, read_run_model


class CombinedHead(nn.Module):
    """Features `[N, F]` of all feature maps side by side to logits `[N, C]`: the logarithm of the weighted average of
    the members' probabilities, each by its own columns and temperature."""

    log_weights: Tensor  # [K, 1, 1]

    def __init__(
        self, heads: Sequence[nn.Module], columns: Sequence[tuple[int, int]], members: Sequence[MemberRecord]
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.columns = tuple(columns)
        self.temperatures = tuple(member.temperature for member in members)
        weights = torch.tensor([member.weight for member in members])
        self.register_buffer("log_weights", weights.log()[:, None, None])

    def forward(self, features: Tensor) -> Tensor:
        """Logits, whose softmax is the average."""
        logs = [
            (head(features[:, begin:end]) / temperature).log_softmax(dim=1)
            for head, (begin, end), temperature in zip(self.heads, self.columns, self.temperatures, strict=True)
        ]
        return (torch.stack(logs) + self.log_weights).logsumexp(dim=0)


def combined_model(folder: Path) -> RunModel | None:
    """What the combination in `folder` and its members hold of its model; None where it is no combination.

    Members without weight are left out; feature maps that several of them have (the same backbones, frozen) are
    there once. A combination of one run is that run. Raises RunError where a member has changed since.
    """
    if not _is_combination(folder):
        return None
    record = load_run_record(folder)
    require_fresh(record)
    every = members_of(record.summary, folder)
    counting = [member for member in every if member.weight > 0]
    models = [read_run_model(member_folder(folder, member)) for member in counting]
    maps: dict[str, RunModel] = {}
    for model in models:
        maps.setdefault(_map_of(model), model)
    begins, width = {}, 0
    for key, model in maps.items():
        begins[key] = width
        width += model.features
    columns = [(begins[_map_of(m)], begins[_map_of(m)] + m.features) for m in models]
    head = models[0].head if len(every) == 1 else CombinedHead([m.head for m in models], columns, counting)
    first = models[0]
    options = first.options.model_copy(update={"experiment_name": folder.name})
    identities = tuple(identity for model in maps.values() for identity in model.identities)
    return RunModel(folder, options, first.classes, identities, head.eval(), first.seed, None, tuple(maps.values()))


def _is_combination(folder: Path) -> bool:
    try:
        return json.loads((folder / "summary.json").read_text(encoding="utf-8")).get("combination") is not None
    except (OSError, ValueError, RecursionError, AttributeError):
        return False


def _map_of(model: RunModel) -> str:
    """What tells its feature map from others: the backbones' identities; of a fine-tuned one its run."""
    if model.tuned is not None:
        return str(model.folder.resolve())
    return digest([identity.as_dict() for identity in model.identities])
