"""What a run says of itself: summary.json, performance.json and what stands beside them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache import __version__
from featcache.atomic import save_tensors
from featcache.joined import Joined
from featcache.options import Options
from featcache.profiling import device_name
from featcache.records import Split, digest
from featcache.store.provenance import provenance
from heads.evaluation import Predictions, Probe, save_predictions
from heads.leakage import leakage, leaks_of
from heads.metrics import Outcome, confusion, outcome, per_class, summarise
from heads.runs import write_json, write_metrics
from heads.separability import Separation
from heads.stacked import TrainedHead, score

MODEL_FORMAT = 3  # of best_model.pth


@dataclass(frozen=True)
class Result:
    """What a run's heads came to; what they were trained with, where that was the whole network."""

    seeds: list[list[TrainedHead]]  # [seed][fold]
    predictions: dict[Split, Predictions]
    outcomes: dict[Split, list[Outcome]]  # val: of each seed, out of fold; test: of each head
    best: int  # the seed that is best on val
    chosen: int  # of its heads the one that is kept: the fold that is best on its own val images
    seconds: float
    network: dict[str, Tensor] | None = None  # end to end: the backbone's weights that belong to the head that is kept
    from_run: str | None = None  # the run of heads on cached features that this one began from
    from_inputs: str | None = None  # a digest of what decided that run's result
    stages: list[dict[str, Any]] = field(default_factory=list)  # end to end: what trained from which epoch on
    separation: Separation | None = None  # of heads on cached features: how separable these are

    @property
    def head(self) -> TrainedHead:
        """The head that is kept."""
        return self.seeds[self.best][self.chosen]

    def predicted(self, split: Split) -> NDArray[np.int64]:
        """Classes by the best seed; on test by the head that is kept."""
        place = self.best if split == "val" else self.best * len(self.seeds[0]) + self.chosen
        return self.outcomes[split][place].predicted


def make_result(
    options: Options, seeds: list[list[TrainedHead]], predictions: dict[Split, Predictions], seconds: float
) -> Result:
    """The figures of heads `[seed][fold]` whose logits on val and test are `predictions`, and which one is kept."""
    outcomes = {
        split: [outcome(torch.from_numpy(one), torch.from_numpy(seen.labels)) for one in seen.logits]
        for split, seen in predictions.items()
    }
    metric = options.training.selection_metric
    best = _best(outcomes["val"], metric)
    chosen = max(range(len(seeds[best])), key=lambda f: score(seeds[best][f].best, metric))
    return Result(seeds, predictions, outcomes, best, chosen, seconds)


def write_record(
    folder: Path, options: Options, joined: Joined, inputs: dict[str, Any], result: Result, device: torch.device
) -> None:
    """Write every file of a run but its log into `folder`."""
    rows = [{**asdict(r), "seed": h.seed, "fold": h.fold} for folds in result.seeds for h in folds for r in h.curve]
    write_json(folder / "options.json", options.as_dict())
    write_metrics(folder / "metrics.csv", rows)
    write_json(folder / "performance.json", _performance(joined, result))
    write_json(folder / "summary.json", _summary(options, joined, inputs, result))
    write_json(folder / "environment.json", _environment(device))
    save_predictions(folder / "predictions.npz", result.predictions, _probed(result))
    save_tensors(folder / "best_model.pth", _checkpoint(options, joined, result))


def make_inputs(options: Options, joined: Joined, device: str) -> dict[str, Any]:
    """What decides a run's result: equal inputs give equal runs."""
    return {
        "options": options.short,
        "identities": [digest(identity) for identity in joined.identities()],
        "data": joined.manifest.fingerprint,
        "device": device,
        "featcache": __version__,
        "torch": str(torch.__version__),  # else an object of torch's, which checkpoints do not load
    }


def _probed(result: Result) -> Probe | None:
    """What the linear probe on the run's features got right."""
    separation = result.separation
    if separation is None or separation.right is None:
        return None
    return Probe(separation.right, separation.images)


