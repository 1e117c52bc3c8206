"""What a run's folder holds of its model: head, identities of its backbones, weights that were fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from featcache.backbones import Backbone, build_head, load_parts, rebuild_backbone
from featcache.errors import RunError, WeightsError
from featcache.options import Normalise, Options, load_options
from featcache.records import Identity, digest
from heads.runs.own_files import require_own_files

FIRST_NORMALISED = 4  # the first format of best_model.pth that says head.normalise


@dataclass(frozen=True)
class RunModel:
    """What a run's folder holds of its model: all but the published weights of a backbone that stayed frozen."""

    folder: Path
    options: Options
    classes: tuple[str, ...]
    identities: tuple[Identity, ...]  # of each backbone, as it was before any fine-tuning
    head: nn.Module  # features `[N, F]` to logits, in evaluation mode
    seed: int  # that trained the head
    tuned: Mapping[str, Tensor] | None  # the weights of a fine-tuned backbone
    # Of a combination: of each of its feature maps a run that has it, in the order in which its head takes them.
    maps: tuple[RunModel, ...] = ()

    @property
    def features(self) -> int:
        """F, what the head takes."""
        return next(layer.in_features for layer in self.head.modules() if isinstance(layer, nn.Linear))

    @property
    def networks(self) -> tuple[RunModel, ...]:
        """Itself; of a combination a run for each of its feature maps."""
        return self.maps or (self,)

    @property
    def names(self) -> tuple[str, ...]:
        """Of each backbone."""
        return tuple(name for one in self.networks for name in one.options.model.names)

    def network_of(self, backbone: int) -> RunModel:
        """Of the run that a backbone, by its number, is of: itself but in a combination."""
        return [one for one in self.networks for _ in one.options.model.names][backbone]

    def backbones(self, *, allow_custom: bool = False) -> tuple[Backbone, ...]:
        """Each backbone, with the weights that the head was trained on; raises WeightsError when they are not there."""
        if self.maps:
            return tuple(part for one in self.maps for part in one.backbones(allow_custom=allow_custom))
        if self.tuned is not None:
            (known,) = self.identities
            return (rebuild_backbone(self.options.model, known, self.tuned, allow_custom=allow_custom),)
        loaded = load_parts(self.options, allow_custom=allow_custom)
        parts = [part.at_depth(known.preprocessing.depth) for part, known in zip(loaded, self.identities, strict=True)]
        for part, known in zip(parts, self.identities, strict=True):
            identity = part.info.identity
            if digest(identity.as_dict()) != digest(known.as_dict()):
                raise WeightsError(
                    f"{self.folder}: the head was trained on other features than {identity.backbone} gives now "
                    f"(weights {known.weights[:8]}, now {identity.weights[:8]}). Bring the weights back, or train "
                    "again."
                )
        return tuple(parts)


def read_run_model(folder: Path) -> RunModel:
    """What the folder of a run, of no combination, holds of its model; raises RunError when it is no finished run's."""
    if not all((folder / name).is_file() for name in ("best_model.pth", "options.json")):
        raise RunError(
            f"{folder}: holds no best_model.pth with its options.json. "
            "Expected a finished run's folder, such as results/<experiment_name>."
        )
    require_own_files(folder)
    options = load_options(folder / "options.json")
    checkpoint = read_checkpoint(folder)
    try:
        head = build_head(checkpoint["dims"], checkpoint["dropout"], normalisation_of(checkpoint))
        head.load_state_dict(checkpoint["head"])
        identities = tuple(map(Identity.from_dict, checkpoint["identities"]))
        classes, seed, tuned = tuple(checkpoint["classes"]), int(checkpoint["seed"]), checkpoint["network"]
    except Exception as error:  # a foreign file fails by its keys
        raise RunError(f"{folder / 'best_model.pth'}: cannot be read ({error}). Train the run again.") from None
    return RunModel(folder, options, classes, identities, head.eval(), seed, tuned)


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """What the best_model.pth of the run in `folder` holds: tensors and plain values, nothing that runs. Raises
    RunError."""
    require_own_files(folder)
    try:
        found: dict[str, Any] = torch.load(folder / "best_model.pth", map_location="cpu", weights_only=True)
    except UnpicklingError:  # whose text tells people to load it with all that it may do
        raise RunError(
            f"{folder / 'best_model.pth'}: holds something else than tensors and plain values, which no run does; "
            "nothing of it was run. Train the run again, and ask where the file comes from."
        ) from None
    except Exception as error:  # a torn or foreign file fails in zip; torch's advice is for who wrote it
        said = type(error).__name__ if "weights_only" in str(error) else error
        raise RunError(f"{folder / 'best_model.pth'}: cannot be read ({said}). Train the run again.") from None
    return found


def normalisation_of(checkpoint: Mapping[str, Any]) -> Normalise:
    """What a checkpoint's head was trained behind; raises KeyError where it is none of ours."""
    if checkpoint["format_version"] < FIRST_NORMALISED:
        return "none"
    normalise: Normalise = checkpoint["normalise"]
    return normalise
