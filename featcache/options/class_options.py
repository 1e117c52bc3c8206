"""The options `data.classes` and `data.limit`: which of the data's classes are meant, and how many images of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from featcache.options.option_types import Count, Section

Name = Annotated[str, Field(min_length=1)]
Picked = Annotated[tuple[Name, ...], Field(min_length=2)]
Merged = Annotated[dict[Name, Annotated[tuple[Name, ...], Field(min_length=1)]], Field(min_length=2)]


def _kind(value: object) -> str | None:
    """Which member of the union a value is meant to be: its faults are that member's alone; None: neither."""
    if isinstance(value, Mapping):
        return "merged"
    return "picked" if isinstance(value, list | tuple) else None


def _each_once(value: tuple[str, ...] | dict[str, tuple[str, ...]]) -> tuple[str, ...] | dict[str, tuple[str, ...]]:
    names = list(value) if isinstance(value, tuple) else [name for parts in value.values() for name in parts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"data.classes names the class {twice!r} twice: an image has one class")
    return value


Classes = Annotated[
    Annotated[
        Annotated[Picked, Tag("picked")] | Annotated[Merged, Tag("merged")],
        Discriminator(
            _kind,
            custom_error_type="classes",
            custom_error_message="Input should be a list of names of classes, or an object of such lists by new name",
        ),
    ],
    AfterValidator(_each_once),
]


def merged_names(classes: Classes) -> dict[str, str]:
    """Each name of the data that is meant -> the name of its class."""
    if isinstance(classes, tuple):
        return {name: name for name in classes}
    return {old: new for new, parts in classes.items() for old in parts}


class SplitLimits(Section):
    """At most so many images of each class in a split; a split that is not given is taken whole."""

    train: Count | None = None
    """Of the training images."""
    val: Count | None = None
    """Of the validation images."""
    test: Count | None = None
    """Of the test images."""


def _of_train(value: Any) -> Any:
    """The object that a lone number means: how much is trained on, while what judges it stays the same."""
    return {"train": value} if isinstance(value, int) and not isinstance(value, bool) else value


if TYPE_CHECKING:
    Limit = SplitLimits
else:
    Limit = Annotated[SplitLimits, BeforeValidator(_of_train, json_schema_input_type=int | SplitLimits)]
