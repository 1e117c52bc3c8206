"""A sweep's file in, checked options of the search out: around which base, in which ranges, how, for what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from featcache.errors import OptionsError
from featcache.options import OneOf, listed, or_shipped, plain_name, read_json
from heads.search.objectives import OBJECTIVES
from heads.search.samplers import SAMPLERS, find_sampler, sampler_names

SamplerName = Annotated[str, OneOf(sampler_names, tuple(SAMPLERS))]
ObjectiveName = Annotated[str, OneOf(lambda: tuple(OBJECTIVES))]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Range(_Section):
    """Numbers from `low` to `high`, both included; whole numbers where the option takes no others."""

    low: float
    high: float
    log: bool = False
    """Search the logarithm: for what spans powers of ten."""
    step: Annotated[float, Field(gt=0)] | None = None
    """Only low, low + step, ..; not together with `log`."""
    points: Annotated[int, Field(ge=2)] | None = None
    """For a grid: so many values, evenly spaced."""

    @model_validator(mode="after")
    def _consistent(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g} and high is {self.high:g}: expected low < high")
        if self.log and self.low <= 0:
            raise ValueError(f"log is true and low is {self.low:g}: a logarithm needs low > 0")
        if self.step is not None and (self.log or self.points is not None):
            raise ValueError("step does not go together with log or points")
        return self


def _kind(value: Any) -> str | None:
    """Which member of a union a value is meant to be: its faults are that member's alone."""
    kinds: tuple[tuple[type, str], ...] = ((str, "one"), (list, "several"), (dict, "object"), (BaseModel, "object"))
    return next((kind for members, kind in kinds if isinstance(value, members)), None)


def _either(expected: str) -> Discriminator:
    return Discriminator(_kind, custom_error_type="kind", custom_error_message=f"expected {expected}")


TAGS = {"one", "several", "object"}
Base = Annotated[
    Annotated[str, Tag("one")] | Annotated[dict[str, Any], Tag("object")],
    _either("the name of an options file, or the options themselves"),
]
Domain = Annotated[
    Annotated[list[Any], Tag("several")] | Annotated[Range, Tag("object")],
    _either('a list of choices, or a range such as {"low": 1e-5, "high": 1e-2, "log": true}'),
]
Objectives = Annotated[
    Annotated[ObjectiveName, Tag("one")] | Annotated[list[ObjectiveName], Field(min_length=1), Tag("several")],
    _either("an objective, or a list of them"),
]


class SweepOptions(_Section):
    """One sweep."""

    name: str | None = None
    """Of its folder under results/sweeps/; null: that of the file."""
    base: Base
    """The options that trials change: a file (looked for here, then beside the sweep's file), or the options."""
    space: Annotated[dict[str, Domain], Field(min_length=1)]
    """`section.key` of any option -> the list of its choices, or a range."""
    sampler: SamplerName = "tpe"
    """How trials are chosen; spsa and cmaes search ranges, one objective, and draw choices by turns or at random."""
    trials: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many in all; null: 100, or the whole grid."""
    batch: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Trials that are asked for and trained together; null: as many as suit the sampler (8 where it learns from what it
    is told: tpe, cmaes, gp, spsa; else 32)."""
    objective: Objectives = "val_top3"
    """What is best; several give the Pareto front. Accuracies break ties: top-3 by top-1, both by loss."""
    seeds: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Heads of each trial, which its figures are the mean of; null: as the base options say."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of the sampler."""
    pruner: Literal["median", "none"] = "median"
    """Stops trials that stand below the median of the finished ones; only with one objective."""
    storage: str | None = None
    """Any Optuna storage URL; null: study.db, SQLite, in the sweep's folder."""

    @model_validator(mode="after")
    def _consistent(self) -> SweepOptions:
        if self.name is not None:
            plain_name(self.name, "name")
            plain_name(f"{self.name}-best", "name")
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"objective names one twice: {list(self.objectives)}")
        sampler = find_sampler(self.sampler)
        if len(self.objectives) > 1 and not sampler.several_objectives:
            others = listed([name for name, one in SAMPLERS.items() if one.several_objectives])
            raise ValueError(f"sampler {self.sampler} follows one objective: take {others}")
        for key, domain in self.space.items():
            if isinstance(domain, list):
                if not domain:
                    raise ValueError(f"space: {key} has no choices")
                if any(_same(a, b) for i, a in enumerate(domain) for b in domain[:i]):
                    raise ValueError(f"space: {key} names a choice twice")
            elif sampler.grid and domain.points is None and domain.step is None:
                raise ValueError(f"space: {key} is a range, and a grid needs its points: add points or step")
            elif not sampler.grid and domain.points is not None:
                raise ValueError(f"space: {key} has points, which only a grid takes")
        return self

    @property
    def batch_size(self) -> int:
        """Trials that are asked for and trained together."""
        return self.batch or find_sampler(self.sampler).batch

    @property
    def objectives(self) -> tuple[str, ...]:
        """One or several."""
        return tuple(self.objective) if isinstance(self.objective, list) else (self.objective,)


def load_sweep(path: str | Path, trials: int | None = None) -> tuple[SweepOptions, dict[str, Any]]:
    """The sweep in a file, its name filled in and `trials` put in their place, and its base options as a plain dict.

    Raises OptionsError that names what is wrong.
    """
    path = Path(path)
    document = {k: v for k, v in read_json(path).items() if k != "$schema"}
    if trials is not None:
        document["trials"] = trials
    if document.get("name") is None:
        document["name"] = path.stem
    try:
        sweep = SweepOptions.model_validate(document)
    except ValidationError as error:
        raise OptionsError(f"{path}: {'; '.join(_faults(error))}.") from None
    if isinstance(sweep.base, dict):
        return sweep, sweep.base
    places = [or_shipped(Path(sweep.base)), path.parent / sweep.base]
    found = next((p for p in places if p.is_file()), None)
    if found is None:
        looked = " nor ".join(str(p) for p in dict.fromkeys(places))
        raise OptionsError(f"{path}: base: there is no file {looked}. Name an options file such as configs/base.json.")
    return sweep, read_json(found)


def sweep_schema() -> dict[str, Any]:
    """The JSON schema of a sweep, for editors."""
    schema = SweepOptions.model_json_schema()
    schema["properties"]["$schema"] = {"type": "string", "description": "Where editors find this schema."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "featcache sweep"}


def _faults(error: ValidationError) -> Sequence[str]:
    """Every fault in a line, without the names of our classes."""
    faults = []
    for fault in error.errors():
        place = [str(p) for p in fault["loc"] if p not in TAGS]
        key = ".".join(place)
        if fault["type"] == "value_error":
            said = str(fault["ctx"]["error"]).removesuffix(".")
            faults.append(f"{key}: {said}" if key else said)
        elif fault["type"] == "extra_forbidden":
            faults.append(f"unknown key {key!r} (known here: {', '.join(_known(place))})")
        else:
            faults.append(f"{key}: {fault['msg'][0].lower()}{fault['msg'][1:]}")
    return list(dict.fromkeys(faults))


def _same(one: Any, other: Any) -> bool:
    """Whether two choices are one; true is not 1, but 1.0 is."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _known(place: Sequence[str]) -> list[str]:
    return list(Range.model_fields if place[0] == "space" else SweepOptions.model_fields)
