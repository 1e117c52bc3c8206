"""Where a training that was stopped goes on: after its last whole epoch, bit for bit.

Chance needs no place here: order, views, dropout, and torch's own generator follow from (seed, epoch).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from featcache.atomic import make_folder, save_tensors
from featcache.errors import OutputError
from heads.training import EpochOutcomes, EpochRow, TrainedHead

log = logging.getLogger("featcache")


@dataclass
class Finished:
    """One seed's training: its curve, and where its best epoch is kept."""

    head: TrainedHead
    best: str = ""  # the file's name
    of_folds: dict[str, Any] | None = None  # with data.folds: what is kept, and why


@dataclass
class Position:
    """How far a run has come: the seeds that are finished, and what the current one goes on from."""

    finished: list[Finished] = field(default_factory=list)
    current: dict[str, Any] | None = None  # what the trainer gave


class Checkpoints:
    """The checkpoints of one run in a folder of their own. `inputs` decide its result: others begin anew, but where the
    processes are `elastic` for their number, which decides it by rounding alone."""

    def __init__(self, folder: Path, inputs: dict[str, Any], writes: bool, elastic: bool = False) -> None:
        self.folder, self._elastic = folder, elastic
        self._inputs, self._writes = inputs, writes
        self._last = folder / "last.pth"

    @contextmanager
    def held(self, fresh: bool) -> Iterator[Position]:
        """Nobody else works on the run inside the block; gives the position to go on from.

        Raises OutputError where somebody does. The folder is gone when the block ends well.
        """
        if not self._writes:
            yield Position() if fresh else self._read()
            return
        make_folder(self.folder)
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise OutputError(
                f"{self.folder}: another process works on this run. Wait for it, or give this one another "
                "experiment_name."
            ) from None
        try:
            position = Position() if fresh else self._read()
            if not position.finished and position.current is None:
                self._last.unlink(missing_ok=True)  # before the best epochs that it names
            self._clear(position)
            yield position
            shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            if not self._last.is_file():  # nothing to go on from
                shutil.rmtree(self.folder, ignore_errors=True)
            lock.release()

    def discard(self) -> None:
        """Remove what a run left that was killed when it was finished, or begun anew; not what a process works on."""
        if self._writes and self.folder.exists():
            with suppress(OutputError), self.held(fresh=True):
                pass

    def save(self, position: Position) -> None:
        """Commit a position; the best epochs that it names are there already."""
        if not self._writes:
            return
        current = position.current
        value = {
            "inputs": self._inputs,
            "finished": [{"head": _as_dict(f.head), "best": f.best, "of_folds": f.of_folds} for f in position.finished],
            "current": current and {**current, "head": _as_dict(current["head"])},
        }
        save_tensors(self._last, value)
        self._clear(position)

    def save_best(self, name: str, state: dict[str, Tensor], logits: Tensor) -> None:
        """An epoch's weights, and its logits on val."""
        if self._writes:
            save_tensors(self.folder / name, {"state": state, "logits": logits})

    def load_best(self, name: str) -> tuple[dict[str, Tensor], Tensor]:
        """What `save_best` kept."""
        value = torch.load(self.folder / name, map_location="cpu", weights_only=True)
        return value["state"], value["logits"]

    def _read(self) -> Position:
        if not self._last.is_file():
            return Position()
        try:
            value: dict[str, Any] = torch.load(self._last, map_location="cpu", weights_only=True)
            before, now = value["inputs"], {"processes": self._inputs["processes"]} if self._elastic else {}
            if {**before, **now} == self._inputs != before:
                log.warning(
                    "%s: was begun by %s processes and goes on with %s: what it comes to differs by rounding",
                    self._last,
                    *(before["processes"], self._inputs["processes"]),
                )
                value["inputs"] = self._inputs
            if value["inputs"] != self._inputs:
                log.info("%s: is of other options or data; the run begins anew", self._last)
                return Position()
            finished = [Finished(_from_dict(f["head"]), f["best"], f.get("of_folds")) for f in value["finished"]]
            current = value["current"] and {**value["current"], "head": _from_dict(value["current"]["head"])}
            named = [f.best for f in finished] + ([current["best"]] if current else [])
            if gone := [name for name in named if not (self.folder / name).is_file()]:
                raise FileNotFoundError(f"{gone[0]}, which it names, is gone")
        except Exception as error:  # a foreign file fails in pickle, zip, or by its keys
            log.warning("%s: cannot be read (%s); the run begins anew", self._last, error)
            return Position()
        return Position(finished, current)

    def _clear(self, position: Position) -> None:
        """Remove the best epochs that a position does not name, and what a killed process had half written."""
        keep = {f.best for f in position.finished} | ({position.current["best"]} if position.current else set())
        for file in (*self.folder.glob("best-*.pth"), *self.folder.glob(".*.tmp")):
            if file.name not in keep:
                file.unlink(missing_ok=True)


def _as_dict(head: TrainedHead) -> dict[str, Any]:
    return {
        "seed": head.seed,
        "best_epoch": head.best_epoch,
        "diverged": head.diverged,
        "curve": [asdict(row) for row in head.curve],
        "outcomes": head.outcomes and (head.outcomes.images, head.outcomes.state()),
    }


def _from_dict(value: dict[str, Any]) -> TrainedHead:
    return TrainedHead(
        value["seed"],
        best_epoch=value["best_epoch"],
        diverged=value["diverged"],
        curve=[EpochRow(**row) for row in value["curve"]],
        outcomes=value["outcomes"] and EpochOutcomes.restored(*value["outcomes"]),
    )
