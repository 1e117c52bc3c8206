"""What is wrong with an options file, in sentences that name the key and the nearest known one."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence

from pydantic import BaseModel, ValidationError

from featcache.options.augmentation_options import AUGMENTATIONS, augmentation_name
from featcache.options.cache_options import CacheOptions
from featcache.options.class_options import SplitLimits
from featcache.options.class_weight_options import BY_CLASS
from featcache.options.column_options import Columns
from featcache.options.data_options import DataOptions
from featcache.options.group_options import GroupRule
from featcache.options.head_options import HeadOptions
from featcache.options.model_options import ModelOptions
from featcache.options.profile_options import ProfileOptions
from featcache.options.run_options import Options
from featcache.options.training_options import TrainingOptions, UnfreezeStep


def known_keys() -> list[str]:
    """Every option as `section.key`, sections too, for suggestions."""
    inner = [f"{name}.{key}" for name, section in _SECTIONS.items() for key in section.model_fields]
    return [*Options.model_fields, *inner]


def nearest_key(key: str) -> str:
    """In brackets, the known option that a misspelt `section.key` probably meant."""
    section, _, last = key.rpartition(".")
    return _nearest(section, last, [])


def faults(error: ValidationError) -> list[str]:
    """Every fault as `section.key: what is wrong, got what`; the alternatives of one key in one line."""
    wrong: dict[str, tuple[list[str], str]] = {}
    faults: list[str] = []
    errors = error.errors()
    for fault in errors:
        # Union members put their own names into the location; those are our classes, not the user's keys.
        key = _key(fault["loc"])
        if fault["type"] == "extra_forbidden":
            *place, last = fault["loc"]
            section = _key(place)
            key = f"{section}.{last}" if section else str(last)
            faults.append(f"unknown key {key!r}{_nearest(section, str(last), _list_item_fields(place))}")
        elif fault["type"] == "missing":
            faults.append(f"{key} is missing")
        elif fault["type"] == "value_error":
            faults.append(str(fault["ctx"]["error"]))
        elif fault["type"] == "too_short" and any(
            other is not fault and other["loc"][: len(fault["loc"])] == fault["loc"] for other in errors
        ):
            continue  # pydantic counts the valid items only: the fault is the item that is named too
        else:
            message = fault["msg"][0].lower() + fault["msg"][1:]
            wrong.setdefault(key, ([], json.dumps(fault["input"], default=str)))[0].append(message)
    return faults + [f"{key}: {' or '.join(dict.fromkeys(m))}, got {got}" for key, (m, got) in wrong.items()]


def _key(place: Sequence[int | str]) -> str:
    """A fault's place as its user writes it: keys, places in lists, and names of classes."""
    if BY_CLASS in place:
        above = place.index(BY_CLASS)
        return ".".join([_key(place[:above]), *map(str, place[above + 1 :])])
    return ".".join(str(p) for p in place if isinstance(p, int) or p in _field_names())


def _nearest(section: str, last: str, item_fields: list[str]) -> str:
    """The known key that was probably meant: the same name elsewhere, a similar one here, a similar one elsewhere."""
    here = {k.rpartition(".")[2]: k for k in known_keys() if k.rpartition(".")[0] == section}
    here = {n: f"{section}.{n}" for n in item_fields} or here
    anywhere = {k.rpartition(".")[2]: k for k in known_keys()}
    if last in anywhere and not item_fields:
        return f" (did you mean {anywhere[last]!r}?)"
    for candidates in (here,) if item_fields else (here, anywhere):
        close = difflib.get_close_matches(last, candidates, n=1, cutoff=0.6)
        if close:
            return f" (did you mean {candidates[close[0]]!r}?)"
    return f" (known here: {', '.join(here)})"


def _list_item_fields(place: Sequence[int | str]) -> list[str]:
    """The keys of an object in a list (an augmentation, a step of the schedule), of the rule of groups or of columns;
    empty for a section."""
    if "groups" in place:
        return list(GroupRule.model_fields)
    if "columns" in place:
        return list(Columns.model_fields)
    if "limit" in place:
        return list(SplitLimits.model_fields)
    if "augmentations" in place:
        named = [c for c in AUGMENTATIONS if augmentation_name(c) == place[-1]] if isinstance(place[-1], str) else []
        return [n for c in named for n in c.model_fields]
    return list(UnfreezeStep.model_fields) if "unfreeze_schedule" in place else []


_SECTIONS: dict[str, type[BaseModel]] = {
    "model": ModelOptions,
    "data": DataOptions,
    "head": HeadOptions,
    "training": TrainingOptions,
    "cache": CacheOptions,
    "profile": ProfileOptions,
}


def _field_names() -> set[str]:
    sections: tuple[type[BaseModel], ...] = (
        Options,
        *_SECTIONS.values(),
        UnfreezeStep,
        GroupRule,
        SplitLimits,
        Columns,
        *AUGMENTATIONS,
    )
    return {n for c in sections for n in c.model_fields}
