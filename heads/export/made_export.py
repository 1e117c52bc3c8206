"""What a format has made of a run: how to run it, in what, and what is to be said of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from heads.export.export_parity import Runner


@dataclass(frozen=True, eq=False)
class MadeExport:
    """An export as it was loaded back from its files."""

    run: Runner
    runtime: str  # name and version of what ran it
    facts: dict[str, Any] = field(default_factory=dict)  # of the format: opset, ..; in parity.json and the card
    notes: tuple[str, ...] = ()  # what its user has to know
    usage: str = ""  # lines of Python that use it, for the card
