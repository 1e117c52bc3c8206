"""Training end to end sees images of more than 8 bits as stage one does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_images import png16
from PIL import Image

from featcache import load_run
from featcache.options.loading import parse_options
from featcache.records import Depth
from heads.finetune import fine_tune

Config = Callable[..., dict[str, Any]]


# What comes before the trained blocks: in the store, and in memory.
@pytest.mark.parametrize("kept", [pytest.param(1e-9, marks=pytest.mark.slow), 0.001])
def test_12_bit_images_train_as_their_8_bit_counterparts_do(
    config: Config, digits: Path, tmp_path: Path, kept: float
) -> None:
    def tune(name: str) -> Any:
        schedule = [{"epoch": 1, "unfreeze": "last_block"}]
        sections: dict[str, Any] = {
            "model": {"backbone": "networks:four_stages", "dropout": 0.0},
            # All in one batch: other files come in another order.
            "data": {"batch_size": 1000},
            "training": {"epochs": 4, "unfreeze_schedule": schedule, "optimizer": "sgd", "learning_rate": 0.05},
            "cache": {"dir": str(tmp_path / f"cache-{name}"), "max_features_gb": kept},
        }
        options = parse_options(config(name, **sections))
        run = fine_tune(options, results_dir=tmp_path / "results", allow_custom=True)
        return load_run(run.folder, allow_custom=True), sorted((digits / "test").rglob("*.png"))

    ordinary, files = tune("ordinary")
    expected = ordinary.predict(files)
    for file in digits.rglob("*.png"):
        values = np.asarray(Image.open(file)).astype(int)
        file.write_bytes(png16((values * 4095 + 254) // 255))  # floor(that * 255 / 4095) is the value again
    deep, files = tune("deep")
    assert deep.transform.preprocessing.depth == Depth("12")
    assert torch.allclose(deep.predict(files), expected, atol=1e-5, rtol=0)
    assert expected.std(dim=0).min() > 1e-3
