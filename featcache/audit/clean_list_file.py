"""The clean list as a file: where it may lie, and how it grows; what somebody else wrote is never lost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from featcache.atomic import write_text
from featcache.audit.clean_list_entries import Excluded
from featcache.audit.list_target import ListTarget
from featcache.data import names_listed
from featcache.errors import OptionsError

HEADER = "path,reason,sha256"
OPTION = "--write-clean"


@dataclass(frozen=True)
class Written:
    """A clean list that was written."""

    file: Path
    added: int  # files that it names now
    kept: int  # files that it named before, and still does


def require_target(file: Path, data: Iterable[Path]) -> None:
    """Raise OptionsError unless a clean list may be written to `file`: a place outside of the folders `data` that can
    be written, with nothing there or a list of ours, which would be added to."""
    place = _target(file)
    try:
        target = place.require_place(data)
        if target.exists():
            _text(target, file)
        place.probe()
    except OSError as error:
        raise place.unwritable(error.strerror) from None


def write_clean_list(excluded: Iterable[Excluded], file: Path) -> Written:
    """`file` lists what is `excluded` as CSV with the columns path, reason, sha256.

    Lines that are there stay as they are, and files that they name are not named again. New cells are quoted, so that
    any name survives. Raises OptionsError for a file that is no such list, or a place that cannot be written.
    """
    place = _target(file)
    target = place.resolved()
    try:
        before = _text(target, file) if target.exists() else HEADER + "\n"
        wanted = list(excluded)
        there = set(_names(before, {e.name for e in wanted})[1:])  # the first is the header's
        new = [e for e in wanted if e.name not in there]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
            [e.name, e.reason, e.sha256] for e in new
        )
        if new or not target.exists():
            place.probe()
            write_text(target, before + text.getvalue())
    except OSError as error:
        raise place.unwritable(error.strerror) from None
    return Written(file, len(new), len(there))


def _target(file: Path) -> ListTarget:
    return ListTarget(OPTION, file, "clean.csv")


def _text(target: Path, file: Path) -> str:
    """What the list of ours in `target` holds, to its last line's end; raises OptionsError where it is something else.

    `file` is what the user called it.
    """
    reason = "it is no regular file"  # reading a pipe might never end
    if target.is_file():
        with target.open("rb") as stream:
            first = stream.readline(len(HEADER) + 8).decode("utf-8-sig", "replace").rstrip("\r\n")
        if first == HEADER:
            return _whole(target, file)
        reason = f"its first line begins with {first!r}" if first else "it has no first line"
    raise OptionsError(
        f"{OPTION} {file}: is there already and is no list that `featcache audit` wrote: {reason}. Expected a new "
        f"file, or one whose first line is {HEADER}, to which lines would be added. Name another file, or move "
        "this one away."
    )


def _whole(target: Path, file: Path) -> str:
    try:
        text = target.read_bytes().decode("utf-8")
        text += "" if text.endswith("\n") else "\n"
        other = max(_names(text, set()), key=len).replace('"', "'") + "?"  # than every name that is there
        if _names(f'{text}"{other}"\n', set())[-1] == other:
            return text
        reason = "a quote is opened and never closed"
    except (UnicodeDecodeError, csv.Error) as error:
        reason = str(error)
    raise OptionsError(
        f"{OPTION} {file}: nothing can be added to this list: {reason}. Expected a CSV in UTF-8: mend it, or name "
        "another file."
    )


def _names(text: str, known: set[str]) -> list[str]:
    return names_listed(io.StringIO(text.removeprefix("\ufeff"), newline=""), known)
