"""What every section of an options file is made of: strict frozen models and the kinds of numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from featcache.counted_nouns import counted

Fraction = Annotated[float, Field(ge=0, le=1)]


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


Count = Annotated[int, Field(ge=1)]


Precision = Literal["float32", "tf32", "bfloat16", "float16"]


class Section(BaseModel):
    """Unknown keys are errors, types are taken at their word, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def plain_name(name: str, key: str) -> None:
    """Raise ValueError unless `name` can be a folder's name on every system."""
    size = len(name.encode(errors="replace"))
    if not 0 < size <= 200:  # file systems take 255, and suffixes need room
        raise ValueError(f"{key} has {counted(size, 'byte')}: expected 1 to 200")
    if name.startswith(".") or any(c in '/\\:*?"<>|' or not c.isprintable() for c in name):
        raise ValueError(
            f"{key} is {name!r}, which is no plain folder name: it may not start with a dot "
            'or hold any of / \\ : * ? " < > |'
        )
