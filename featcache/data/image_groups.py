"""Images in, the same with the group that `data.groups` gives them out; and which groups lie in several splits."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from featcache.counted_nouns import counted
from featcache.data.group_table import table_groups
from featcache.data.sources import SPLIT_NAMES
from featcache.errors import DataError
from featcache.options import GroupRule
from featcache.records import SPLITS, ImageRecord
from featcache.relatives import shown


def group_images(images: Sequence[ImageRecord], rule: GroupRule | None) -> tuple[list[ImageRecord], list[str]]:
    """`images` with their groups, and what the user should know of them. One that the rule gives no group is its own.

    Raises DataError where the rule gives none to any, or all to one.
    """
    if rule is None:
        return list(images), []
    names = [i.name for i in images]
    found, said = table_groups(rule, {i.name: i.sha256 for i in images}) if rule.csv else (_by_name(names, rule), [])
    if not found and not said:
        raise DataError(
            f"data.groups ({rule.said}) gives none of {counted(len(images), 'image')} a group, such as {names[0]!r}. "
            f"{_expected(rule)}"
        )
    grouped = [replace(i, group=found.get(i.name)) for i in images]
    if len(found) == len(images) and len(set(found.values())) == 1:
        raise DataError(
            f"data.groups ({rule.said}) gives all {len(images)} images the same group, {shown(found[names[0]])}, so "
            f"that nothing could be set apart. {_expected(rule)}"
        )
    return grouped, said


def groups_said(images: Sequence[ImageRecord], rule: GroupRule | None, by: str = "") -> list[str]:
    """How many groups there are, and how many images without one; without a rule they may be the source's, `by`."""
    if rule is None and not by:
        return []
    sizes = Counter(i.group for i in images if i.group is not None)
    alone = len(images) - sizes.total()
    who = f"data.groups ({rule.said})" if rule is not None else f"groups ({by})"
    line = f"{who}: {counted(sizes.total(), 'image')} in {counted(len(sizes), 'group')}"
    least, most = min(sizes.values(), default=0), max(sizes.values(), default=0)
    if sizes:
        line += f" of {least} to {most}" if most > least else f" of {most}"
    if most == 1:
        line += ": no two images share one, so that it keeps nothing together"
    classes: dict[str | None, set[int]] = defaultdict(set)
    for image in images:
        classes[image.group].add(image.label)
    if mixed := sum(len(classes[group]) > 1 for group in sizes):
        line += f", {mixed} of them in more than one class"
    if alone:
        first = next(i.name for i in images if i.group is None)
        line += f"; {counted(alone, 'image')} without a group, each its own, such as {first}"
    return [line]


def straddling_said(images: Sequence[ImageRecord], folds: int | None) -> list[str]:
    """What to know of groups in more than one split that somebody else made; with `folds` train and val are one."""
    groups: dict[str, list[ImageRecord]] = defaultdict(list)
    for image in images:
        if image.group is not None:
            groups[image.group].append(image)
    pool = {"val": "train"} if folds else {}
    across = {name: own for name, own in groups.items() if len({pool.get(i.split, i.split) for i in own}) > 1}
    if not across:
        return []
    name, own = min(across.items())
    other = next(i for i in own if pool.get(i.split, i.split) != pool.get(own[0].split, own[0].split))
    inside = Counter(i.split for members in across.values() for i in members)
    counts = ", ".join(f"{inside[split]} {split}" for split in SPLITS if inside[split])
    return [
        f"{counted(len(across), 'group')} of {len(groups)} (images: {counts}) in more than one split of the folder, "
        f"such as {shown(name)} with {own[0].name} and {other.name}: figures of splits that share groups are too good"
    ]


def _by_name(names: Sequence[str], rule: GroupRule) -> Mapping[str, str]:
    """The groups by folders or by a pattern."""
    found = {}
    for name in names:
        group = _folder(name, rule.folder) if rule.folder is not None else _matched(name, str(rule.pattern))
        if group:
            found[name] = group
    return found


def _folder(name: str, level: int) -> str | None:
    """The folders below the class down to `level`; None for a file that lies above it."""
    parts = PurePosixPath(name).parts
    below = parts[2 if parts[0].lower() in SPLIT_NAMES else 1 : -1]
    return "/".join(below[:level]) if len(below) >= level else None


def _matched(name: str, pattern: str) -> str | None:
    match = re.search(pattern, name)
    if match is None:
        return None
    text: str | None = match["group"] if "group" in match.re.groupindex else match[1]
    return text


def _expected(rule: GroupRule) -> str:
    if rule.folder is not None:
        below = "/".join(f"<folder {n}>" for n in range(1, rule.folder + 1))
        return f"Expected files such as <class>/{below}/x.png. Choose another level, or a pattern."
    if rule.pattern is not None:
        return "The pattern is looked for in such names as a whole, split and class included. Mend it."
    return f"Expected different entries in the column {rule.column!r}. Mend the CSV, or name another column."
