"""A sweep and its base options in, what Optuna draws from out; and what was drawn in, the options of a trial out."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from featcache.errors import OptionsError
from featcache.options import Options, known_keys, nearest_key, parse_options, put
from heads.search.samplers import find_sampler
from heads.search.sweep_options import Range, SweepOptions

NOT_SEARCHED = {
    "experiment_name": "every trial has the sweep's",
    "training.seed": "seeds are given by the sweep's `seeds`",
    "training.seeds": "seeds are given by the sweep's `seeds`",
    "training.unfreeze_schedule": "trials train heads on frozen backbones",
    **dict.fromkeys(
        ("data.path", "data.classes", "data.limit", "data.folds", "data.val_fraction", "data.test_fraction"),
        "trials on other validation images do not compare",
    ),
}
MAX_GRID_POINTS = 100_000
_JSON_BEGINS = {"[", "{", '"'}  # of a choice that is kept as JSON


@dataclass(frozen=True)
class Space:
    """Base options and what varies in them."""

    base: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    grid: dict[str, list[Any]]  # the values of every option that a grid is made of, where the sampler lays one down

    def options(self, params: Mapping[str, Any]) -> Options:
        """The options of a trial; raises OptionsError when they contradict each other."""
        document = copy.deepcopy(self.base)
        for key, value in params.items():
            put(document, key, _decoded(value))
        return parse_options(document, "trial")

    def points(self) -> Iterator[dict[str, Any]]:
        """Every point of the grid, the last option varying fastest."""
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))

    def start(self, options: Options) -> dict[str, Any]:
        """Where options lie in what is searched: where a search that climbs may begin."""
        document = options.as_dict()
        return {key: _encoded(_get(document, key)) for key in self.distributions}


def make_space(sweep: SweepOptions, base: Mapping[str, Any]) -> Space:
    """The space of a sweep. Every choice and both ends of every range are tried against the options on their own, so
    that what can never work fails before any work; raises OptionsError that lists all of it."""
    document = {k: copy.deepcopy(v) for k, v in base.items() if k != "$schema"}
    document["experiment_name"] = f"{sweep.name}-best"
    if sweep.seeds is not None:
        put(document, "training.seeds", sweep.seeds)
    if "model.backbone" in sweep.space and isinstance(document.get("model"), dict):
        # The base's own backbone need not be among the choices, nor its features the width of theirs.
        dims = document["model"].get("classifier_dims")
        if isinstance(dims, list) and dims:
            document["model"]["classifier_dims"] = ["auto", *dims[1:]]
        first = sweep.space["model.backbone"]
        if isinstance(first, list):
            document["model"].setdefault("backbone", first[0])
    parse_options(document, f"{sweep.name}: base")
    faults: list[str] = []
    distributions: dict[str, BaseDistribution] = {}
    grid: dict[str, list[Any]] = {}
    for key, domain in sweep.space.items():
        if key in NOT_SEARCHED:
            faults.append(f"space: {key} cannot be searched: {NOT_SEARCHED[key]}")
        elif "." not in key and key in known_keys():
            faults.append(f"space: {key!r} is a whole section: expected section.key, such as training.learning_rate")
        elif key not in known_keys():
            faults.append(f"space: unknown option {key!r}{nearest_key(key)}")
        else:
            wrong = [
                fault for value in domain_ends(domain) if (fault := _fault(document, key, value, sweep)) is not None
            ]
            faults += wrong
            whole = not wrong and whole_only(document, key, domain)
            if whole and isinstance(domain, Range) and domain.step is not None and not domain.step.is_integer():
                faults.append(f"space: {key} takes whole numbers, and its step is {domain.step:g}")
            elif not wrong:
                distributions[key], grid[key] = distribution_of(domain, whole)
    if faults:
        raise OptionsError(f"{sweep.name}: {'; '.join(faults)}.")
    _require_searchable(sweep, distributions, grid)
    return Space(document, distributions, grid)


def _require_searchable(
    sweep: SweepOptions, distributions: Mapping[str, BaseDistribution], grid: Mapping[str, Sequence[Any]]
) -> None:
    """Raise OptionsError where the space is more than the sampler can go through."""
    sampler = find_sampler(sweep.sampler)
    if sampler.grid and (size := math.prod(map(len, grid.values()))) > MAX_GRID_POINTS:
        raise OptionsError(f"{sweep.name}: the grid has {size} points, more than {MAX_GRID_POINTS}. Take fewer values.")
    chosen = math.prod(len(d.choices) for d in distributions.values() if isinstance(d, CategoricalDistribution))
    if sampler.most_combinations is not None and chosen > sampler.most_combinations:
        raise OptionsError(
            f"{sweep.name}: {sweep.sampler} climbs for each combination of choices on its own, and there are {chosen}, "
            f"more than {sampler.most_combinations}. Take fewer choices, or tpe."
        )


def _fault(document: Mapping[str, Any], key: str, value: Any, sweep: SweepOptions) -> str | None:
    """What is wrong with one value of one option: with the others as in the base, and with every other choice of one
    other option, which it may need."""
    others = [
        (k, v) for k, domain in sweep.space.items() if k != key and k in known_keys() for v in domain_ends(domain)
    ]
    first: str | None = None
    for other in [None, *others]:
        changed = copy.deepcopy(dict(document))
        put(changed, key, value)
        if other is not None:
            put(changed, *other)
        try:
            parse_options(changed, f"space: {key}")
        except OptionsError as error:
            first = first or str(error).removesuffix(".")
        else:
            return None
    return first


def domain_ends(domain: Sequence[Any] | Range) -> list[Any]:
    """Choices, or both ends of a range; whole ends as whole numbers, which options of either kind take."""
    if not isinstance(domain, Range):
        return list(domain)
    return [int(end) if float(end).is_integer() else end for end in (domain.low, domain.high)]


def whole_only(document: Mapping[str, Any], key: str, domain: Sequence[Any] | Range) -> bool:
    """Whether an option takes whole numbers alone: it refuses a broken one inside the range."""
    if not isinstance(domain, Range):
        return False
    changed = copy.deepcopy(dict(document))
    put(changed, key, domain.low + (domain.high - domain.low) / math.pi)
    try:
        parse_options(changed)
    except OptionsError as error:
        return f"{key}: " in str(error) and "integer" in str(error)
    return False


def distribution_of(domain: Sequence[Any] | Range, whole: bool) -> tuple[BaseDistribution, list[Any]]:
    """What Optuna draws from, and the values of a grid; a range ends at the last of its steps."""
    if not isinstance(domain, Range):
        choices = [_encoded(value) for value in domain]
        return CategoricalDistribution(choices), choices
    low, high, step = domain.low, domain.high, domain.step
    if whole:
        low, high = math.ceil(low), math.floor(high)
        step = max(1, round(step)) if step is not None else 1
    values: list[Any] = []
    if step is not None and not (domain.points or domain.log):
        values = [_tidy(low + i * step) for i in range(math.floor((high - low) / step + 1e-9) + 1)]
        high = values[-1]
    elif domain.points:
        values = _points(domain)
    if whole:
        values = list(dict.fromkeys(round(v) for v in values))
        return IntDistribution(round(low), round(high), log=domain.log, step=1 if step is None else round(step)), values
    return FloatDistribution(low, high, log=domain.log, step=step), values


def _tidy(value: float) -> float:
    """0.3 for 0.1 + 0.1 + 0.1."""
    return float(f"{value:.12g}")


def _points(domain: Range) -> list[float]:
    count = domain.points or 2
    low, high = (math.log(domain.low), math.log(domain.high)) if domain.log else (domain.low, domain.high)
    inner = [low + (high - low) * i / (count - 1) for i in range(1, count - 1)]
    return [domain.low, *(math.exp(v) if domain.log else v for v in inner), domain.high]


def _encoded(value: Any) -> Any:
    """A choice as Optuna keeps it: a list or an object as its JSON."""
    ambiguous = isinstance(value, str) and value[:1] in _JSON_BEGINS
    return json.dumps(value, sort_keys=True) if ambiguous or isinstance(value, (list, dict)) else value


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value[:1] in _JSON_BEGINS else value


def _get(document: Mapping[str, Any], key: str) -> Any:
    value: Any = document
    for part in key.split("."):
        value = value[part]
    return value