def _best(val: Sequence[Outcome], metric: str) -> int:
    """The seed to keep, chosen on val like its epoch was."""

    def key(o: Outcome) -> tuple[float, float, float]:
        first = {"val_top1": o.top1.mean(), "val_top3": o.top3.mean(), "val_loss": -o.loss.mean()}[metric]
        return float(first), float(o.top1.mean()), -float(o.loss.mean())

    return max(range(len(val)), key=lambda k: key(val[k]))


def _summary(options: Options, joined: Joined, inputs: dict[str, Any], result: Result) -> dict[str, Any]:
    classes, splits = joined.manifest.classes, result.predictions
    figures: dict[str, Any] = {}
    for split, seen in result.outcomes.items():
        figures[split] = {m: summarise(np.stack([getattr(o, m) for o in seen])) for m in ("top1", "top3", "loss")}
    return {
        "experiment_name": options.experiment_name,
        "phase": 1 if result.network is None else 2,
        "from_run": result.from_run,
        "from_inputs": result.from_inputs,
        "stages": result.stages,
        "backbone": options.model.backbone,
        "source": joined.source,
        "weights": joined.weights,
        "weights_fell_back": joined.fell_back,
        "features": joined.features,
        "classifier_dims": list(joined.dims),
        "best_epoch": result.head.best_epoch,
        "best_seed": result.head.seed,
        "best_fold": result.head.fold if options.data.folds else None,
        "selection_metric": options.training.selection_metric,
        **figures,
        "seeds": [_seed(result, number) for number in range(len(result.seeds))],
        "classes": list(classes),
        "leakage": leakage(splits, leaks_of(joined.manifest, options.data.folds)),
        "separability": result.separation.figures if result.separation is not None else None,
        "per_class": {s: per_class(splits[s].labels, result.predicted(s), classes) for s in splits},
        "confusion": {s: confusion(splits[s].labels, result.predicted(s), len(classes)) for s in splits},
        "data": {
            "path": str(joined.manifest.root),
            "fingerprint": joined.manifest.fingerprint,
            "images": {s: len(joined.manifest.of(s)) for s in ("train", "val", "test")},
            "bad": [asdict(b) for b in joined.bad],
            "views": options.data.view_count,
            "folds": options.data.folds,
        },
        "stores": joined.stores,
        "cache_dir": str(joined.parts[0].store.path.parent.resolve()),
        "head_seconds": result.seconds,
        "inputs": inputs,
    }


def _seed(result: Result, number: int) -> dict[str, Any]:
    """One seed's entry in the summary; with folds, its epochs are those of each fold."""
    heads, folds = result.seeds[number], len(result.seeds[number])
    seen: dict[Split, list[Outcome]] = {
        "val": [result.outcomes["val"][number]],
        "test": result.outcomes["test"][number * folds : (number + 1) * folds],
    }
    epochs: dict[str, Any] = {
        "best_epoch": [h.best_epoch for h in heads],
        "epochs": [len(h.curve) for h in heads],
        "diverged": [h.diverged for h in heads],
    }
    return {
        "seed": heads[0].seed,
        **(epochs if folds > 1 else {n: v[0] for n, v in epochs.items()}),
        **{
            f"{s}_{m}": float(np.mean([getattr(o, m).mean() for o in outcomes]))
            for s, outcomes in seen.items()
            for m in ("top1", "top3", "loss")
        },
    }


def _performance(joined: Joined, result: Result) -> dict[str, Any]:
    return {
        **asdict(joined.profile),
        "features": joined.features,
        "extractions": [p.store.extraction() for p in joined.parts],
        "head_seconds": result.seconds,
    }


def _environment(device: torch.device) -> dict[str, Any]:
    return {
        **provenance(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "command": sys.argv,
    }


def _checkpoint(options: Options, joined: Joined, result: Result) -> dict[str, Any]:
    """Plain types and tensors only, so that `torch.load(weights_only=True)` reads it."""
    head = result.head
    return {
        "format_version": MODEL_FORMAT,
        "network": result.network,
        "head": {n: t.cpu() for n, t in head.state.items()},
        "dims": list(joined.dims),
        "dropout": options.model.dropout,
        "classes": list(joined.manifest.classes),
        "identities": joined.identities(),
        "seed": head.seed,
        "fold": head.fold,
        "epoch": head.best_epoch,
    }
