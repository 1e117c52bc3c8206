"""The section `data.columns`: what the columns of a table are called, where that is not plain to see."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from featcache.options.option_types import Section

Name = Annotated[str, Field(min_length=1)]


class Columns(Section):
    """Columns of the table that data.path names; those that are not given are looked for by their usual names."""

    image: Name | None = None
    """The column of paths, or of the images' bytes."""
    label: Name | None = None
    """The column of class names."""
    split: Name | Literal[False] | None = None
    """The column that says train, val or test; false: none does, whatever its name."""
    group: Name | Literal[False] | None = None
    """The column of groups: images that are never parted, such as those of a patient; false: none is, whatever its
    name."""
    weight: Name | Literal[False] | None = None
    """The column of what each training image counts in the loss, 0 or more; false: none is, whatever its name."""
