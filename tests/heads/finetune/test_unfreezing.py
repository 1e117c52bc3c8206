"""The schedule in numbers: what trains in an epoch, at which rates, and what cannot be followed."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from featcache.errors import OptionsError
from featcache.options.loading import parse_options
from featcache.options.training_options import TrainingOptions
from heads.finetune.unfreezing import Schedule, make_schedule

BLOCKS = ("stem", "layer1", "layer2", "layer3", "layer4")


def schedule(*steps: tuple[int, object] | tuple[int, object, float], **training: object) -> Schedule:
    written = [{"epoch": s[0], "unfreeze": s[1], **({"lr_scale": s[2]} if len(s) > 2 else {})} for s in steps]
    document = {"epochs": 6, "learning_rate": 0.01, "unfreeze_schedule": written, **training}
    checked = TrainingOptions.model_validate_json(json.dumps(document))
    return make_schedule(checked, BLOCKS, "net")


def first_blocks(found: Schedule) -> list[int]:
    return [found.stage(e).first for e in range(found.training.epochs)]


def test_the_users_schedule_epoch_by_epoch() -> None:
    found = schedule((20, "last_block"), (40, "all", 0.1), epochs=50, learning_rate=1e-4)
    assert first_blocks(found) == [5] * 20 + [4] * 20 + [0] * 10
    assert found.training_now(0) == (["head"], [1e-4])
    assert found.training_now(19) == (["head"], [1e-4])
    assert found.training_now(20) == (["layer4", "head"], [1e-4, 1e-4])
    names, rates = found.training_now(49)
    assert names == [*BLOCKS, "head"]
    assert rates == pytest.approx([1e-5] * 6)


@pytest.mark.parametrize(
    ("unfreeze", "first"),
    [
        ("last_block", 4),
        ("all", 0),
        (0.0, 5),
        (0, 5),
        (0.01, 4),
        (0.2, 4),
        (0.29, 4),
        (0.3, 3),
        (0.5, 2),
        (0.9, 0),
        (1.0, 0),
        (1, 0),
        ("stem", 0),
        ("layer1", 1),
        ("layer4", 4),
    ],
)
def test_every_way_to_say_which_blocks_train(unfreeze: object, first: int) -> None:
    assert first_blocks(schedule((2, unfreeze)))[1:3] == [5, first]


def test_lr_scale_is_of_the_base_rate_and_not_of_the_step_before() -> None:
    found = schedule((1, "last_block", 0.1), (2, "layer3", 0.5), (4, "all"))
    assert [found.rates(e)[-1] for e in range(6)] == pytest.approx([0.01, 0.001, 0.005, 0.005, 0.01, 0.01])


def test_a_step_at_epoch_0_holds_from_the_first_epoch_on() -> None:
    found = schedule((0, "layer3", 0.5))
    assert first_blocks(found) == [3] * 6
    assert found.rates(0) == pytest.approx([0.005] * 6)


def test_each_block_is_slower_than_what_follows_it() -> None:
    found = schedule((0, "last_block"), (3, "all", 0.1), lr_decay_per_block=0.5)
    assert found.training_now(0) == (["layer4", "head"], pytest.approx([0.005, 0.01]))
    assert found.training_now(3)[1] == pytest.approx([0.001 * 0.5**k for k in (5, 4, 3, 2, 1, 0)])


def test_warm_up_and_cosine_count_from_the_start_of_training() -> None:
    found = schedule((2, "last_block"), (4, "all", 0.1), epochs=8, warmup_epochs=3, scheduler="cosine")
    shape = [1 / 4, 2 / 4, 3 / 4, *(0.5 * (1 + math.cos(math.pi * k / 5)) for k in range(5))]
    scaled = [0.01 * s * (0.1 if e >= 4 else 1) for e, s in enumerate(shape)]
    assert [found.rates(e)[-1] for e in range(8)] == pytest.approx(scaled)
    assert min(found.rates(7)) > 0


def test_the_step_scheduler_multiplies_with_lr_scale() -> None:
    found = schedule((4, "all", 0.5), epochs=8, scheduler="step")
    assert [found.rates(e)[0] for e in range(8)] == pytest.approx([0.01] * 4 + [0.0005] * 2 + [0.00005] * 2)


@pytest.mark.parametrize(
    "steps",
    [
        ((0, "all"), (1, "last_block")),
        ((0, "layer2"), (3, "layer3")),
        ((0, 0.5), (3, 0.25)),
        ((0, "last_block"), (1, "all"), (2, 0.0)),
    ],
)
def test_steps_that_freeze_again_are_refused(steps: Any) -> None:
    with pytest.raises(OptionsError, match=rf"out of order: at epoch {steps[-1][0]} .*would freeze '\w+' of net again"):
        schedule(*steps)


def test_a_step_that_unfreezes_no_more_may_change_the_rates() -> None:
    found = schedule((0, "layer3"), (3, "layer3", 0.2))
    assert first_blocks(found) == [3] * 6
    assert [found.rates(e)[-1] for e in (2, 3)] == pytest.approx([0.01, 0.002])


def test_an_unknown_block_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(OptionsError, match=r"net has no block 'layre4'.*mean 'layer4'.*stem, layer1, .*, layer4"):
        schedule((0, "layre4"))
    with pytest.raises(OptionsError, match=r"no block '0\.5'"):
        schedule((0, "0.5"))
    with pytest.raises(OptionsError, match=r"no block 'head'"):
        schedule((0, "head"))


def options(*steps: dict[str, Any], **training: object) -> None:
    parse_options(
        {
            "experiment_name": "x",
            "model": {"backbone": "resnet18"},
            "data": {"path": "x"},
            "training": {"epochs": 6, "unfreeze_schedule": list(steps), **training},
        }
    )


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([{"epoch": 2, "unfreeze": "all"}, {"epoch": 2, "unfreeze": "all"}], r"its epochs are \[2, 2\]"),
        ([{"epoch": 3, "unfreeze": 0.5}, {"epoch": 1, "unfreeze": "all"}], r"its epochs are \[3, 1\]"),
        ([{"epoch": 6, "unfreeze": "all"}], "past the end"),
        ([{"epoch": -1, "unfreeze": "all"}], r"unfreeze_schedule\.0\.epoch.*got -1"),
        ([{"epoch": 0, "unfreeze": 1.5}], r"got 1\.5"),
        ([{"epoch": 0, "unfreeze": True}], "got true"),
        ([{"epoch": 0, "unfreeze": ""}], 'got ""'),
        ([{"epoch": 0, "unfreeze": "all", "lr_scale": 0}], r"lr_scale.*got 0"),
        ([{"epoch": 0, "unfreeze": "all", "lr_scal": 1}], r"lr_scale"),
        ([], r"unfreeze_schedule"),
    ],
)
def test_schedules_that_options_refuse(steps: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        options(*steps)


def test_the_last_epoch_may_have_a_step() -> None:
    assert first_blocks(schedule((5, "all")))[4:] == [5, 0]
