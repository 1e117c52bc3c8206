"""The option `data.groups`: by which rule images belong together, so that they are never parted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from featcache.options.option_types import Section

EXPECTED = (
    '"folder:1", "pattern:REGEX", "csv:FILE", "csv:FILE:COLUMN", or an object with one of the keys folder, pattern, csv'
)


class GroupRule(Section):
    """One of `folder`, `pattern` and `csv`."""

    folder: Annotated[int, Field(ge=1, le=100)] | None = None
    """The folder at this level below the class names the group: 1 in `train/<class>/<patient>/x.png`. A deeper level is
    named with those above it."""
    pattern: Annotated[str, Field(min_length=1)] | None = None
    """A regular expression that is looked for in the file's name below data.path; what its group `group`, or its first
    one, matches is the group."""
    csv: Annotated[str, Field(min_length=1)] | None = None
    """A CSV with a header; `featcache audit --write-groups` writes one."""
    column: Annotated[str, Field(min_length=1)] = "group"
    """The column of `csv` that names the group."""
    path: Annotated[str, Field(min_length=1)] = "path"
    """The column of `csv` that names the file, as below data.path; or by its last part alone, with or without its
    ending."""

    @model_validator(mode="after")
    def _one_rule(self) -> GroupRule:
        given = [name for name in ("folder", "pattern", "csv") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"data.groups has {' and '.join(given) or 'no rule'}: expected {EXPECTED}")
        if self.csv is None and (self.column, self.path) != ("group", "path"):
            raise ValueError("data.groups.column and .path are of a CSV: data.groups.csv is not there")
        if self.pattern is not None:
            self._require_pattern(self.pattern)
        return self

    @staticmethod
    def _require_pattern(pattern: str) -> None:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"data.groups.pattern is {pattern!r}, which is no regular expression: {error}") from None
        if not groups:
            raise ValueError(
                f"data.groups.pattern is {pattern!r}, which has no part in brackets: expected one around what names "
                r"the group, such as (P\d+)_"
            )

    @property
    def said(self) -> str:
        """The rule in a few words, for messages."""
        if self.folder is not None:
            return f"folder {self.folder} below the class"
        return f"pattern {self.pattern!r}" if self.pattern is not None else f"column {self.column!r} of {self.csv}"


def _from_text(value: Any) -> Any:
    """The object that a short form means; what is none of them goes on as it is, and is refused."""
    if not isinstance(value, str):
        return value
    kind, _, rest = value.partition(":")
    if kind == "folder" and rest.isdecimal():
        return {"folder": int(rest)}
    if kind == "pattern" and rest:
        return {"pattern": rest}
    if kind == "csv" and rest:
        file, _, column = rest.rpartition(":")
        # The colon of a drive is no column's, nor is one inside a path.
        plain = len(file) < 2 or not column or "/" in column or "\\" in column
        return {"csv": rest} if plain else {"csv": file, "column": column}
    raise ValueError(f"data.groups is {value!r}: expected {EXPECTED}")


if TYPE_CHECKING:
    Groups = GroupRule
else:
    Groups = Annotated[GroupRule, BeforeValidator(_from_text, json_schema_input_type=str | GroupRule)]
