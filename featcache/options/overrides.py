"""`--set section.key=value` written into a plain options dict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from featcache.errors import OptionsError
from featcache.options.json_files import no_constants, no_repeats


def apply_overrides(document: dict[str, Any], overrides: Sequence[str]) -> None:
    """Write each `section.key=value` into `document`; a value that is not JSON is taken as a string."""
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not all(key.split(".")):
            raise OptionsError(f"--set {override}: expected KEY=VALUE, such as training.learning_rate=5e-5.")
        try:
            value = json.loads(text, parse_constant=no_constants, object_pairs_hook=no_repeats)
        except json.JSONDecodeError:
            value = text
        except ValueError as error:
            raise OptionsError(f"--set {override}: {error}.") from None
        put(document, key, value, f"--set {override}")


def put(document: dict[str, Any], key: str, value: Any, where: str = "options") -> None:
    """Write `value` at `section.key` of a plain options dict."""
    *sections, last = key.split(".")
    target = document
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise OptionsError(f"{where}: {section} is not a section of the options.")
    target[last] = value
