"""`featcache finetune` in processes of their own, for tests that kill it, interrupt it, or run several at once.

    python finetune_process.py

Reads a JSON line for each request: {"arguments": [..], "output": FILE, "die": POINT or null} begins a process and
prints its id; {"wait": ID} prints how it ended, below 0 by a signal. Processes are forked here, before anything is
computed, since a fresh interpreter takes seconds to import torch.

A process that is to die kills itself (SIGKILL) at a point of its work: "save_best:3" after it has written the third
best epoch, "save:3" after the third commit, "saving:3" halfway through writing the third, "train:3" when it begins to
train its third epoch, "write_run:1" after the run's folder is there. "stop:3" is Ctrl-C in the third epoch.
"""

from __future__ import annotations

import functools
import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # resume_networks, which the options name a backbone of

import torch
from forked_processes import serve

import featcache.app.main
import featcache.app.many_configs
import featcache.app.tables
import heads.finetune.checkpoints
import heads.finetune.end_to_end
import heads.finetune.seed_trainer

WHOLE_SAVE = torch.save


def main() -> None:
    serve(_run, lambda request: (request["output"], request["output"]))


def _run(request: dict[str, Any]) -> int:
    """In the forked process."""
    torch.set_num_threads(1)
    if request["die"]:
        _die_at(*request["die"].split(":"))
    sys.argv = ["featcache", *request["arguments"]]
    featcache.app.main.main()
    return 0


def _die_at(point: str, number: str) -> None:
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    checkpoints, trainer = heads.finetune.checkpoints.Checkpoints, heads.finetune.seed_trainer.Trainer
    match point:
        case "save" | "save_best":
            _at(checkpoints, point, int(number), after=kill)
        case "saving":
            _at(checkpoints, "save", int(number), before=lambda: setattr(torch, "save", _half))
        case "train":
            _at(trainer, "_train", int(number), before=kill)
        case "stop":
            _at(trainer, "_train", int(number), before=lambda: os.kill(os.getpid(), signal.SIGINT))
        case "write_run":
            _at(heads.finetune.end_to_end, "write_run", int(number), after=kill)
        case _:
            raise ValueError(point)


def _at(place: Any, name: str, number: int, *, before: Any = None, after: Any = None) -> None:
    """Have `before` or `after` called with the call `number` of a function, counted from 1."""
    function: Callable[..., Any] = getattr(place, name)
    calls = 0

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number and before is not None:
            before()
        result = function(*args, **kwargs)
        if calls == number and after is not None:
            after()
        return result

    setattr(place, name, counted)


def _half(value: Any, file: Path) -> None:
    """`torch.save` that is killed halfway."""
    stream = io.BytesIO()
    WHOLE_SAVE(value, stream)
    Path(file).write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
