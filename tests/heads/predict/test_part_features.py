"""Features of images by the network of a run, whatever device answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from featcache.backbones import load_backbone
from featcache.extraction import Inference
from featcache.options import parse_options
from featcache.session import Session
from heads.predict.part_features import PartFeatures


def test_a_run_in_tf32_answers_in_float32_where_there_is_none_and_says_so(
    config: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    options = parse_options(config(training={"precision": "tf32"}, cache={"dtype": "float32"}))
    backbone = load_backbone(options)
    part = PartFeatures(backbone.info.identity, None, lambda: backbone, options, Session.begin("cpu"))
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = Inference(load_backbone(options, precision="float32"), torch.device("cpu"), 8)(images).numpy()
    assert np.array_equal(part.features(list(images)), expected)
    assert "computes in TensorFloat-32, which cpu has not: here it is float32" in caplog.text
