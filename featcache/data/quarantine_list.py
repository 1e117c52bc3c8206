"""A manifest in, the manifest of what can be read as an image out; the rest is listed with its reason."""

from __future__ import annotations

import csv
import io
import logging
from pathlib import Path

from featcache.atomic import write_text
from featcache.counted_nouns import counted
from featcache.data.content_hashes import HashMemo
from featcache.data.file_formats import READER
from featcache.data.image_order import by_name
from featcache.errors import DataError
from featcache.options import DataOptions
from featcache.records import SPLITS, BadImage, Manifest, digest

log = logging.getLogger("featcache")


def quarantine(
    manifest: Manifest, memo: HashMemo, options: DataOptions, cache_dir: Path
) -> tuple[Manifest, tuple[BadImage, ...]]:
    """The manifest less what `memo` knows to be unreadable, and that; listed in `quarantine/*.csv` under `cache_dir`.

    Raises DataError when more than `max_bad_fraction` of the files is bad, or a class has none left in a split.
    """
    bad = tuple(
        BadImage(i.name, i.sha256, reason)
        for i in by_name(manifest.images)
        if (reason := memo.bad_reason(i.sha256, READER)) is not None
    )
    file = _file(manifest, cache_dir)
    if not bad:
        file.unlink(missing_ok=True)  # what it listed has been mended or removed
        return manifest, ()
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "reason", "sha256"])
    table.writerows([b.name, b.reason, b.sha256] for b in bad)
    write_text(file, text.getvalue())
    fraction = len(bad) / len(manifest.images)
    first = "; ".join(f"{b.name}: {b.reason}" for b in bad[:3]) + (f"; and {len(bad) - 3} more" if len(bad) > 3 else "")
    if fraction > options.max_bad_fraction:
        raise DataError(
            f"{manifest.root}: {len(bad)} of {counted(len(manifest.images), 'file')} ({fraction:.1%}) cannot be read "
            f"as images, more than data.max_bad_fraction ({options.max_bad_fraction:.1%}): {first}. The list is "
            f"{file}. "
            "Mend or remove them, or raise the limit."
        )
    log.warning(
        "%s: %d of %s left out as unreadable (%s); the list is %s",
        manifest.name,
        len(bad),
        counted(len(manifest.images), "file"),
        first,
        file,
    )
    left = readable(manifest, memo)
    _require_readable(manifest, left, file)
    return left, bad


def _require_readable(manifest: Manifest, left: Manifest, file: Path) -> None:
    """Raise DataError where nothing of a split, or of a class in train, can be read; of classes elsewhere, say so."""
    gone = {(i.split, i.label) for i in manifest.images} - {(i.split, i.label) for i in left.images}
    there = {i.split for i in left.images}
    for split in SPLITS:
        for label, name in enumerate(manifest.classes):
            if (split, label) not in gone:
                continue
            line = f"no image of the class {name!r} in {split} can be read"
            if split == "train" or split not in there:
                raise DataError(f"{manifest.root}: {line}. The list is {file}. Mend some of them.")
            log.warning("%s: %s: figures of %s leave the class out", manifest.name, line, split)


def readable(manifest: Manifest, memo: HashMemo) -> Manifest:
    """The manifest less what `memo` knows to be unreadable."""
    return manifest.without({i.sha256 for i in manifest.images if memo.bad_reason(i.sha256, READER) is not None})


def quarantined(manifest: Manifest, cache_dir: Path) -> tuple[BadImage, ...]:
    """What the list under `cache_dir` says of the data set's folder; nothing where there is no list."""
    file = _file(manifest, cache_dir)
    if not file.is_file():
        return ()
    with file.open(newline="", encoding="utf-8") as stream:
        return tuple(BadImage(row["path"], row["sha256"], row["reason"]) for row in csv.DictReader(stream))


def _file(manifest: Manifest, cache_dir: Path) -> Path:
    return cache_dir / "quarantine" / f"{manifest.name}-{digest(str(manifest.root))[:8]}.csv"
