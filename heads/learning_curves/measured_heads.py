"""The heads of one backbone's curve trained on its cached features, and what each gives on val and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.errors import NonFiniteError
from featcache.extraction import CachedFeatures
from featcache.options import Options
from featcache.records import SILENT, ImageRecord, Progress, Split
from featcache.relatives import relatives
from heads.learning_curves.curve_heads import CurveHead, curve_features, curve_heads, fold_of
from heads.learning_curves.held_out_epochs import held_out_values
from heads.runs import predict_test
from heads.training import (
    PARTS,
    EpochRow,
    Features,
    HeadSpec,
    TrainedHead,
    find_metric,
    load_features,
    outcome,
    train_heads,
)

STATE_BYTES = 1 << 30  # of the best weights of heads that are held at once, until they have answered test

Values = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class CurvePlan:
    """What all backbones of a study have in common: the draws of the training images, the shares of wrong labels."""

    draws: tuple[tuple[Indices, ...], ...]  # of each draw and size the places among the training images
    noise: tuple[float, ...]

    @property
    def sizes(self) -> int:
        """How many sizes there are."""
        return len(self.draws[0])


@dataclass(frozen=True, eq=False)
class MeasuredHeads:
    """What the heads of one backbone gave: of each split, metric and point `[D, V]`, the mean over the seeds of a draw;
    at full size, where draws do not differ, each head by itself.

    Larger is better in all of them. On val each image is judged at an epoch that was chosen without it.
    """

    name: str
    backbone: str
    values: Mapping[tuple[Split, str], Mapping[tuple[int, float], Values]]  # .. [size, share of wrong labels]
    labels: Mapping[Split, Indices]
    units: Mapping[Split, Indices]
    heads: int
    diverged: int


def curve_metrics(options: Options) -> tuple[str, ...]:
    """The metrics of a curve: top-1, and what chooses the epoch where that is another."""
    return tuple(dict.fromkeys(["top1", find_metric(options.training.selection_metric).name]))


def train_curve(
    options: Options, cached: CachedFeatures, plan: CurvePlan, device: torch.device, progress: Progress = SILENT
) -> MeasuredHeads:
    """Train every head of the plan, in stacks; raises NonFiniteError where a point has no head with a finite loss."""
    whole = load_features(cached, device, folds=None, limit_bytes=options.cache.max_features_gb * 1e9)
    features = curve_features(whole, plan.draws, plan.noise)
    heads = curve_heads(options.training, plan.sizes, len(plan.draws), plan.noise)
    manifest = cached.manifest
    val, test = manifest.of("val"), manifest.of("test")
    found: dict[tuple[Split, str], dict[CurveHead, Values]] = {}
    progress.begin(f"curve of {options.model.backbone}", len(heads) * options.training.epochs, "epoch")
    diverged = 0
    for chunk in _chunks(heads, cached.dims):
        trained = _train(options, cached.dims, features, plan, chunk, progress)
        kept = [(head, one) for head, one in zip(chunk, trained, strict=True) if one.state]
        diverged += len(chunk) - len(kept)
        for metric in curve_metrics(options):
            own = found.setdefault(("val", metric), {})
            own.update((head, _on_val(one, metric, options, val)) for head, one in kept)
        for metric, on_test in _on_test(cached, kept, curve_metrics(options), device).items():
            found.setdefault(("test", metric), {}).update(on_test)
    progress.end(f"{len(heads)} heads of {options.model.backbone}")
    splits: dict[Split, Sequence[ImageRecord]] = {"val": val, "test": test} if test else {"val": val}
    return MeasuredHeads(
        options.experiment_name,
        options.model.backbone,
        {key: _by_point(of, plan.sizes - 1, options) for key, of in found.items()},
        {split: np.array([i.label for i in images]) for split, images in splits.items()},
        {split: relatives(images) for split, images in splits.items()},
        len(heads),
        diverged,
    )


def _chunks(heads: Sequence[CurveHead], dims: Sequence[int]) -> list[Sequence[CurveHead]]:
    size = max(1, STATE_BYTES // (4 * sum(a * b + b for a, b in pairwise(dims))))
    return [heads[start : start + size] for start in range(0, len(heads), size)]


def _train(
    options: Options,
    dims: tuple[int, ...],
    features: Features,
    plan: CurvePlan,
    chunk: Sequence[CurveHead],
    progress: Progress,
) -> list[TrainedHead]:
    specs = [
        HeadSpec(
            dims,
            options.training,
            head.seed,
            options.model.dropout,
            fold_of(head, plan.sizes, len(plan.draws), plan.noise),
            options.head.normalise,
        )
        for head in chunk
    ]

    def told(_: int, __: EpochRow) -> bool:
        progress.advance(1)
        return False

    # Batches are those of a run, whose every image they may not outnumber.
    batch_size = min(options.data.batch_size, len(plan.draws[0][-1]))
    return train_heads(features, specs, batch_size=batch_size, keep_outcomes=True, watch=told)


def _on_val(one: TrainedHead, metric: str, options: Options, val: Sequence[ImageRecord]) -> Values:
    seen = one.outcomes
    assert seen is not None
    tops = {"top1": seen.right[0], "top3": seen.right[1]}
    chosen = find_metric(options.training.selection_metric).name
    by = seen.selected if seen.selected is not None else tops[chosen]
    found = held_out_values(by, tops.get(metric, by), relatives(val))
    if metric in tops or chosen not in PARTS:
        return found
    labels = np.array([i.label for i in val])  # the spread is that within classes
    centre: Values = np.bincount(labels, found) / np.maximum(np.bincount(labels), 1)
    return np.asarray(found - centre[labels] + found.mean(), np.float64)


def _on_test(
    cached: CachedFeatures,
    kept: Sequence[tuple[CurveHead, TrainedHead]],
    metrics: Sequence[str],
    device: torch.device,
) -> dict[str, dict[CurveHead, Values]]:
    """Each head's values on test `[V]`, at its best epoch on val, as a run has it."""
    if not cached.manifest.of("test") or not kept:
        return {}
    seen = predict_test(cached, [one for _, one in kept], device)
    labels = torch.from_numpy(seen.labels)
    answers = [outcome(torch.from_numpy(logits), labels) for logits in seen.logits]
    signs = {metric: 1.0 if find_metric(metric).larger_is_better else -1.0 for metric in metrics}
    return {
        metric: {head: sign * one.values[metric] for (head, _), one in zip(kept, answers, strict=True)}
        for metric, sign in signs.items()
    }


def _by_point(found: Mapping[CurveHead, Values], last: int, options: Options) -> dict[tuple[int, float], Values]:
    """Heads by size and share of wrong labels; seeds of one draw are no more draws."""
    points: dict[tuple[int, float], dict[int, list[Values]]] = {}
    for number, (head, values) in enumerate(found.items()):
        cluster = number if head.key == (last, 0.0) else head.draw  # all images: every draw is the same
        points.setdefault(head.key, {}).setdefault(cluster, []).append(values)
    if any((size, 0.0) not in points for size in range(last + 1)):
        raise NonFiniteError(
            f"{options.experiment_name}: the loss of every head of a size became NaN or infinite in the first epoch. "
            f"Lower training.learning_rate (now {options.training.learning_rate:g})."
        )
    return {key: np.stack([np.mean(own, axis=0) for own in draws.values()]) for key, draws in sorted(points.items())}
