"""The groups of an audit as a CSV that `data.groups` takes as it is: where it may lie, and what it may replace."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from featcache.atomic import write_text
from featcache.audit.group_table_entries import Grouped
from featcache.audit.list_target import ListTarget
from featcache.errors import OptionsError
from featcache.options import GroupRule

HEADER = "path,group,reason,sha256"
EARLIER = "path,group,reason"


def require_groups_target(file: Path, data: Iterable[Path], given: GroupRule | None) -> None:
    """Raise OptionsError unless the groups may be written to `file`: a place outside of the folders `data` that can be
    written, with nothing there, or the table of ours that data.groups (`given`) names: its groups are in the new one.
    """
    target = _target(file)
    try:
        place = target.require_place(data)
        if place.exists() and not (_ours(place) and _names(given, place)):
            raise OptionsError(
                f"{target.option} {file}: is there already. Expected a new file, or one that `featcache audit` wrote "
                f"and that is in use (--set data.groups=csv:{file}), so that what it says is kept. Name another file."
            )
        target.probe()
    except OSError as error:
        raise target.unwritable(error.strerror) from None


def write_group_table(table: Iterable[Grouped], file: Path) -> None:
    """`file` lists the groups as CSV with the columns path, group, reason, sha256; every cell is quoted, so that any
    name survives. Raises OptionsError where it cannot be written."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    rows.writerows([one.name, one.group, one.reason, one.sha256] for one in table)
    target = _target(file)
    try:
        write_text(target.resolved(), f"{HEADER}\n{text.getvalue()}")
    except OSError as error:
        raise target.unwritable(error.strerror) from None


def _target(file: Path) -> ListTarget:
    return ListTarget("--write-groups", file, "groups.csv")


def _ours(place: Path) -> bool:
    if not place.is_file():  # reading a pipe might never end
        return False
    with place.open("rb") as stream:
        return stream.readline(len(HEADER) + 8).decode("utf-8-sig", "replace").rstrip("\r\n") in (HEADER, EARLIER)


def _names(given: GroupRule | None, place: Path) -> bool:
    return given is not None and given.csv is not None and Path(given.csv).expanduser().resolve() == place
