"""JSON read strictly: a file to an object, with errors that name the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from featcache.errors import OptionsError


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; raises OptionsError that says what is wrong and where."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise OptionsError(f"{path}: there is no such file. Name an options file or a folder of them.") from None
    except IsADirectoryError:
        raise OptionsError(f"{path}: is a folder. Name one options file in it.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise OptionsError(f"{path}: cannot be read: {error}.") from None
    try:
        value = json.loads(text, object_pairs_hook=no_repeats, parse_constant=no_constants)
    except RecursionError:
        raise OptionsError(f"{path}: objects or lists in each other, deeper than anybody writes them.") from None
    except json.JSONDecodeError as error:
        raise OptionsError(
            f"{path}: not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except ValueError as error:
        raise OptionsError(f"{path}: {error}.") from None
    if not isinstance(value, dict):
        raise OptionsError(f"{path}: holds a JSON {type(value).__name__}; expected an object like configs/base.json.")
    return value


def plain_number(value: Any) -> Any:
    """A numpy scalar, which search loops like to hold, as the number it is."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r}")


def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; raises ValueError where a key stands twice."""
    keys = [k for k, _ in pairs]
    repeated = sorted({k for k in keys if keys.count(k) > 1})
    if repeated:
        raise ValueError(f"the key {repeated[0]!r} stands twice in one object: keep one of the two")
    return dict(pairs)


def no_constants(name: str) -> Any:
    """Raise ValueError for NaN and Infinity, which Python's JSON would take."""
    raise ValueError(f"{name} is not a JSON number")
