"""What a source of backbones must answer: a name in, the weights published for it and the network itself out.

featcache has two libraries and the user's own functions. An installed package adds a library with an entry point in
the group `featcache.sources`: an instance with these methods, or a class that is called without arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import nn

from featcache.records import Preprocessing


@dataclass(frozen=True)
class Published:
    """Weights that a library publishes for a network."""

    label: str  # IMAGENET1K_V1, a1_in1k
    url: str  # a file (`-1a2b3c4d` before its ending: the beginning of its sha256), or huggingface.co/<repository>
    repository: str | None = None  # on the Hugging Face hub
    files: tuple[str, ...] = ()  # the names it may have there, best first
    revision: str | None = None  # of the repository; null: its main branch
    path: str | None = None  # of a file that is on this machine anyway


@runtime_checkable
class Source(Protocol):
    """Where networks are looked up by name."""

    name: str

    def names(self) -> list[str]:
        """Every name it knows, sorted."""

    def has(self, name: str) -> bool:
        """Whether `name` is one of them."""

    def published(self, name: str) -> list[Published]:
        """The weights published for it, the default first."""

    def build(
        self, name: str, published: Published | None, weights_file: Path | None, input_size: int | None
    ) -> tuple[nn.Module, Preprocessing]:
        """The classification network, with the published weights from `weights_file` or freshly initialised."""
