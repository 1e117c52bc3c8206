"""What `--cluster` finds, and what is said where it finds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ray")

from featcache.cluster import connected_workers
from featcache.errors import InputError
from featcache.session import Session


@pytest.mark.parametrize(
    ("address", "gpus", "said"),
    [
        ("nowhere", None, "--cluster nowhere: expected auto"),
        ("ray://head:10001", None, "--cluster ray://head:10001: a client from outside of the cluster is not supported"),
        ("local:2", 100.0, "--cluster local:2 --worker-gpus 100: takes 200 GPUs, and PyTorch sees"),
        ("127.0.0.1:99999", None, "--cluster 127.0.0.1:99999: no Ray can be reached there"),
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


def test_no_ray_was_begun_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`auto` is not content with the Ray of another command, nor with one that is gone."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(InputError, match="`ray start` has begun none here, and RAY_ADDRESS"):
        connected_workers("auto").__enter__()
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    with pytest.raises(InputError, match=r"no Ray can be reached there \(127\.0\.0\.1:9: .*refused"):
        connected_workers("auto").__enter__()
