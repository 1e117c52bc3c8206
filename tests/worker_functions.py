"""What worker processes do in tests."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import torch
from resume_networks import SIDE, Stages
from torch import nn

from featcache.errors import OptionsError
from featcache.extraction import Inference
from featcache.records import Preprocessing
from featcache.workers import Worker


def square(worker: Worker, number: int) -> int:
    if number == 0:
        raise ZeroDivisionError("nothing to square")
    return number * number


def refuse(worker: Worker) -> None:
    raise OptionsError("that is no option")


def own_id(worker: Worker) -> int:
    time.sleep(0.5)  # so that each of two does one
    return os.getpid()


def die(worker: Worker, how: signal.Signals) -> None:
    os.kill(os.getpid(), how)


def leave(worker: Worker, code: int) -> None:
    os._exit(code)


def wait(worker: Worker, seconds: float) -> None:
    time.sleep(seconds)


def fail_first(worker: Worker, port: int) -> None:
    """The first of connected processes has a reason to fail; the others wait for it."""
    import torch.distributed as dist

    from heads.finetune.distributed import connected

    with connected(torch.device("cpu"), worker.place.rank, worker.place.count, port):
        dist.barrier()
        if worker.place.rank == 0:
            raise OptionsError("of the first alone")
        dist.barrier()


def be_mortal(worker: Worker, mark: Path) -> int:
    """The network `mortal` kills the first worker that was told so."""
    os.environ["FEATCACHE_TEST_MARK"] = str(mark)
    return own_id(worker)


def sleep_later(worker: Worker, seconds: float) -> None:
    """The network `mortal` sleeps here once."""
    os.environ["FEATCACHE_TEST_SLEEP"] = str(seconds)


class Mortal(Stages):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(float(os.environ.pop("FEATCACHE_TEST_SLEEP", "0")))
        mark = os.environ.get("FEATCACHE_TEST_MARK")
        if mark is not None and x.any():
            try:
                with Path(mark).open("x") as file:
                    file.write(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        return super().forward(x)


def mortal() -> tuple[nn.Module, Preprocessing]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        network = Mortal(batch_norm=True)
    return network, Preprocessing(input_size=SIDE, resize_size=36)


def hungry_worker() -> tuple[nn.Module, Preprocessing]:
    """A network that fits the memory of the first process, and of no worker."""
    if multiprocessing.parent_process() is not None:
        Inference.one_pass = _no_memory  # type: ignore[method-assign]
    from conftest import tiny_backbone  # which imports more than workers need

    return tiny_backbone()


def _no_memory(infer: Inference, images: torch.Tensor) -> torch.Tensor:
    raise torch.OutOfMemoryError("there is none left")
