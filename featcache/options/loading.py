"""Options from files, dicts and folders of files, checked whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from featcache.errors import OptionsError
from featcache.options.faults import faults
from featcache.options.json_files import or_shipped, plain_number, read_json, shipped_config
from featcache.options.overrides import apply_overrides
from featcache.options.run_options import Options


def as_options(value: Options | Mapping[str, Any] | str | Path) -> Options:
    """Options in whichever form a caller has them: an Options, a plain dict, or the path of an options file.

    Raises OptionsError for whatever is wrong with them, in the same words for each form.
    """
    if isinstance(value, Options):
        return value
    if isinstance(value, Mapping):
        return parse_options(value)
    if isinstance(value, str | Path):
        return load_options(value)
    raise OptionsError(
        f"options: got {type(value).__name__} {value!r:.80}; expected an Options, a dict like configs/base.json, or "
        "the path of an options file."
    )


def parse_options(value: Mapping[str, Any], where: str = "options") -> Options:
    """`value` (the JSON of one run) checked and completed.

    Raises OptionsError that lists every fault with its key; `where` names the file in the message.
    """
    document = {k: v for k, v in value.items() if k != "$schema"}  # editors find the schema by this key
    if "space" in document and "experiment_name" not in document:
        raise OptionsError(f"{where}: is a sweep, not the options of one run. Start it with `featcache sweep {where}`.")
    try:
        return Options.model_validate_json(json.dumps(document, allow_nan=False, default=plain_number))
    except ValidationError as error:
        raise OptionsError(f"{where}: {'; '.join(faults(error))}.") from None
    except (TypeError, ValueError) as error:
        raise OptionsError(f"{where}: not JSON values: {error}.") from None


def load_options(path: str | Path, overrides: Sequence[str] = ()) -> Options:
    """The options file at `path`, with `overrides` like `training.learning_rate=5e-5` applied.

    Raises OptionsError when the file is missing, is not JSON, or does not validate.
    """
    document = read_json(Path(path))
    apply_overrides(document, overrides)
    return parse_options(document, str(path))


def load_base_config(path: str | Path | None = None) -> dict[str, Any]:
    """`configs/base.json` as a plain dict: change what you like and pass it to `train_model`.

    Without `path`: the file in the current folder, else the one featcache came with.
    """
    return read_json(Path(path) if path is not None else shipped_config("base.json"))


def config_files(paths: Iterable[str | Path]) -> list[Path]:
    """Every options file meant by `paths`: files as they are, folders by their *.json, sorted, recursively; of
    `configs/..` what featcache came with where the current folder has none."""
    files: list[Path] = []
    for path in map(or_shipped, map(Path, paths)):
        if path.is_dir():
            found = sorted(p for p in path.rglob("*.json") if not p.name.endswith(".schema.json"))
            if not found:
                raise OptionsError(f"{path}: the folder holds no *.json options file. Put one in it, or name another.")
            files += found
        else:
            files.append(path)
    return list(dict.fromkeys(files))
