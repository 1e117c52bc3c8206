"""How many workers machines have room for, and with what."""

from __future__ import annotations

import pytest

from featcache.cluster import Node, Share, parse_address, place_workers, share_machine
from featcache.errors import InputError

CPU = [Node("a", 16, 0), Node("b", 16, 0)]
GPU = [Node("head", 8, 0), Node("g1", 32, 4), Node("g2", 32, 4)]


@pytest.mark.parametrize(
    ("nodes", "gpus", "cpus", "share"),
    [
        (CPU, None, None, Share(2, 16, 0)),  # one for each machine
        (CPU, None, 4, Share(8, 4, 0)),
        (CPU, None, 5, Share(6, 5, 0)),  # what is left over of a machine is left
        (GPU, None, None, Share(8, 8, 1)),  # one for each GPU; the head's cores are not counted
        (GPU, 0.25, None, Share(32, 2, 0.25)),
        (GPU, 1 / 3, None, Share(24, 2, 1 / 3)),
        (GPU, 2, None, Share(4, 16, 2)),
        (GPU, 0.4, 1, Share(16, 1, 0.4)),  # two on each GPU, whose rest is left
        (GPU, 1, 16, Share(4, 16, 1)),  # the cores are what is short
        (GPU, 0, None, Share(3, 8, 0)),  # the smallest machine says how many cores
        ([Node("a", 4, 1), Node("b", 32, 8)], None, None, Share(9, 4, 1)),
    ],
)
def test_workers_that_fit(nodes: list[Node], gpus: float | None, cpus: int | None, share: Share) -> None:
    assert place_workers(nodes, gpus, cpus) == share


@pytest.mark.parametrize(
    ("nodes", "gpus", "cpus", "said"),
    [
        (CPU, 1, None, "no worker fits: each takes 1 GPUs and 1 cores, and there are: a 16 cores, 0 GPUs"),
        (CPU, None, 17, "no worker fits: each takes 17 cores"),
        ([], None, None, "there are: no machine"),
        (GPU, 1.5, None, "--worker-gpus 1.5: expected a part of one GPU"),
    ],
)
def test_what_does_not_fit_is_said(nodes: list[Node], gpus: float | None, cpus: int | None, said: str) -> None:
    with pytest.raises(InputError) as refused:
        place_workers(nodes, gpus, cpus)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "workers"),
    [("auto", None), ("local:2", 2), ("local:64", 64), ("head:6379", None)],
)
def test_addresses(text: str, workers: int | None) -> None:
    assert parse_address(text).workers == workers


@pytest.mark.parametrize("text", ["", "local", "local:0", "local:x", "local:-1", "head", "http://head:1", "a b:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected auto"):
        parse_address(text)


@pytest.mark.parametrize(
    ("workers", "have", "gpus", "cpus", "share"),
    [
        (2, 0, None, None, Share(2, 8, 0)),
        (32, 0, None, None, Share(32, 1, 0)),  # more workers than cores: they share them
        (2, 0, None, 3, Share(2, 3, 0)),
        (2, 4, None, None, Share(2, 8, 1)),
        (3, 2, None, None, Share(3, 5, 0.5)),  # two thirds of a GPU would have room for two workers
        (3, 1, None, None, Share(3, 5, 1 / 3)),
        (2, 4, 2, None, Share(2, 8, 2)),
        (2, 4, 0, None, Share(2, 8, 0)),
    ],
)
def test_one_machine_in_even_parts(workers: int, have: int, gpus: float | None, cpus: int | None, share: Share) -> None:
    assert share_machine(workers, have, 16, gpus, cpus) == share


@pytest.mark.parametrize(("workers", "have", "gpus"), [(2, 0, 1), (3, 2, 0.6), (3, 4, 2), (2, 4, 1.5)])
def test_workers_that_no_gpus_are_there_for_are_refused(workers: int, have: int, gpus: float) -> None:
    with pytest.raises(InputError, match="--worker-gpus"):
        share_machine(workers, have, 16, gpus)
