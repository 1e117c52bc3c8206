"""Tars, plain or of WebDataset, become rows: an image folder inside, or samples with a label beside each image.

Shards are read by `tarfile`, not by the libraries `webdataset` and `wids`: these stream shards from end to end, or want
an index that somebody has written; here any image is read at once, by many threads, since its offset is known.
Source: T. Breuel et al., "The WebDataset Format" (2020): files of one sample have one name up to the first dot.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from featcache.counted_nouns import counted
from featcache.data.sources.archive_members import archive_images, list_archive, member_name, plain_name
from featcache.data.sources.brace_patterns import expand
from featcache.data.sources.class_numbers import UNKNOWN, class_of, one_class_said
from featcache.data.sources.delimited_text import encoding_of
from featcache.data.sources.folder_tree import is_junk
from featcache.data.sources.image_endings import image_endings
from featcache.data.sources.image_tables import CellError, text_of
from featcache.data.sources.rows import Listing, Row
from featcache.data.sources.source_images import SourceImages
from featcache.data.sources.split_words import split_said
from featcache.data.sources.table_columns import USUAL
from featcache.data.sources.tar_archive import Entry, tar_entries
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.places import ImagePlace

LABELS = (".cls", ".json")  # files that hold a sample's label
NAMES = ("classnames.txt", "classes.txt")  # beside the shards: the names that numbers stand for, one on a line
NUMBER, INTEGER, WHOLE = re.compile(r"[+-]?\d+(\.\d*)?"), re.compile(r"[+-]?\d+"), re.compile(r"\.0*$")
TARS = (".tar", ".tar.gz", ".tgz")


def list_tar(path: str, options: DataOptions) -> Listing:
    """The images of one tar: samples where it has labels beside images, else an image folder."""
    archive = Path(path)
    entries = list(tar_entries(archive, LABELS))
    if _are_samples(entries):
        listing = _listing([_Shard(archive, entries)], archive, plain_name(archive), options)
        return replace(listing, rows=[row._replace(split=None) for row in listing.rows])  # there is none beside it
    return list_archive(archive, ((entry.name, entry.place) for entry in entries))


def tar_images(path: str) -> SourceImages:
    """The members of a tar, for a table that names them."""
    archive = Path(path)
    entries = list(tar_entries(archive, LABELS))
    if _are_samples(entries):
        return _images([_Shard(archive, entries)], path)
    return archive_images(archive, ((entry.name, entry.place) for entry in entries))


def list_shards(path: str, options: DataOptions) -> Listing:
    """The samples of all shards that `path` names: a folder of them, or a pattern such as `train-{000..127}.tar`."""
    root = Path(path)
    folder = root.name if root.is_dir() else re.sub(r"[-_.]*[{*?\[].*", "", root.name) or root.parent.name
    return _listing(_shards(path), root, folder or "data", options)


def shard_images(path: str) -> SourceImages:
    """The images of all shards that `path` names, with or without labels beside them, for a table that names them."""
    return _images(_shards(path), path)


def _shards(path: str) -> list[_Shard]:
    """The shards that `path` names; raises DataError where one is not there."""
    root = Path(path)
    if root.is_dir():
        files = sorted(p for p in root.rglob("*") if p.name.lower().endswith(TARS) and not is_junk(p.name))
    else:
        files = _expanded(path)
    return [_Shard(file, list(tar_entries(file, LABELS))) for file in files]


def _expanded(path: str) -> list[Path]:
    files = [Path(name) for name in expand(path)]
    lost = next((file for file in files if not file.is_file()), None)
    if lost is not None or not files:
        raise DataError(
            f"data.path: {path} names {counted(len(files), 'shard')}, and {lost or 'none'} is not there. Expected "
            "those that are there, such as train-{000..127}.tar for 128 of them."
        )
    return files


def _are_samples(entries: Sequence[Entry]) -> bool:
    """Whether a tar has labels beside its images: a text, or a record in which a column of labels would be found."""
    if any(entry.name.endswith(".cls") for entry in entries):
        return True
    images = {_key(e.name) for e in entries if PurePosixPath(e.name).suffix.lower() in image_endings()}
    if len({key.rpartition("/")[0] for key in images}) != 1:  # class folders, whatever else is known of an image
        return False
    records = (entry for entry in entries if entry.name.endswith(".json") and _key(entry.name) in images)
    return any(_has_label(entry) for entry in records)


def _has_label(entry: Entry) -> bool:
    try:
        record = json.loads(entry.text or b"{}")
    except ValueError:  # of another kind, in an image folder
        return False
    return isinstance(record, dict) and not record.keys().isdisjoint(USUAL["label"])


def _key(name: str) -> str:
    """What the files of one sample have in common: their folder, and their name up to the first dot."""
    last = name.rpartition("/")[2]
    return name[: len(name) - len(last)] + last.partition(".")[0]


def is_pattern(path: str) -> bool:
    """Whether a path names several files: braces, or a star."""
    return path.lower().endswith(TARS) and bool(set("{*?[") & set(path))


def are_shards(folder: Path) -> bool:
    """Whether a folder holds tars alone, or folders of such."""
    inside = [p for p in folder.iterdir() if not is_junk(p.name) and p.suffix.lower() not in {".txt", ".json", ".md"}]
    return bool(inside) and all(
        any(q.name.lower().endswith(TARS) for q in p.iterdir()) if p.is_dir() else p.name.lower().endswith(TARS)
        for p in inside
    )


@dataclass(frozen=True)
class _Shard:
    """A tar and the files in it."""

    file: Path
    entries: list[Entry]


@dataclass
class _Sample:
    """Files of one name up to the first dot."""

    images: list[tuple[str, ImagePlace]] = field(default_factory=list)
    cls: str = ""
    record: dict[str, Any] = field(default_factory=dict)


def _listing(shards: Sequence[_Shard], root: Path, name: str, options: DataOptions) -> Listing:
    classes = _class_names(shards[0].file.parent) if shards else ()
    label = (options.columns.label if options.columns is not None else None) or ""
    tops = {shard.file: root if root.is_dir() else shard.file.parent.parent for shard in shards}
    splits = {file: split_said(file, top) for file, top in tops.items()}
    rows, unlabelled = [], []
    found = list(_named(shards))
    texts = [_said(shard, unique, partial(_label, sample, label)) for shard, sample, unique, _ in found]
    numbered = all(NUMBER.fullmatch(text) for text in texts if text)
    for (shard, _, unique, place), text in zip(found, texts, strict=True):
        own = _said(shard, unique, partial(_class, text, numbered, classes))
        if own:
            rows.append(Row(unique, place, own, splits[shard.file]))
        else:
            unlabelled.append(unique)
    if not any(texts):
        raise DataError(
            f"data.path: {root}: none of its {counted(len(unlabelled), 'image')} has a label beside it. Expected a "
            "file KEY.cls, or KEY.json with a label in it, for each KEY.jpg; or an image folder in one tar."
        )
    lost = [f"{counted(len(unlabelled), 'image')} without a label left out, such as {one}" for one in unlabelled[:1]]
    refused = one_class_said(root, {row.label for row in rows}, len(unlabelled))
    return Listing(name, root, rows, (*lost, *_several_said(one for _, one, _, _ in found)), refused=refused)


def _images(shards: Sequence[_Shard], path: str) -> SourceImages:
    return SourceImages(path, {unique: place for _, _, unique, place in _named(shards)})


def _named(shards: Sequence[_Shard]) -> Iterator[tuple[_Shard, _Sample, str, ImagePlace]]:
    """Every image of the shards and its sample, called by a name that no other has."""
    found = [(shard, _samples(shard)) for shard in shards]
    names = Counter(n for _, samples in found for one in samples for n, _ in one.images)
    distinct = max(names.values(), default=0) <= 1
    for shard, samples in found:
        for sample in samples:
            for own, place in sample.images:
                yield shard, sample, own if distinct else f"{plain_name(shard.file)}/{own}", place


def _samples(shard: _Shard) -> list[_Sample]:
    """The samples of a shard, in its order."""
    samples: dict[str, _Sample] = {}
    for entry in shard.entries:
        name = member_name(shard.file, entry.name)
        last = PurePosixPath(name).name
        if is_junk(last):
            continue
        sample = samples.setdefault(_key(name), _Sample())
        if name.endswith(".cls"):
            sample.cls = (entry.text or b"").decode("utf-8", "replace").strip()
        elif name.endswith(".json"):
            sample.record = _record(shard, entry)
        elif PurePosixPath(name).suffix.lower() in image_endings():
            sample.images.append((name, entry.place))
    return [sample for sample in samples.values() if sample.images]


def _record(shard: _Shard, entry: Entry) -> dict[str, Any]:
    try:
        value = json.loads(entry.text or b"{}")
    except ValueError as error:
        raise DataError(f"data.path: {shard.file}: its member {entry.name} is no JSON ({error}). Mend it.") from None
    return value if isinstance(value, dict) else {}


def _said(shard: _Shard, image: str, ask: Callable[[], str]) -> str:
    """What is said of an image; raises DataError that names it where that cannot be meant."""
    try:
        return ask()
    except CellError as error:
        raise DataError(
            f"data.path: {shard.file}: {image!r} has {error}. Mend its label, or {' or '.join(NAMES)} beside it."
        ) from None


def _several_said(samples: Iterable[_Sample]) -> list[str]:
    """What to know of samples that hold more than one image: depth or a mask beside a photo is read as a photo too."""
    several = {id(one): one for one in samples if len(one.images) > 1}
    if not several:
        return []
    names = " and ".join(name for name, _ in next(iter(several.values())).images[:2])
    return [
        f"{counted(len(several), 'sample')} with several images, each of which is read as one of the sample's class, "
        f"such as {names}"
    ]


def _label(sample: _Sample, named: str) -> str:
    """What a sample says of its class; "" for nothing."""
    said: Any = sample.cls
    if named or not said:
        keys = (named,) if named else USUAL["label"]
        said = next((sample.record[key] for key in keys if sample.record.get(key) is not None), "")
    return text_of(said)


def _class(said: str, numbered: bool, classes: Sequence[str]) -> str:
    """The class that a sample's text stands for; where all texts are `numbered`, 1.0 is 1, and -1 none."""
    if numbered:
        said = WHOLE.sub("", said)
    if said == str(UNKNOWN) or (INTEGER.fullmatch(said) and (classes or numbered)):
        own = class_of(int(said), classes)
        return own if classes or not own else said
    return said


def _class_names(folder: Path) -> tuple[str, ...]:
    for name in NAMES:
        file = folder / name
        if file.is_file():
            try:
                names = [line.strip() for line in file.read_text(encoding=encoding_of(file)).splitlines()]
            except (OSError, UnicodeError) as error:
                raise DataError(f"data.path: {file} cannot be read ({error}). Expected a name on each line.") from None
            while names and not names[-1]:
                names.pop()
            if "" in names:
                raise DataError(
                    f"data.path: {file}: line {names.index('') + 1} is blank. Expected the name of the class "
                    f"{names.index('')}, by whose place its number is known."
                )
            return tuple(names)
    return ()
