"""JSON lines, and lists of JSON objects (Label Studio's exports among them), become tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from featcache.data.sources.delimited_text import encoding_of
from featcache.data.sources.image_endings import image_endings
from featcache.data.sources.image_tables import Cells, Table
from featcache.errors import DataError

LOOKED_AT = 1000  # records, for the names of columns


def open_json(file: Path) -> Table:
    """The records in `file`, one on each line or all in one list; raises DataError where there are none."""
    columns: dict[str, None] = {}
    for _, record in islice(_records(file), LOOKED_AT):
        columns.update(dict.fromkeys(record))
    if not columns:
        raise DataError(f"data.path: {file} holds no records. Expected a JSON object for each image, one on a line.")
    names = tuple(columns)
    if _is_one_object(file, names):
        raise DataError(
            f"data.path: {file} is one JSON object, of {', '.join(map(repr, names[:5]))}"
            + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            + '. Expected one for each image, such as {"path": "a.jpg", "label": "cat"}: on a line each, or in one '
            'list (pandas writes that with orient="records").'
        )

    def read(chosen: Sequence[int]) -> Cells:
        keys = [names[column] for column in chosen]
        for number, record in _records(file):
            yield number, [record.get(key) for key in keys]

    return Table(file, names, read, unit="line" if _is_lines(file) else "record")


def _is_lines(file: Path) -> bool:
    try:
        with file.open(encoding=encoding_of(file)) as stream:
            return next((line.lstrip()[:1] for line in stream if line.strip()), "{") != "["
    except (OSError, UnicodeError) as error:
        raise _broken(file, error) from None


def _is_one_object(file: Path, names: Sequence[str]) -> bool:
    """Whether a file holds one object that is a whole table, or whatever else, rather than one image's record."""
    first = [record for _, record in islice(_records(file), 2)]
    if len(first) > 1 or file.suffix.lower() != ".json":
        return False
    paths = PurePosixPath(names[0]).suffix.lower() in image_endings()  # each with its class
    return paths or any(isinstance(value, dict | list) for value in first[0].values())


def _records(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and fields of each record."""
    try:
        with file.open(encoding=encoding_of(file)) as stream:
            lines = _is_lines(file)
            for number, value in _of_lines(stream) if lines else enumerate(_value(stream.read()), 1):
                if not isinstance(value, dict):
                    raise ValueError(f"{'line' if lines else 'record'} {number} is no JSON object")
                yield number, _plain(value)
    except (OSError, UnicodeError, ValueError, RecursionError) as error:
        raise _broken(file, error) from None


def _of_lines(stream: Iterable[str]) -> Iterator[tuple[int, Any]]:
    """Number and value of each line with one; raises ValueError that names the line."""
    for number, line in enumerate(stream, 1):
        if not line.isspace():
            try:
                yield number, _value(line)
            except json.JSONDecodeError as error:  # which calls every line the first
                raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from None
            except UnicodeEncodeError as error:
                raise ValueError(f"line {number}: {error.reason}") from None


def _value(text: str) -> Any:
    """What JSON says; raises ValueError for half a character, which no file's name and no class's can have."""
    value = json.loads(text)
    if "\\ud" in text or "\\uD" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """A record of Label Studio's full export as image and choice; any other one as it is.

    Source: Label Studio's documentation, "Label Studio JSON format of annotated tasks".
    """
    if not isinstance(record.get("data"), dict) or "annotations" not in record:
        return record
    data = dict(record["data"])
    try:
        distinct = [list(one) for one in dict.fromkeys(_choices(record["annotations"] or ()))]
    except (AttributeError, KeyError, TypeError):
        raise ValueError("`annotations` are not as Label Studio writes them") from None
    data.pop("choice", None)
    return {**data, "choice": distinct[0] if len(distinct) == 1 else [c for one in distinct for c in one]}


def _choices(annotations: Iterable[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """What each result of the annotations that count has chosen."""
    for annotation in annotations:
        for result in annotation.get("result") or () if not annotation.get("was_cancelled") else ():
            if result.get("type") == "choices":
                yield tuple(result["value"]["choices"])


def _broken(file: Path, error: Exception) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else error
    return DataError(
        f"data.path: {file} cannot be read as JSON records ({reason}). Expected a JSON object for each image, one on "
        "each line, or all of them in one list."
    )
