"""`--cluster`: what it says, and the connection to Ray that it asks for, which lasts as long as the command."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from featcache.cluster.ray_library import import_ray, living_nodes
from featcache.cluster.ray_workers import RayWorkers
from featcache.cluster.worker_placement import Share, place_workers, share_machine
from featcache.counted_nouns import counted
from featcache.errors import InputError, WorkError

log = logging.getLogger("featcache")

STORE_BYTES = 256 << 20  # of memory, for what the workers of this machine send: rows on their way, which are few
AUTO = "auto"
CLIENT = "ray://"
CONNECT_SECONDS = 10.0
NEW = "local"  # Ray's word for one of its own, whatever RAY_ADDRESS says
LONG_PATH = 30  # characters: those of a socket below it are 107 at most


@dataclass(frozen=True)
class Address:
    """What `--cluster` says: workers on this machine, or where Ray is."""

    workers: int | None  # of a Ray of the command's own; None: one that is running
    where: str  # auto or host:6379


def parse_address(text: str) -> Address:
    """`auto`, `local:N` or `host:6379`; raises InputError for anything else."""
    if found := re.fullmatch(r"local:([1-9]\d{0,3})", text):
        return Address(int(found[1]), text)
    if text.startswith(CLIENT):  # Ray Train has no such way, and a connection that breaks ends all
        raise InputError(
            f"--cluster {text}: a client from outside of the cluster is not supported. Run the command on a machine of "
            "the cluster with --cluster auto, or send it there: ray job submit -- featcache .. --cluster auto"
        )
    if text == AUTO or (re.fullmatch(r"[^\s/:]+:\d+", text) and not text.startswith("local:")):
        return Address(None, text)
    raise InputError(
        f"--cluster {text}: expected auto (the Ray that runs on this machine), the address of a cluster such as "
        "head:6379, or local:N for N workers on this machine alone."
    )


@contextmanager
def connected_workers(text: str, gpus: float | None = None, cpus: int | None = None) -> Iterator[RayWorkers]:
    """Workers of the cluster that `--cluster` names, which are ended with the block; a Ray that was begun for them
    ends too. Raises InputError where there is no such cluster or it has no room for any."""
    address = parse_address(text)
    ray = import_ray()
    if ray.is_initialized():
        raise InputError("--cluster: this process is connected to a Ray already. Call ray.shutdown() first.")
    with ExitStack() as stack:
        stack.callback(ray.shutdown)
        if address.workers is None:
            share = _connect(ray, text, gpus, cpus, _code_that_travels(local=False))
        else:
            share = _begin_local(ray, address.workers, gpus, cpus, stack.enter_context(_folder()))
            stack.callback(ray.shutdown)  # before its folder goes
        workers = RayWorkers(share)
        stack.callback(workers.close)
        each = f"{counted(share.cpus, 'core')} and {share.gpus:g} GPUs" if share.gpus else counted(share.cpus, "core")
        log.info("--cluster %s: %s, each of %s", text, counted(share.workers, "worker"), each)
        yield workers


@contextmanager
def _folder() -> Iterator[str]:
    """Where a Ray of this command's own keeps its sockets, whose paths may not be long, and its logs."""
    temporary = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir=temporary if len(temporary) < LONG_PATH else "/tmp", ignore_cleanup_errors=True
    ) as folder:
        yield folder


def _begin_local(ray: Any, workers: int, gpus: float | None, cpus: int | None, folder: str) -> Share:
    """A Ray of this command's own. Its cores are counted so that all workers fit; they share the real ones."""
    share = share_machine(workers, torch.cuda.device_count(), torch.get_num_threads(), gpus, cpus)
    _init(
        ray,
        address=NEW,
        num_cpus=share.cpus * workers,
        num_gpus=torch.cuda.device_count(),
        object_store_memory=STORE_BYTES,
        runtime_env=_code_that_travels(local=True),
        include_dashboard=False,
        _temp_dir=folder,
    )
    return share


def _connect(ray: Any, where: str, gpus: float | None, cpus: int | None, code: dict[str, Any]) -> Share:
    address = _started_here() if where == AUTO else where
    _require_listening(where, address)
    _init(ray, address=address, runtime_env=code)
    return place_workers(living_nodes(ray), gpus, cpus)


def _started_here() -> str:
    """The address of the Ray that `ray start` began on this machine. Ray's own `auto` would do with any that it finds,
    such as that of another command, which ends with it."""
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
    try:
        return os.environ.get("RAY_ADDRESS") or (folder / "ray" / "ray_current_cluster").read_text().strip()
    except OSError:
        raise _unreached(AUTO, "`ray start` has begun none here, and RAY_ADDRESS is not set") from None


def _require_listening(where: str, address: str) -> None:
    """Raise InputError where nothing listens: Ray would look for it for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:  # no number, or beyond 65535
        raise _unreached(where, f"{address}: {error}" if where == AUTO else str(error)) from None


def _unreached(where: str, reason: str) -> InputError:
    return InputError(
        f"--cluster {where}: no Ray can be reached there ({reason}). Is it running (`ray status`), with this version "
        "of Ray and of Python? `ray start --head` begins one; local:N needs none."
    )


def _init(ray: Any, **how: Any) -> None:
    """`ray.init`, in silence; raises InputError where it finds no Ray, WorkError where one does not begin."""
    logging.getLogger("ray").setLevel(logging.ERROR)  # of what it tells before it sets that itself
    try:
        ray.init(log_to_driver=False, configure_logging=True, logging_level=logging.ERROR, **how)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError, OSError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if how["address"] != NEW:
            raise _unreached(how["address"], line) from None
        raise WorkError(f"--cluster: Ray does not begin on this machine: {line}") from None


def _code_that_travels(local: bool) -> dict[str, Any]:
    """Ray's environment of the workers: this process's folders of modules, and on other machines this very code."""
    folders = dict.fromkeys(Path(entry).resolve() for entry in sys.path if Path(entry or ".").is_dir())
    python = [Path(prefix).resolve() for prefix in {sys.prefix, sys.base_prefix}]
    own = [str(folder) for folder in folders if not any(folder.is_relative_to(one) for one in python)]
    code = [] if local else [str(Path(__file__).parents[2] / name) for name in ("featcache", "heads")]
    return {"env_vars": {"PYTHONPATH": os.pathsep.join(own)}, **({"py_modules": code} if code else {})}
