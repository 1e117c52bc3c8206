"""Options whose value is one of a list of names that installed packages may add to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class OneOf:
    """In an annotation of `str`: what a Literal of `names` would be, but that the names are asked for when a value is
    read or a schema is written. So a list may grow by what is installed."""

    names: Callable[[], Sequence[str]]
    built_in: Sequence[str] = ()  # known without looking through installed packages, which takes a moment

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check names first, so that what is no text at all has the same fault."""
        return core_schema.no_info_before_validator_function(self._known, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The built-in names, for editors: a schema may not depend on what is installed where it is made."""
        del schema, handler
        return {"enum": list(self.built_in or self.names()), "type": "string"}

    def _known(self, value: Any) -> Any:
        if value in self.built_in:
            return value
        names = self.names()
        if value not in names:
            raise PydanticCustomError("one_of", "input should be {names}", {"names": listed([f"'{n}'" for n in names])})
        return value


def listed(words: Sequence[str]) -> str:
    """In a sentence: a, b or c."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
