"""A search's file in, its checked options out: which recipes are tried, how many, for how long."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from featcache.errors import OptionsError
from featcache.options import read_json, shipped_config
from heads.search import Range

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(value: Any) -> Any:
    """Seconds of `2h`, `90m`, `30s` or a number; raises ValueError for what is none."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", value)
    if found is None:
        raise ValueError(f"got {value!r}, expected a time such as 2h, 90m or 30s")
    return float(found[1]) * UNITS[found[2]]


class RecipeSearch(BaseModel):
    """One search."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    space: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)] | Range], Field(min_length=1)]
    """Options by `section.key` -> choices or a range; beside them `unfreeze` (what trains; null: the schedule as it is
    given), `unfreeze_at` (from which part of the epochs on), `unfreeze_lr_scale`, and `head` (fresh, or warm: that of
    the Phase 1 run)."""
    trials: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Recipes that are tried; the first is the one that was given."""
    budget: Annotated[Annotated[float, Field(gt=0)] | None, BeforeValidator(seconds_of)] = None
    """Seconds, or 2h, 90m: no trial goes on beyond so much time of trials in all; the training with fresh seeds comes
    after it; null: no limit."""
    pruner: Literal["asha", "hyperband", "none"] = "asha"
    """Which trials stop early: those not in the best third of those with the same kind of head, after a ninth and a
    third of the epochs (asha, Li et al. 2020); in some brackets later (hyperband, Li et al. 2018)."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of the sampler (TPE)."""
    confirm_seeds: Annotated[int, Field(ge=1, le=100)] = 3
    """Fresh seeds that the best recipe is trained with."""


def load_recipe_search(
    path: str | Path | None = None, *, trials: int | None = None, budget: str | None = None
) -> RecipeSearch:
    """The search in a file (default: configs/searches/phase2.json), with `trials` and `budget` put in their place.

    Raises OptionsError that names what is wrong.
    """
    file = Path(path) if path is not None else shipped_config("searches/phase2.json")
    document = {k: v for k, v in read_json(file).items() if k != "$schema"}
    document |= {k: v for k, v in {"trials": trials, "budget": budget}.items() if v is not None}
    try:
        return RecipeSearch.model_validate(document)
    except ValidationError as error:
        faults = dict.fromkeys(_fault(f, budget is not None) for f in error.errors())
        raise OptionsError(f"{file}: {'; '.join(faults)}.") from None


def _fault(found: ErrorDetails, of_command: bool) -> str:
    """What is wrong, with the file's key or the option of the command."""
    key = ".".join(map(str, found["loc"][:2]))
    if found["type"] == "extra_forbidden":
        return f"unknown key {key!r}, expected {', '.join(RecipeSearch.model_fields)}"
    return f"{'--budget' if key == 'budget' and of_command else key}: {found['msg'].removeprefix('Value error, ')}"
