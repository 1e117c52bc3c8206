"""Small real problems for samplers: cached features of a data set, heads of milliseconds, three or eight options.

The features are cut to their first principal components and at most so many training images, and heads are narrow, so
that thousands of trials are really trained; no surrogate stands in for any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from array_rows import ArrayRows
from sklearn.decomposition import PCA

from featcache.errors import OptionsError
from featcache.extraction import extract_all
from featcache.options import Options, parse_options
from featcache.session import Session
from heads.search.point_keys import point_key
from heads.search.search_space import Space, make_space
from heads.search.sweep_options import SweepOptions
from heads.search.trial_figures import Costs, Figures, HeadFigures, figures
from heads.training import Features, load_features, run_heads, train_heads
from heads.training.features import Fold

COMPONENTS, MOST, HIDDEN, EPOCHS, BATCH = 64, 160, 16, 16, 32
STACK = 256  # heads that train side by side
RATES = {"low": 1e-4, "high": 1e-1, "log": True}
THREE: dict[str, Any] = {
    "training.learning_rate": RATES,
    "training.weight_decay": {"low": 1e-4, "high": 1.0, "log": True},
    "model.dropout": {"low": 0.0, "high": 0.8},
}
EIGHT: dict[str, Any] = {
    **THREE,
    "training.label_smoothing": {"low": 0.0, "high": 0.4},
    "training.warmup_epochs": {"low": 0, "high": 10},
    "training.optimizer": ["adamw", "sgd"],
    "training.scheduler": ["none", "cosine", "step"],
    "training.balanced_draws": [False, True],
}
SPACES = {3: THREE, 8: EIGHT}
GRIDS = {  # points of each range: about as many in all as there are trials
    3: {"training.learning_rate": 5, "training.weight_decay": 3, "model.dropout": 4},
    8: {"training.learning_rate": 5},  # what it has points for, with every choice; the other ranges at the base's
}


@dataclass(frozen=True)
class DataSet:
    """What a problem is made of."""

    name: str
    path: str
    backbone: str
    pretrained: bool
    size: int | None = None
    images: int = MOST  # to train on, at most
    wrong: float = 0.0  # of their labels


DIGITS = DataSet("digits", "demo:digits", "resnet18", False, 64, images=80)
FEW = DataSet("digits, few and mislabelled", "demo:digits", "tf_efficientnet_lite0", True, 112, images=40, wrong=0.15)


def folder(argument: str) -> DataSet:
    """`PATH` or `PATH:BACKBONE`: a folder of images, and the pretrained backbone."""
    path, _, backbone = argument.partition(":")
    return DataSet(Path(path).name, path, backbone or "tf_efficientnet_lite0", True)


@dataclass(frozen=True)
class Trained:
    """What came of a point."""

    figures: Figures
    by_seed: tuple[Figures, ...]


@dataclass
class Problem:
    """A data set and options to search; what was trained is known, whoever asked for it."""

    data: DataSet
    options: int  # searched
    features: Features
    space: Space
    base: Options
    known: dict[str, Trained | None] = field(default_factory=dict)

    def train(self, points: Sequence[Mapping[str, Any]]) -> list[Trained | None]:
        """The figures of each point, None where its options contradict each other or it diverged."""
        new = {key: p for p in points if (key := point_key(p)) not in self.known}
        keys = list(new)
        heads, owners = [], []
        for key in keys:
            try:
                own = run_heads(self.space.options(new[key]), (COMPONENTS, HIDDEN, self.features.classes), 1)
            except OptionsError:
                self.known[key] = None
                continue
            heads += own
            owners += [key] * len(own)
        trained = []
        for start in range(0, len(heads), STACK):
            some = heads[start : start + STACK]
            trained += train_heads(self.features, some, batch_size=BATCH, keep_weights=False)
        val = len(self.features.folds[0].val)
        for key in dict.fromkeys(owners):
            own = [h for h, owner in zip(trained, owners, strict=True) if owner == key]
            reached = [HeadFigures(h.seed, val, h.best) for h in own if h.diverged is None]
            cost = Costs(0.0, 0, 0)
            made = Trained(figures(reached, cost), tuple(figures([h], cost) for h in reached)) if reached else None
            self.known[key] = made if len(reached) == len(own) else None
        return [self.known[point_key(p)] for p in points]


def make_problem(data: DataSet, options: int, sampler: str, seeds: int, session: Session, cache: Path) -> Problem:
    """The problem of a data set; `sampler` decides whether ranges have points."""
    base = {
        "experiment_name": "search",
        "model": {
            "backbone": data.backbone,
            "pretrained": data.pretrained,
            "classifier_dims": ["auto", HIDDEN, "auto"],
            **({"input_size": data.size} if data.size else {}),
        },
        "data": {"path": data.path, "workers": 1},
        "training": {"epochs": EPOCHS, "learning_rate": 1e-3, "seeds": seeds},
        "cache": {"dir": str(cache)},
        "profile": {"iterations": 2, "warmup": 0},
    }
    space = dict(SPACES[options])
    if sampler == "grid":
        points = GRIDS[options]
        space = {k: {**d, "points": points[k]} if k in points else d for k, d in space.items()}
        space = {k: d for k, d in space.items() if isinstance(d, list) or "points" in d}
    sweep = SweepOptions.model_validate({"name": "b", "base": base, "space": space, "sampler": sampler})
    made = make_space(sweep, base)
    parsed = parse_options(made.base, "b")
    cached = extract_all(parsed, session)
    features = load_features(cached, torch.device("cpu"), folds=None, limit_bytes=8e9)
    return Problem(data, options, _reduced(features, data), made, parsed)


def _reduced(whole: Features, data: DataSet) -> Features:
    """Principal components of the training images that are kept, some of whose labels are wrong."""
    rng = np.random.default_rng(0)
    train, val = whole.folds[0].train, whole.folds[0].val
    kept = np.sort(rng.permutation(train)[: data.images])
    x = np.concatenate([block.x.cpu().numpy()[block.first] for block in whole.blocks(0)])
    components = min(COMPONENTS, len(kept))
    pca = PCA(components, random_state=0).fit(x[kept])
    images = np.concatenate([kept, val])
    reduced = pca.transform(x[images]) / np.sqrt(pca.explained_variance_[0])
    reduced = np.pad(reduced, ((0, 0), (0, COMPONENTS - components))).astype(np.float32)
    labels = whole.labels[images].copy()
    wrong = rng.permutation(len(kept))[: round(data.wrong * len(kept))]
    labels[wrong] = (labels[wrong] + rng.integers(1, whole.classes, len(wrong))) % whole.classes
    every, one = np.arange(len(images)), np.ones(len(images), np.int64)
    fold = Fold(every[: len(kept)], every[len(kept) :])
    return Features(ArrayRows(reduced, every, one), labels, one, (fold,), whole.classes, torch.device("cpu"))
