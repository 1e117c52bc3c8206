"""`load_run`: a run's folder in, its model ready to use out, with transform and class names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
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
        """Class probabilities `[N, C]` of image files, on the CPU, in the order of `classes`.

        They are as trained; `featcache predict` and `serve` divide logits by the run's temperature as well."""
        device = next(self.model.head.parameters()).device
        rows = []
        with torch.inference_mode():
            for image in images:
                batches = [transform(image)[None].to(device) for transform in self.transforms]
                logits = self.model(batches if len(batches) > 1 else batches[0])
                rows.append(logits.softmax(dim=1).cpu())
        return torch.cat(rows) if rows else torch.empty(0, len(self.classes))


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

    def backbones(self, *, allow_custom: bool = False) -> tuple[Backbone, ...]:
        """Each backbone, with the weights that the head was trained on; raises WeightsError when they are not there."""
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


def load_run(folder: str | Path, *, device: str | None = None, allow_custom: bool = False) -> LoadedRun:
    """The best model of the run in `folder` (backbone and head, in evaluation mode).

    A fine-tuned run brings its backbone's weights; another needs those that its head was trained on. Raises RunError
    when the folder holds no finished run, WeightsError when the weights are not those.
    """
    run = load_run_model(folder)
    parts = run.backbones(allow_custom=allow_custom)
    backbone = parts[0] if len(parts) == 1 else JoinedBackbone(parts)
    model = Model(backbone, run.head).to(pick_device(device)).eval()
    transforms = tuple(EvalTransform(part.preprocessing) for part in parts)
    return LoadedRun(model, transforms[0], transforms, run.classes, run.options)


def load_run_model(folder: str | Path) -> RunModel:
    """What the run in `folder` holds of its model; raises RunError when it is no finished run's."""
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
        identities = tuple(map(Identity.from_dict, checkpoint["identities"]))
        classes, seed, tuned = tuple(checkpoint["classes"]), int(checkpoint["seed"]), checkpoint["network"]
    except UnpicklingError:  # whose text tells people to load it with all that it may do
        raise RunError(
            f"{folder / 'best_model.pth'}: holds something else than tensors and plain values, which no run does; "
            "nothing of it was run. Train the run again, and ask where the file comes from."
        ) from None
    except Exception as error:  # a torn or foreign file fails in zip, or by its keys
        raise RunError(f"{folder / 'best_model.pth'}: cannot be read ({error}). Train the run again.") from None
    return RunModel(folder, options, classes, identities, head.eval(), seed, tuned)


def normalisation_of(checkpoint: Mapping[str, Any]) -> Normalise:
    """What a checkpoint's head was trained behind; raises KeyError where it is none of ours."""
    if checkpoint["format_version"] < FIRST_NORMALISED:
        return "none"
    normalise: Normalise = checkpoint["normalise"]
    return normalise
