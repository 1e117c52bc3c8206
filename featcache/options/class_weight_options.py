"""`training.class_weights`: what an image of each class counts in the loss, by the classes' names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from featcache.errors import OptionsError

BY_CLASS = "by class"

# As only their ratios count, this is room for any; beyond it float32 has no room for what they are multiplied with.
Weight = Annotated[float, Field(ge=1e-6, le=1e6)]


def _kind(value: object) -> str | None:
    """Which member of the union a value is meant to be: its faults are that member's alone; None: neither."""
    if isinstance(value, Mapping):
        return BY_CLASS
    return "balanced" if value == "balanced" else None


ClassWeights = Annotated[
    Annotated[Literal["balanced"], Tag("balanced")] | Annotated[dict[str, Weight], Field(min_length=1), Tag(BY_CLASS)],
    Discriminator(
        _kind,
        custom_error_type="class_weights",
        custom_error_message="Input should be 'balanced' or an object of numbers from 1e-6 to 1e6 by class name",
    ),
]


def require_class_names(weights: str | Mapping[str, float] | None, classes: Sequence[str]) -> None:
    """Raise OptionsError where a class is weighted that the data does not have."""
    for name in weights if isinstance(weights, Mapping) else ():
        if name not in classes:
            close = difflib.get_close_matches(name, classes, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise OptionsError(
                f"training.class_weights: no class is called {name!r}.{meant} Expected names of class folders: "
                f"{', '.join(classes)}."
            )
