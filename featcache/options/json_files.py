"""JSON read strictly: a file to an object, with errors that name the place."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from featcache.errors import OptionsError

log = logging.getLogger("featcache")

CONFIGS = "configs"
ROOT = Path(__file__).resolve().parents[2]


def shipped_config(name: str) -> Path:
    """The file or folder `name` of `configs/`: that in the current folder, else the one featcache came with."""
    own = Path(CONFIGS) / name
    came_with = (ROOT / "featcache" / CONFIGS / name, ROOT / CONFIGS / name)  # of a wheel, of a clone
    return next((p for p in (own, *came_with) if p.exists()), own)


def or_shipped(path: Path) -> Path:
    """`path`; where it is not there and begins with `configs/`, what featcache came with of that name, which is said:
    the commands of the documents work in any folder."""
    if path.parts[:1] != (CONFIGS,) or ".." in path.parts or path.exists():
        return path
    found = shipped_config(str(path.relative_to(CONFIGS)))
    if found != path:
        log.info("%s: is not in this folder; the one that featcache came with is read", path)
    return found


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, or in what was shipped of that name; raises OptionsError that says what is wrong and
    where."""
    path = or_shipped(path)
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
