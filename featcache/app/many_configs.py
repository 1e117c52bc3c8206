"""Many configs in one command, one after the other: the failure of one is kept, the others go on."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from featcache.errors import FeatcacheError, InputError, OptionsError, WorkError
from featcache.options import Options, config_files, load_options
from featcache.records import SILENT, Progress

log = logging.getLogger("featcache")

T = TypeVar("T")
P = TypeVar("P")


@dataclass(frozen=True)
class Failure:
    """A config that could not be done, and why."""

    name: str
    error: FeatcacheError


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came of each config."""

    done: tuple[T, ...]
    failures: tuple[Failure, ...]

    def failed(self) -> list[dict[str, str]]:
        """The failures as JSON has them."""
        return [{"name": one.name, "error": str(one.error)} for one in self.failures]

    def raise_if_failed(self) -> None:
        """Raise the failure of a lone config as it is, and of several one WorkError that lists those that failed.

        When every one of several failed by its input, that is what is raised: nothing was done.
        """
        if not self.failures:
            return
        errors = [f.error for f in self.failures]
        if len(self.failures) == 1 and not self.done:
            raise errors[0]
        listed = "\n".join(f"  {f.name}: {f.error}" for f in self.failures)
        total = len(self.failures) + len(self.done)
        others = "; the others are done" if self.done else ""
        kind = InputError if not self.done and all(isinstance(e, InputError) for e in errors) else WorkError
        raise kind(f"{len(self.failures)} of {total} configs failed{others}.\n{listed}") from errors[0]


def load_all(paths: Sequence[str], overrides: Sequence[str]) -> list[Options]:
    """Every options file meant by `paths`, all checked before any work; raises OptionsError with every fault."""
    loaded, faults = [], []
    for file in config_files(paths):
        try:
            loaded.append(load_options(file, overrides))
        except OptionsError as error:
            faults.append(str(error))
    if faults:
        raise OptionsError("\n".join(faults))
    return loaded


def _release(error: BaseException | None) -> None:
    """Forget the local variables of the frames that an error came through: they hold the network that did not fit a
    GPU's memory, and the next one needs it."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def run_each(options: Sequence[Options], work: Callable[[Options], T], progress: Progress = SILENT) -> Outcome[T]:
    """Do `work` for each; an error of one is kept and the others go on."""
    return run_each_of(options, work, lambda one: one.experiment_name, progress)


def run_each_of(
    pieces: Sequence[P], work: Callable[[P], T], name_of: Callable[[P], str], progress: Progress = SILENT
) -> Outcome[T]:
    """`run_each` for pieces of work that options are only a part of."""
    done: list[T] = []
    failures: list[Failure] = []
    progress.whole(len(pieces))
    for number, one in enumerate(pieces):
        if number:
            progress.piece_done()
        name = name_of(one)
        try:
            done.append(work(one))
        except FeatcacheError as error:
            failures.append(Failure(name, error))
            _release(error)
        except Exception as error:  # torch, the system and users' backbones raise what they like
            wrapped = WorkError(f"{type(error).__name__}: {error}")
            wrapped.__cause__ = error
            failures.append(Failure(name, wrapped))
            _release(error)
        else:
            continue
        if len(pieces) > 1:  # a lone failure is said once, at the end
            log.error("%s failed: %s", name, failures[-1].error)
    progress.piece_done()
    return Outcome(tuple(done), tuple(failures))
