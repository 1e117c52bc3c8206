"""What a group of workers is to those who have work for it: handed jobs, listened to, ended.

There are two kinds: processes of this machine (`featcache/workers/process_workers.py`), and those of a cluster
(`featcache/cluster/ray_workers.py`), which may come late, die, and come again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from featcache.errors import FeatcacheError, WorkError
from featcache.workers.messages import Asked, Done, Failed, Found, Lost, Went
from featcache.workers.worker_process import Function

DEATHS = 3  # of workers at the same work, which then is to blame


@dataclass(frozen=True)
class Job:
    """A piece of work: a function of a module, called with the Worker and these arguments, which can be pickled."""

    function: Function
    arguments: tuple[Any, ...]


Tell = Callable[[int, str, tuple[Any, ...]], None]  # of a job, by its number: a call of its progress
Answer = Callable[[Any], Any]  # a question of any job
Report = Found | Asked | Done | Failed | Went | Lost


class Workers(ABC):
    """A group of workers, each of which does one job at a time; whoever makes it closes it."""

    elastic = False  # whether one that dies is replaced and said to be `Lost`, where others end all

    @property
    @abstractmethod
    def count(self) -> int:
        """How many there are, or are to be."""

    @abstractmethod
    def name(self, rank: int) -> str:
        """What a worker is called."""

    @abstractmethod
    def free(self) -> list[int]:
        """Those that are there and have nothing to do, in order; starts them where none has been started yet."""

    @abstractmethod
    def give(self, rank: int, job: Job, tells: bool = False) -> None:
        """Hand a worker that has nothing to do its work; it `tells` its progress if asked to."""

    @abstractmethod
    def answer(self, rank: int, value: Any) -> None:
        """Answer a worker's question."""

    @abstractmethod
    def next(self, ranks: Collection[int], seconds: float | None = None) -> tuple[int, Report] | None:
        """What one of these workers says next; notices are passed on, the lesser ones of the first worker alone.

        Elastic ones give None where another has come meanwhile, or none has said anything for so many seconds. Raises
        WorkError, and ends all, when any worker of the others has died, or when there is none any more.
        """

    @abstractmethod
    def close(self) -> None:
        """End all; nothing is left behind, whatever they do."""

    def abandon(self, rank: int) -> None:
        """What an elastic worker is at is no longer wanted: it has something to do until that is over, unheard."""
        raise NotImplementedError

    def failure(self) -> FeatcacheError | None:
        """Of a job that failed: what it really came of, where that is the death of another worker."""
        return None

    def run(
        self, jobs: Sequence[Job], *, together: bool = False, tell: Tell | None = None, answer: Answer | None = None
    ) -> list[Done | Failed]:
        """What each job came to, in their order; a worker that is free takes the next.

        With `together` each worker takes one and they work as one: the failure of any ends all, and is raised. `tell`
        hears of their progress, `answer` answers their questions. Raises WorkError when a worker has died, of elastic
        ones when three have at the same job.
        """
        outcomes: list[Done | Failed | None] = [None] * len(jobs)
        ahead, deaths = deque(range(len(jobs))), Counter[int]()
        at_work: dict[int, int] = {}
        with self.closing_on_error():
            while ahead or at_work:
                for rank in self.free()[: len(ahead)]:
                    at_work[rank] = ahead.popleft()
                    self.give(rank, jobs[at_work[rank]], tell is not None)
                heard = self.next(at_work)
                if heard is None:
                    continue
                rank, message = heard
                if isinstance(message, Went):
                    assert tell is not None
                    tell(at_work[rank], message.method, message.arguments)
                elif isinstance(message, Asked):
                    assert answer is not None
                    self.answer(rank, answer(message.value))
                elif isinstance(message, Failed) and together:
                    raise self.failure() or message.error
                elif isinstance(message, Done | Failed):
                    outcomes[at_work.pop(rank)] = message
                elif isinstance(message, Lost):
                    number = at_work.pop(rank)
                    deaths[number] += 1
                    if together or deaths[number] == DEATHS:
                        raise too_many_deaths(message)
                    ahead.appendleft(number)
        return [one for one in outcomes if one is not None]

    @contextmanager
    def closing_on_error(self) -> Iterator[None]:
        """Ends all where the block is left by an error: they may be in the middle of anything."""
        try:
            yield
        except BaseException:
            self.close()
            raise


def too_many_deaths(last: Lost) -> WorkError:
    """What is said where work has killed several workers, or one that the others cannot do without."""
    return WorkError(
        f"{last.text}. It was not the first at this work, or the others cannot go on without it: so all were ended. Do "
        "they have too little memory? What is committed is kept; run the same command again to go on from there."
    )
