"""What a worker process says to the process that started it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from featcache.errors import FeatcacheError, WorkError


@dataclass(frozen=True)
class Said:
    """A notice."""

    record: logging.LogRecord

    def pass_on(self, rank: int) -> None:
        """Show it here, as a worker's: the lesser ones of the first worker alone."""
        if rank == 0 or self.record.levelno >= logging.WARNING:
            logging.getLogger(self.record.name).handle(self.record)


@dataclass(frozen=True)
class Went:
    """A call of its progress."""

    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Found:
    """A part of what its work comes to."""

    value: Any


@dataclass(frozen=True)
class Asked:
    """A question; it waits for the answer."""

    value: Any


@dataclass(frozen=True)
class Done:
    """Its work is over; what it came to."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """Its work failed, and it is ready for other work."""

    kind: type[FeatcacheError]
    text: str

    @classmethod
    def of(cls, error: Exception) -> Failed:
        """What can be sent of any error: torch, the system and users' backbones raise what they like."""
        if isinstance(error, FeatcacheError):
            return cls(type(error), str(error))
        return cls(WorkError, f"{type(error).__name__}: {error}")

    @property
    def error(self) -> FeatcacheError:
        """The error, to be raised here."""
        return self.kind(self.text)


@dataclass(frozen=True)
class Lost:
    """The worker is gone and its work undone; it says so no more, but who listened for it."""

    text: str


Message = Said | Went | Found | Asked | Done | Failed
