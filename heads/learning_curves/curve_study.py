"""Learning curves of one or several backbones on one data set: the same draws for all, and what they say together."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from featcache import __version__
from featcache.devices import device_name
from featcache.extraction import CachedFeatures, extract_all
from featcache.options import Options, as_options, require_frozen
from featcache.records import ImageRecord, Manifest
from featcache.session import Session, SessionKeywords
from heads.learning_curves.backbone_order import Crossing, Lead, compare_curves, compare_losses, crossings
from heads.learning_curves.curve_files import FORMAT
from heads.learning_curves.curve_text import crossing_sentence, curve_sentence, lead_sentences, noise_sentence
from heads.learning_curves.flipped_labels import NOISE
from heads.learning_curves.learning_curve import LearningCurve, as_dict, learning_curve
from heads.learning_curves.measured_heads import CurvePlan, MeasuredHeads, train_curve
from heads.learning_curves.same_images import require_same, require_same_images
from heads.learning_curves.training_subsets import DRAWS, Size, curve_sizes, nested_subsets, tell_apart
from heads.training import training_weights


@dataclass(frozen=True)
class Measured:
    """One backbone measured, and on what."""

    options: Options
    manifest: Manifest
    heads: MeasuredHeads
    seconds: float


@dataclass(frozen=True)
class CurveStudy:
    """The curves of a study."""

    curves: tuple[LearningCurve, ...]
    leads: tuple[Lead, ...]
    crossings: tuple[Crossing, ...]
    manifest: Manifest
    draws: int
    device: str
    losses: tuple[Lead, ...] = ()  # of each pair: which of them wrong labels cost less

    def sentences(self) -> list[str]:
        """What it says, the most important first."""
        noise = self.noise_sentence
        return self.size_sentences() if noise is None else [*self.size_sentences(), noise]

    @property
    def noise_sentence(self) -> str | None:
        """What wrong labels cost; None where it was not asked for."""
        return noise_sentence(self.curves, self.losses)

    def size_sentences(self) -> list[str]:
        """What more images would buy, and who is ahead with how many."""
        said = [curve_sentence(curve) for curve in self.curves]
        said += [crossing_sentence(one) for one in self.crossings]
        certain = {frozenset((one.first, one.then)) for one in self.crossings if one.certain}
        return said + lead_sentences([one for one in self.leads if frozenset((one.one, one.other)) not in certain])

    def document(self, name: str) -> dict[str, Any]:
        """The study as JSON values."""
        data = {"name": self.manifest.name, "path": str(self.manifest.root), "fingerprint": self.manifest.fingerprint}
        images = {split: len(self.manifest.of(split)) for split in ("train", "val", "test")}
        return {
            "format": FORMAT,
            "name": name,
            "featcache": __version__,
            "data": {**data, "images": images, "classes": list(self.manifest.classes)},
            "draws": self.draws,
            "device": self.device,
            "curves": [{**as_dict(curve), "said": curve_sentence(curve)} for curve in self.curves],
            "leads": [{**vars(lead), "shown": lead.shown} for lead in self.leads],
            "crossings": [vars(one) for one in self.crossings],
            "losses": [{**vars(lead), "shown": lead.shown} for lead in self.losses],
            "said": self.sentences(),
            "said_of_noise": self.noise_sentence,
        }


def plan_curves(manifest: Manifest, draws: int = DRAWS, noise: bool = False) -> tuple[tuple[Size, ...], CurvePlan]:
    """The sizes and the draws of a study on these images."""
    train = _trained(manifest)
    sizes = curve_sizes(np.array([i.label for i in train]), len(manifest.classes))
    subsets = [nested_subsets(train, sizes, draw) for draw in range(draws)]
    apart = tell_apart(sizes, subsets)
    plan = CurvePlan(tuple(tuple(own[at] for at in apart) for own in subsets), NOISE if noise else ())
    return tuple(sizes[at] for at in apart), plan


def _trained(manifest: Manifest) -> list[ImageRecord]:
    """The images that train: those of train, as `load_features` has them, less what weighs 0."""
    train = manifest.of("train")
    return [
        image for image, trains in zip(train, training_weights(train, len(train))[0].tolist(), strict=True) if trains
    ]


def measure_curve(options: Options, session: Session, draws: int = DRAWS, noise: bool = False) -> Measured:
    """The heads of one backbone's curve, on cached features; what they lack is extracted first.

    Train and val are taken as they are split: `data.folds` plays no part. Raises what `train_model` does, and
    OptionsError for an unfreeze_schedule.
    """
    require_frozen(options)
    cached: CachedFeatures = extract_all(options, session)
    _, plan = plan_curves(cached.manifest, draws, noise)
    begin = time.perf_counter()
    heads = train_curve(options, cached, plan, session.device, session.progress)
    return Measured(options, cached.manifest, heads, time.perf_counter() - begin)


def study_of(measured: Sequence[Measured], session: Session, draws: int = DRAWS, noise: bool = False) -> CurveStudy:
    """The study of backbones that were measured with these draws; raises DataError where they are not on equal data."""
    measured = _named_apart(measured)
    manifest = measured[0].manifest
    for one in measured[1:]:
        require_same(one.options.experiment_name, one.manifest, measured[0].options.experiment_name, manifest)
    sizes, plan = plan_curves(manifest, draws, noise)
    images = [float(np.mean([len(subsets[size]) for subsets in plan.draws])) for size in range(len(sizes))]
    counts = Counter(image.label for image in _trained(manifest))
    train = {name: counts[label] for label, name in enumerate(manifest.classes)}
    leads = compare_curves([one.heads for one in measured], sizes, images)
    return CurveStudy(
        tuple(learning_curve(one.heads, sizes, images, train, one.seconds) for one in measured),
        tuple(leads),
        tuple(crossings(leads)),
        manifest,
        draws,
        device_name(session.device),
        tuple(compare_losses([one.heads for one in measured])),
    )


def learning_curves(
    options: Sequence[Options | Mapping[str, Any] | str | Path],
    *,
    draws: int = DRAWS,
    noise: bool = False,
    **session: Unpack[SessionKeywords],
) -> CurveStudy:
    """The learning curves of these options' backbones (`featcache curve` from Python)."""
    begun = Session.begin(**session)
    every = [as_options(one) for one in options]
    require_same_images(every)
    with begun.sharing_images(every) as sharing:
        measured = [measure_curve(one, sharing, draws, noise) for one in every]
    return study_of(measured, begun, draws, noise)


def _named_apart(measured: Sequence[Measured]) -> list[Measured]:
    """Names tell curves apart: options of equal names get their digest too."""
    names = [one.heads.name for one in measured]
    return [
        one
        if names.count(one.heads.name) == 1
        else replace(one, heads=replace(one.heads, name=f"{one.heads.name}-{one.options.short}"))
        for one in measured
    ]
