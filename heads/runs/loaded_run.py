"""`load_run`: a run's folder in, its model ready to use out, with transform and class names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from featcache.backbones import Backbone, JoinedBackbone, Model, build_head, load_parts, rebuild_backbone
from featcache.data import EvalTransform
from featcache.devices import pick_device
from featcache.errors import RunError, WeightsError
from featcache.options import Normalise, Options, load_options
from featcache.records import Identity, digest

FIRST_NORMALISED = 4  # the first format of best_model.pth that says head.normalise


@dataclass(frozen=True)
class LoadedRun:
    """The model of a run, the transform its images need, and the class names of its logits."""

    model: Model
    transform: EvalTransform  # of joined backbones that of the first
    transforms: tuple[EvalTransform, ...]  # of each backbone
    classes: tuple[str, ...]
    options: Options

    def predict(self, images: Iterable[str | Path]) -> Tensor:
        """Class probabilities `[N, C]` of image files, on the CPU, in the order of `classes`."""
        device = next(self.model.head.parameters()).device
        rows = []
        with torch.inference_mode():
            for image in images:
                batches = [transform(image)[None].to(device) for transform in self.transforms]
                logits = self.model(batches if len(batches) > 1 else batches[0])
                rows.append(logits.softmax(dim=1).cpu())
        return torch.cat(rows) if rows else torch.empty(0, len(self.classes))


def load_run(folder: str | Path, *, device: str | None = None, allow_custom: bool = False) -> LoadedRun:
    """The best model of the run in `folder` (backbone and head, in evaluation mode).

    A fine-tuned run brings its backbone's weights; another needs those that its head was trained on. Raises RunError
    when the folder holds no finished run, WeightsError when the weights are not those.
    """
    folder = Path(folder)
    if not all((folder / name).is_file() for name in ("best_model.pth", "options.json")):
        raise RunError(
            f"{folder}: holds no best_model.pth with its options.json. "
            "Expected a finished run's folder, such as results/<experiment_name>."
        )
    options = load_options(folder / "options.json")
    try:
        checkpoint: dict[str, Any] = torch.load(folder / "best_model.pth", map_location="cpu", weights_only=True)
        head = build_head(checkpoint["dims"], checkpoint["dropout"], normalisation_of(checkpoint))
        head.load_state_dict(checkpoint["head"])
        tuned_weights = checkpoint["network"]
    except Exception as error:  # a torn or foreign file fails in pickle, zip, or by its keys
        raise RunError(f"{folder / 'best_model.pth'}: cannot be read ({error}). Train the run again.") from None
    if tuned_weights is not None:
        (known,) = checkpoint["identities"]
        tuned = rebuild_backbone(options.model, Identity.from_dict(known), tuned_weights, allow_custom=allow_custom)
        return _loaded((tuned,), head, checkpoint, options, device)
    depths = [Identity.from_dict(known).preprocessing.depth for known in checkpoint["identities"]]
    loaded = load_parts(options, allow_custom=allow_custom)
    parts = [part.at_depth(depth) for part, depth in zip(loaded, depths, strict=True)]
    for part, known in zip(parts, checkpoint["identities"], strict=True):
        identity = part.info.identity
        if digest(identity.as_dict()) != digest(known):
            raise WeightsError(
                f"{folder}: the head was trained on other features than {identity.backbone} gives now (weights "
                f"{known['weights'][:8]}, now {identity.weights[:8]}). Bring the weights back, or train again."
            )
    return _loaded(parts, head, checkpoint, options, device)


def normalisation_of(checkpoint: Mapping[str, Any]) -> Normalise:
    """What a checkpoint's head was trained behind; raises KeyError where it is none of ours."""
    if checkpoint["format_version"] < FIRST_NORMALISED:
        return "none"
    normalise: Normalise = checkpoint["normalise"]
    return normalise


def _loaded(
    parts: Sequence[Backbone], head: nn.Module, checkpoint: dict[str, Any], options: Options, device: str | None
) -> LoadedRun:
    backbone = parts[0] if len(parts) == 1 else JoinedBackbone(parts)
    model = Model(backbone, head).to(pick_device(device)).eval()
    transforms = tuple(EvalTransform(part.preprocessing) for part in parts)
    return LoadedRun(model, transforms[0], transforms, tuple(checkpoint["classes"]), options)
