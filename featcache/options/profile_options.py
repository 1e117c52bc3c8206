"""The section `profile`: how latency is measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from featcache.options.option_types import Count, Precision, Section


class ProfileOptions(Section):
    """How latency is measured."""

    iterations: Annotated[int, Field(ge=1, le=100_000)] = 100
    warmup: Annotated[int, Field(ge=0, le=10_000)] = 10
    batch_sizes: Annotated[list[Count], Field(min_length=1)] = Field(default=[1])
    """Images in the forward pass that is timed; the first is the one that the leaderboard shows."""
    precisions: list[Precision] = Field(default=[])
    """To measure beside training.precision, which the leaderboard shows."""
