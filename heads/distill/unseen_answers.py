"""What heads say of training images that they have not seen: trained anew by their run's recipe, fold by fold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.backbones import build_head
from featcache.devices import products_in
from featcache.errors import NonFiniteError
from featcache.extraction import CachedFeatures, row_places
from featcache.options import Options
from heads.runs import RunModel
from heads.training import load_features, run_heads, train_heads


def unseen_answers(
    model: RunModel, cached: CachedFeatures, options: Options, folds: int, device: torch.device
) -> NDArray[np.float32]:
    """Logits `[R, C]` for all views of the training images of an extraction, in their order: each image by the head of
    the fold that it is not in. Images of a group share a fold; each head's epoch is chosen by its own fold, so that
    neither val nor test has a part in it.

    A head that was trained on an image has it right and is sure, whatever it looks like: that is what the label says
    already, and not what a student is to learn.
    """
    training = options.training.model_copy(update={"seeds": (model.seed,)})
    parts = tuple(replace(p, manifest=replace(p.manifest, images=p.manifest.of("train"))) for p in cached.parts)
    features = load_features(
        CachedFeatures(parts, cached.dims), device, folds=folds, limit_bytes=options.cache.max_features_gb * 1e9
    )
    heads = run_heads(options.model_copy(update={"training": training}), cached.dims, folds)
    trained = train_heads(features, heads, batch_size=options.data.batch_size)
    if not all(one.state for one in trained):
        raise NonFiniteError(
            f"{model.folder}: the loss of a head trained anew by the teacher's recipe became NaN or infinite. Set "
            "training.distillation.out_of_fold to null."
        )
    logits = np.empty((int(features.views.sum()), cached.dims[-1]), np.float32)
    first = np.cumsum(features.views) - features.views
    for one, fold in zip(trained, features.folds, strict=True):
        head = build_head(cached.dims, 0.0, one.normalise).to(device).eval()
        head.load_state_dict(one.state)
        with torch.inference_mode(), products_in("float32", device):
            for block in features.blocks(0):
                here = np.isin(block.images, fold.val)
                images, views = block.images[here], features.views[block.images[here]]
                rows = torch.from_numpy(row_places(block.first[here], views)).to(device)
                logits[row_places(first[images], views)] = head(block.x[rows]).cpu().numpy()
    return logits
