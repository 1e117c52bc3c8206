"""Parity, before any training: the network's logits equal those of its cached features, or the run stops."""

from __future__ import annotations

import logging

from torch import nn

from featcache.backbones import Backbone
from featcache.counted_nouns import counted
from featcache.errors import WorkError
from heads.finetune.batch_inputs import DecodedInputs
from heads.finetune.evaluation import evaluate_logits
from heads.finetune.forward_path import ForwardPath
from heads.finetune.frozen_trunk import pooled_source
from heads.finetune.run_setup import RunSetup

log = logging.getLogger("featcache")

PARITY_IMAGES = 32
# Of the largest logit; float32 passes differ by how batches are shaped, half precision by how sums are ordered.
PARITY_TOLERANCE = {"float32": 2e-3, "tf32": 2e-2, "bfloat16": 5e-2, "float16": 2e-2}
PARITY_OF_SPREAD = 0.1  # of the largest difference from the images' mean logits
STORED_TOLERANCE = 1e-2  # where features are stored as float16


def require_parity(backbone: Backbone, head: nn.Sequential, setup: RunSetup) -> None:
    """Raise WorkError unless the network gives the logits that a head gives on its cached features (law 1)."""
    dataset, identity = setup.dataset, backbone.info.identity
    images = dataset.train[:: max(1, len(dataset.train) // PARITY_IMAGES)][:PARITY_IMAGES]
    path = ForwardPath(backbone.network, head, identity.preprocessing, identity.precision, setup.training.channels_last)
    backbone.eval()
    found = evaluate_logits(
        path, DecodedInputs(setup.decoder(), dataset.images, setup.device), images, setup.micro_batches
    )
    cached = ForwardPath(None, head, identity.preprocessing, identity.precision, setup.training.channels_last)
    expected = evaluate_logits(
        cached, pooled_source(setup.extraction, dataset, 0, setup.device), images, setup.micro_batches
    )
    difference, largest = float((found - expected).abs().max()), float(expected.abs().max())
    stored = STORED_TOLERANCE if setup.extraction.store.dtype() == "float16" else 0.0
    tolerance = max(PARITY_TOLERANCE[identity.precision], stored) * largest
    if identity.precision == "float32" and not stored:  # images may hardly differ: then their differences count
        tolerance = min(tolerance, PARITY_OF_SPREAD * float((expected - expected.mean(dim=0)).abs().max()))
    if not difference <= tolerance:
        raise WorkError(
            f"{identity.backbone}: the network does not give what is in the cache: on {counted(len(images), 'image')} "
            f"logits differ by up to {difference:.3g}, where the largest is {largest:.3g}; expected at most "
            f"{tolerance:.3g}. "
            f"Run `featcache cache verify`; or remove {setup.extraction.store.where} and extract again, unless the "
            "network draws random numbers in evaluation mode, which no cache can follow."
        )
    log.info("%s: parity: logits of the network and of its cached features differ by %.2g at most (largest %.2g)",
             identity.backbone, difference, largest)  # fmt: skip
