"""What `--cluster` finds, and what is said where it finds nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from spread_runs import assert_same_store, options_maker, session, write_images

pytest.importorskip("ray")

from featcache.cluster import connected_workers
from featcache.errors import InputError
from featcache.extraction import extract_backbone
from featcache.options import parse_options
from featcache.session import Session


@pytest.mark.parametrize(
    ("address", "gpus", "said"),
    [
        ("nowhere", None, "--cluster nowhere: expected auto"),
        ("local:2", 100.0, "--cluster local:2 --worker-gpus 100: takes 200 GPUs, and PyTorch sees"),
        (None, 0.5, "--worker-gpus and --worker-cpus go with --cluster"),
    ],
)
def test_what_cannot_be_is_said_before_ray_begins(address: str | None, gpus: float | None, said: str) -> None:
    with pytest.raises(InputError) as refused, Session.begin("cpu").on_cluster(address, gpus, None):
        pass
    assert str(refused.value).startswith(said) and refused.value.exit_code == 2


def test_torchrun_has_started_processes_already(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun has started"), Session.begin("cpu").on_cluster("auto", None, None):
        pass


def test_an_address_where_nothing_is() -> None:
    with pytest.raises(InputError, match="no Ray can be reached there"), connected_workers("127.0.0.1:9"):
        pass


@pytest.mark.slow
def test_a_client_of_a_cluster_has_the_store_of_one_process(tmp_path: Path) -> None:
    """By `ray://`, from a process that is on no machine of it."""
    pytest.importorskip("grpc")
    from ray.cluster_utils import Cluster

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = {"num_cpus": 2, "num_gpus": 0, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "ray_client_server_port": port})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        make = options_maker(write_images(tmp_path / "digits"), tmp_path)
        alone, together = (parse_options(make(cache)) for cache in ("alone", "together"))
        with connected_workers(f"ray://127.0.0.1:{port}", cpus=1) as workers:
            assert workers.count == 2
            found = extract_backbone(together, session(workers))
        assert found.new == 176
        assert_same_store(extract_backbone(alone, session(None)).store.path, found.store.path)
    finally:
        torch.set_num_threads(threads)
        cluster.shutdown()
