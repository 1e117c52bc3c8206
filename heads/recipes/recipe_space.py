"""A search's space around given options: what Optuna draws from, and the options of what was drawn."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from featcache.errors import OptionsError
from featcache.options import Options, known_keys, nearest_key, parse_options, put
from heads.recipes.search_options import RecipeSearch
from heads.search import Range, distribution_of, domain_ends, whole_only

UNFREEZING = ("unfreeze", "unfreeze_at", "unfreeze_lr_scale")
HEAD = "head"
MISSING = object()
# Of a recipe, and of nothing that makes trials answer other images, or be judged in another way.
SEARCHED = ("data.augmentations", "data.views", "data.batch_size", "model.dropout")
NOT_SEARCHED = (
    *("training.seed", "training.seeds", "training.epochs", "training.selection_metric"),
    *("training.kept_of_folds", "training.distillation"),
)


@dataclass(frozen=True)
class RecipeSpace:
    """The options that a search is around, and what varies in them."""

    base: Options
    distributions: Mapping[str, BaseDistribution]
    warm: bool = False  # whether the given recipe begins with the head of the Phase 1 run

    def recipe(self, params: Mapping[str, Any]) -> tuple[Options, bool]:
        """The options of a trial, and whether it begins with the Phase 1 run's head; raises OptionsError where they
        contradict each other."""
        chosen = {k: _decoded(v) for k, v in params.items()}
        document = copy.deepcopy(self.base.as_dict())
        for key, value in chosen.items():
            if "." in key:
                put(document, key, value)
        if chosen.get("unfreeze") is not None:
            training = document["training"]
            at = min(int(chosen.get("unfreeze_at", 0.0) * training["epochs"]), training["epochs"] - 1)
            step = {"epoch": at, "unfreeze": chosen["unfreeze"], "lr_scale": chosen.get("unfreeze_lr_scale", 1.0)}
            training["unfreeze_schedule"] = [step]
        warm = chosen[HEAD] == "warm" if HEAD in chosen else self.warm
        return parse_options(document, "recipe"), warm

    def key(self, params: Mapping[str, Any]) -> str:
        """The same for the same recipe: where the schedule stays as it is given, when and how fast a step of its own
        would be makes no other."""
        unused = UNFREEZING[1:] if UNFREEZING[0] in params and params[UNFREEZING[0]] is None else ()
        return repr(sorted((k, v) for k, v in params.items() if k not in unused))

    @property
    def size(self) -> int | None:
        """How many recipes there are; None where a range has any number of them."""
        chosen = [d for d in self.distributions.values() if isinstance(d, CategoricalDistribution)]
        if len(chosen) < len(self.distributions):
            return None
        count = {key: len(d.choices) for key, d in zip(self.distributions, chosen, strict=True)}
        alone = math.prod(n for key, n in count.items() if key not in UNFREEZING)
        if UNFREEZING[0] not in count:
            return alone
        return alone * ((count[UNFREEZING[0]] - 1) * math.prod(count.get(key, 1) for key in UNFREEZING[1:]) + 1)

    def points(self) -> Iterator[dict[str, Any]]:
        """Every choice with every other, of a space without ranges."""
        chosen = {k: d.choices for k, d in self.distributions.items() if isinstance(d, CategoricalDistribution)}
        for values in itertools.product(*chosen.values()):
            yield dict(zip(chosen, values, strict=True))

    def given(self) -> dict[str, Any]:
        """Where the given options lie: everywhere but outside a range; that is drawn."""
        found = {key: self.own(key) for key in self.distributions}
        return {k: v for k, v in found.items() if v is not MISSING and self._inside(k, v)}

    def own(self, key: str) -> Any:
        """What the given options have, as Optuna keeps it; MISSING where the schedule that is given has no such."""
        section, _, name = key.partition(".")
        if name:
            return _encoded(self.base.as_dict()[section][name])
        return {HEAD: "warm" if self.warm else "fresh", UNFREEZING[0]: None}.get(key, MISSING)

    def canonical(self, key: str, value: Any) -> Any:
        """A choice as the options that it makes have it: an augmentation by its name alone is one with its defaults."""
        if "." not in key:
            return _encoded(value)
        section, _, name = key.partition(".")
        return _encoded(self.recipe({key: _encoded(value)})[0].as_dict()[section][name])

    def _inside(self, key: str, value: Any) -> bool:
        domain = self.distributions[key]
        assert isinstance(domain, CategoricalDistribution | FloatDistribution | IntDistribution)
        return isinstance(domain, CategoricalDistribution) or domain.low <= value <= domain.high


def make_recipe_space(search: RecipeSearch, base: Options, *, warm: bool, begins_warm: bool = False) -> RecipeSpace:
    """Each choice and both ends of each range are tried against the base; raises OptionsError that lists every fault.
    Without `warm` there is no head to begin with: that choice is left out."""
    faults: list[str] = []
    distributions: dict[str, BaseDistribution] = {}
    for key, domain in search.space.items():
        values = domain_ends(domain)
        if key == HEAD and not warm:
            values = [value for value in values if value != "warm"] or ["fresh"]
        fault = _wrong_key(key, search) or _wrong_values(RecipeSpace(base, {}), key, values)
        if fault is not None:
            faults.append(f"space: {fault}")
        elif isinstance(domain, Range):
            whole = "." in key and whole_only(base.as_dict(), key, domain)
            if whole and domain.step is not None and not domain.step.is_integer():
                faults.append(f"space: {key} takes whole numbers, and its step is {domain.step:g}")
            else:
                distributions[key], _ = distribution_of(domain, whole)
        else:
            plain = RecipeSpace(base, {}, begins_warm)
            choices = [plain.canonical(key, value) for value in values]
            choices += [value for value in [plain.own(key)] if value is not MISSING]
            distributions[key] = CategoricalDistribution(list(dict.fromkeys(choices)))
    if faults:
        raise OptionsError(f"search of recipes: {'; '.join(faults)}.")
    return RecipeSpace(base, distributions, begins_warm)


def _wrong_key(key: str, search: RecipeSearch) -> str | None:
    if key in (*UNFREEZING, HEAD):
        alone = key in UNFREEZING[1:] and UNFREEZING[0] not in search.space
        return f"{key} goes with unfreeze, which is not there" if alone else None
    if key not in known_keys():
        return f"unknown option {key!r}{nearest_key(key)}"
    if key in NOT_SEARCHED or not (key.startswith("training.") or key in SEARCHED):
        return f"{key} is no part of a recipe: trials would not compare"
    return None


def _wrong_values(space: RecipeSpace, key: str, values: list[Any]) -> str | None:
    if key == HEAD:
        wrong = [value for value in values if value not in ("fresh", "warm")]
        return f"head: got {wrong[0]!r}, expected fresh or warm" if wrong else None
    for value in values:
        params = {key: _encoded(value)} if key not in UNFREEZING[1:] else {"unfreeze": "all", key: _encoded(value)}
        if key == "unfreeze_at" and not (isinstance(value, (int, float)) and 0 <= value < 1):
            return f"unfreeze_at: got {value!r}, expected a part of the epochs, from 0 to below 1"
        try:
            space.recipe(params)
        except OptionsError as error:
            return str(error).removesuffix(".")
    return None


def _encoded(value: Any) -> Any:
    """A choice as Optuna keeps it: a list or an object as its JSON."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, tuple, dict)) else value


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value[:1] in ("[", "{") else value
