"""`load_run`: a run's folder in, its model ready to use out, with transform and class names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from featcache.backbones import JoinedBackbone, Model
from featcache.data import EvalTransform
from featcache.devices import pick_device
from featcache.options import Options
from heads.runs.combined_model import combined_model
from heads.runs.run_model import RunModel, read_run_model


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


def load_run(folder: str | Path, *, device: str | None = None, allow_custom: bool = False) -> LoadedRun:
    """The best model of the run in `folder` (backbone and head, in evaluation mode).

    A fine-tuned run brings its backbone's weights; another needs those that its head was trained on; a combination
    needs the runs that it is made of. Raises RunError when the folder holds no finished run, WeightsError when the
    weights are not those.
    """
    run = load_run_model(folder)
    parts = run.backbones(allow_custom=allow_custom)
    backbone = parts[0] if len(parts) == 1 else JoinedBackbone(parts)
    model = Model(backbone, run.head).to(pick_device(device)).eval()
    transforms = tuple(EvalTransform(part.preprocessing) for part in parts)
    return LoadedRun(model, transforms[0], transforms, run.classes, run.options)


def load_run_model(folder: str | Path) -> RunModel:
    """What the run in `folder` holds of its model; raises RunError when it is no finished run's, or a combination of
    runs that have changed since."""
    folder = Path(folder)
    return combined_model(folder) or read_run_model(folder)
