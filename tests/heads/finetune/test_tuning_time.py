"""What `check` foretells of Phase 2, against a run by a clock that knows what work costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import pytest
from work_clock import WorkClock

import featcache.data.decoded_image as decoded_image
from featcache.extraction import estimate_costs
from featcache.options.loading import parse_options
from featcache.session import Session
from heads.finetune import fine_tune, time_fine_tuning

Config = Callable[..., dict[str, Any]]
SCHEDULE = [{"epoch": 2, "unfreeze": "last_block"}, {"epoch": 4, "unfreeze": "all"}]


@pytest.mark.parametrize(
    "trained",
    [
        {"optimizer": "sgd"},
        pytest.param({"folds": 3}, marks=pytest.mark.slow),
        pytest.param({"folds": 3, "kept_of_folds": "average"}, marks=pytest.mark.slow),
        pytest.param({"mixup": 0.2, "seeds": 2, "gradient_checkpointing": True}, marks=pytest.mark.slow),
    ],
)
def test_fine_tuning_takes_what_was_foretold(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: dict[str, Any]
) -> None:
    clock = WorkClock(monkeypatch)
    clock.images_cost(networks.Stage)
    clock.costs(decoded_image, "read_picture", 2.0)
    training = {"epochs": 6, "unfreeze_schedule": SCHEDULE, **trained}
    model = {"backbone": "networks:four_stages", "pretrained": True}
    folds = {"folds": training.pop("folds")} if "folds" in training else {}
    options = parse_options(config(model=model, training=training, data=folds))
    session = Session.begin("cpu", allow_custom=True)
    (estimate,) = estimate_costs(options, session)
    after = time_fine_tuning(options, estimate, session)
    kept = [stage.kept for stage in after.stages]
    assert kept == ([False] * 3 if "mixup" in trained else [True, True, False])
    begin = time.perf_counter()
    fine_tune(options, results_dir=tmp_path / "results", allow_custom=True)
    assert estimate.seconds + after.total == pytest.approx(time.perf_counter() - begin, rel=0.25)
