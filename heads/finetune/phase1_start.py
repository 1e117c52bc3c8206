"""The run that an end-to-end run comes from: heads on cached features, or a network that was fine-tuned already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from featcache.backbones import IMAGE_NORMALISATIONS, Backbone, resolve_dims
from featcache.data import load_manifest
from featcache.errors import DataError, RunError, WeightsError
from featcache.options import Options
from featcache.records import digest
from heads.runs import Run, load_run_model, load_run_record, members_of, normalisation_of, read_checkpoint


@dataclass(frozen=True)
class Phase1Start:
    """The run that a run comes from, and what of it training begins with."""

    name: str
    made_from: str  # a digest of what decided its result: another run may come to have its name
    head: dict[str, Tensor] | None = None  # its weights, where they are what the run begins with
    network: Mapping[str, Tensor] | None = None  # those of its backbone, where it was fine-tuned, or is a soup

    @property
    def inputs(self) -> dict[str, Any]:
        """What of it decides a run's result, and whose gain the run shows."""
        network = {"network": _digest(self.network)} if self.network is not None else {}
        head = _digest(self.head) if self.head else None
        return {"from_run": self.name, "from_inputs": self.made_from, "head": head, **network}


def _digest(weights: Mapping[str, Tensor]) -> str:
    sha = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        sha.update(f"{name} {list(tensor.shape)};".encode())
        sha.update(tensor.contiguous().numpy().data)
    return sha.hexdigest()


def load_phase1_start(folder: Path, options: Options, backbone: Backbone, keep_head: bool) -> Phase1Start:
    """The run in `folder`; raises RunError where it is no run of the same images and backbone, or a combination."""
    run = require_start(folder)
    if keep_head and run.summary["data"]["folds"]:
        raise RunError(
            f"{folder}: was cross-validated, so its head has trained on images that choose the epoch here. Begin "
            "with a fresh head (--fresh-head, --top without --with-heads), or train a run without data.folds."
        )
    if keep_head and options.data.folds is not None:
        raise RunError(
            f"{folder}: its head has trained on images that data.folds holds out here. Begin with a fresh head "
            "(--from-run with --fresh-head, --top without --with-heads), or set data.folds to null."
        )
    manifest, _ = load_manifest(options.data, options.cache.folder)
    readable = manifest.without({bad["sha256"] for bad in run.summary["data"]["bad"]})
    if run.summary["backbone"] != options.model.backbone:
        raise RunError(
            f"{folder}: is a run of {run.summary['backbone']}, and model.backbone is {options.model.backbone}. Name a "
            "run of the same backbone."
        )
    if run.summary["data"]["fingerprint"] != readable.fingerprint:
        raise DataError(
            f"{folder}: was trained on other data (then in {run.summary['data']['path']}) than data.path holds now, "
            f"{manifest.root}, as the options of data (limit, classes, exclude, ..) take it. Name a run on the same "
            "images, or train it again."
        )
    tuned = run.summary["phase"] != 1
    if tuned and options.data.folds is not None:
        raise RunError(
            f"{folder}: was fine-tuned on images that data.folds would judge by. Set data.folds to null, or begin with "
            "a run of heads on cached features."
        )
    keep_head = keep_head or tuned  # whose features no other head knows
    head = _head_of(folder, options, backbone.at_depth(manifest.depth), manifest.classes) if keep_head else None
    network = load_run_model(folder).tuned if tuned else None
    return Phase1Start(folder.resolve().name, digest(run.summary["inputs"]), head, network)


def require_start(folder: Path) -> Run:
    """The run in `folder`; raises RunError where it is no one network that training could begin with."""
    run = load_run_record(folder)
    if members := members_of(run.summary, folder):
        names = ", ".join(one.run for one in members if one.weight > 0)
        raise RunError(
            f"{folder}: is a combination of several networks, which are not trained together. Fine-tune each "
            f"({names}) and combine them again, or have one network learn from it: featcache distill --teacher "
            f"{folder.name} --student BACKBONE --end-to-end."
        )
    return run


def _head_of(folder: Path, options: Options, backbone: Backbone, classes: tuple[str, ...]) -> dict[str, Tensor]:
    checkpoint = read_checkpoint(folder)
    try:
        head, dims, (identity,) = checkpoint["head"], tuple(checkpoint["dims"]), checkpoint["identities"]
        normalise = normalisation_of(checkpoint)
    except Exception as error:  # a foreign file fails by its keys
        raise RunError(f"{folder / 'best_model.pth'}: cannot be read ({error}). Train the run again.") from None
    here = backbone.info.identity
    if identity["preprocessing"] != here.as_dict()["preprocessing"]:
        raise WeightsError(
            f"{folder}: its head was trained on images of {identity['preprocessing']['input_size']} pixels, and here "
            f"they have {here.preprocessing.input_size} (or are resized another way). Make model.input_size equal."
        )
    if identity["weights"] != here.weights:
        raise WeightsError(
            f"{folder}: its head was trained on other features than {here.backbone} gives now (weights "
            f"{identity['weights'][:8]}, now {here.weights[:8]}). Bring the weights back, or train it again."
        )
    wanted = resolve_dims(options.model.classifier_dims, here.backbone, backbone.features, len(classes))
    if dims != wanted:
        raise RunError(
            f"{folder}: its head has the widths {list(dims)}, and model.classifier_dims says {list(wanted)}. Make the "
            "two equal."
        )
    if normalise != options.head.normalise and {normalise, options.head.normalise} & set(IMAGE_NORMALISATIONS):
        raise RunError(
            f"{folder}: its head was trained behind head.normalise {normalise}, and here it is "
            f"{options.head.normalise}. Make the two equal, or begin with a fresh head."
        )
    return dict(head)
