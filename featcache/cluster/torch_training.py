"""One piece of work by all workers of a cluster as one: Ray Train places and connects them (`TorchTrainer`).

What they say comes through a queue, as from any worker. Where one dies, all are ended and the work is begun again with
as many as there is room for: it is to go on from what it has saved.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import Empty
from typing import Any

import torch

from featcache.cluster.ray_library import import_ray, living_nodes
from featcache.cluster.ray_workers import RayWorkers
from featcache.cluster.worker_placement import Share, place_workers
from featcache.counted_nouns import counted
from featcache.errors import FeatcacheError, InputError, WorkError
from featcache.workers import (
    DEATHS,
    Done,
    Failed,
    Job,
    Lost,
    Message,
    Place,
    Said,
    Went,
    begin,
    outcome,
    too_many_deaths,
)

log = logging.getLogger("featcache")

LISTEN = 0.5  # seconds
START_SECONDS = 600  # until all workers are there, where Ray Train would give them one minute
CUT_OFF = ("gloo", "NCCL", "DistBackendError", "DistNetworkError")  # in what those say whose partner is gone
NOTICE_SECONDS = 20.0  # by when Ray has noticed that a machine is gone, which has no room for the next attempt
DAYS = 12 * 3600  # seconds that one worker may wait for another

Tell = Callable[[str, tuple[Any, ...]], None]  # a call of the first worker's progress
AgainJob = Callable[[bool], Job]  # what each does; whether it is to go on from what an earlier attempt saved


def train_together(workers: RayWorkers, job: AgainJob, tell: Tell, folder: Path) -> Any:
    """What `job` comes to in the first worker, done by as many workers as there is room for, whose processes are a
    `torch.distributed` group (gloo, and NCCL where there are GPUs). `folder` is one that all machines see.

    Raises what the first of them to fail raises, and WorkError when workers have died three times.
    """
    workers.close()  # their room is wanted; they come again with the next work
    deaths = 0
    while True:
        room = _room(workers.share)
        if room.workers < workers.count:
            log.info("fine-tuning goes on %s: there is no room for %d", counted(room.workers, "worker"), workers.count)
        found = _Attempt(room, job(deaths > 0), tell, folder).run()
        if isinstance(found, Done):
            return found.value
        deaths += 1
        if deaths == DEATHS:
            raise too_many_deaths(found)
        log.warning("%s. All begin again from what was saved last", found.text)
        time.sleep(NOTICE_SECONDS)


def _room(share: Share) -> Share:
    """What is left of the workers where machines are gone; of GPUs each takes a whole one, as NCCL wants it."""
    gpus = max(1.0, share.gpus) if share.gpus else 0.0
    try:
        most = place_workers(living_nodes(import_ray()), gpus, share.cpus).workers
    except InputError as error:
        raise WorkError(f"{error} What was saved is kept; run the same command again.") from None
    return replace(share, workers=min(share.workers, most), gpus=gpus)


class _Attempt:
    """The work done once by a group of workers."""

    def __init__(self, share: Share, job: Job, tell: Tell, folder: Path) -> None:
        self._ray, self._share, self._job, self._tell, self._folder = import_ray(), share, job, tell, folder
        self._failed: Failed | None = None
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> Done | Lost:
        """What came of it; Lost where a worker has died. Raises the error of a worker that failed otherwise."""
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self._ray.get_runtime_context().get_node_id(), soft=False)
        channel: Any = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})  # it outlives any other node
        # In a thread of its own: Ray Train takes Ctrl-C for itself otherwise, and this one has to listen.
        fitting = threading.Thread(target=self._fit, args=(channel,), name="ray-train", daemon=True)
        fitting.start()
        try:
            while fitting.is_alive():
                self._listen(channel, LISTEN)
            while self._listen(channel, 0.0):
                pass
        finally:
            channel.shutdown(force=True)
        if self._error is None:
            return Done(self._result)
        return self._lost(self._error)

    def _fit(self, channel: Any) -> None:
        try:
            self._result = _trainer(self._share, self._job, self._folder, channel).fit().return_value
        except BaseException as error:  # of the other thread to raise
            self._error = error

    def _listen(self, channel: Any, seconds: float) -> bool:
        """Take what is said next; whether anything was."""
        try:
            rank, message = channel.get(block=seconds > 0, timeout=seconds or None)
        except Empty:
            return False
        if isinstance(message, Said):
            message.pass_on(rank)
        elif isinstance(message, Went) and rank == 0:
            self._tell(message.method, message.arguments)
        elif isinstance(message, Failed) and (self._failed is None or _cut_off(self._failed)):
            self._failed = message  # the reason, rather than what follows from it
        return True

    def _lost(self, error: BaseException) -> Lost:
        """That a worker has died; raises what else came between."""
        if self._failed is not None and not _cut_off(self._failed):
            raise self._failed.error
        from ray.train import TrainingFailedError

        if not isinstance(error, TrainingFailedError | self._ray.exceptions.RayError):
            raise error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return Lost(f"a worker of the {self._share.workers} is gone: {lines[-1] if lines else error!r}")


def _cut_off(failed: Failed) -> bool:
    return failed.kind is WorkError and any(word in failed.text for word in CUT_OFF)


def _trainer(share: Share, job: Job, folder: Path, channel: Any) -> Any:
    """Ray Train's, with no checkpoints of its own: what is saved, the work saves."""
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise InputError(
            f"--cluster: fine-tuning needs Ray Train, which cannot be imported ({error}). Install it here and on every "
            "machine of the cluster: pip install 'featcache[cluster]'"
        ) from None
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(START_SECONDS))
    each = {"CPU": share.cpus, **({"GPU": share.gpus} if share.gpus else {})}
    level, cwd = log.getEffectiveLevel(), str(Path.cwd())
    return TorchTrainer(
        _train_loop,
        train_loop_config={"job": job, "channel": channel, "threads": share.cpus, "level": level, "cwd": cwd},
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if share.gpus else "gloo", timeout_s=DAYS),
        scaling_config=ScalingConfig(num_workers=share.workers, use_gpu=share.gpus > 0, resources_per_worker=each),
        run_config=RunConfig(name="run", storage_path=str(folder), failure_config=FailureConfig(max_failures=0)),
    )


def _train_loop(config: dict[str, Any]) -> Any:
    """In each worker: the job, whose failure ends the group."""
    import ray.train.torch

    os.chdir(config["cwd"])
    context, channel = ray.train.get_context(), config["channel"]
    rank = context.get_world_rank()
    device: torch.device = ray.train.torch.get_device()
    place = Place(rank, context.get_world_size(), str(device), config["threads"], config["level"], os.getppid())

    def send(message: Message) -> None:
        channel.put((rank, message))

    found = outcome(begin(place, send, _nothing), (config["job"].function, config["job"].arguments, rank == 0))
    if isinstance(found, Failed):
        send(found)
        raise found.error
    return found.value if rank == 0 else None


def _nothing() -> FeatcacheError:
    """No question is answered: the workers ask each other."""
    raise NotImplementedError
