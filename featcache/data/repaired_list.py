"""A manifest in, the list of files out that are broken and were read in spite of it; and what else is to be said."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from featcache.atomic import write_text
from featcache.counted_nouns import counted
from featcache.data.content_hashes import ContentNote, HashMemo
from featcache.data.file_formats import READER
from featcache.data.image_files import read_picture
from featcache.data.image_order import by_name
from featcache.data.unreadable_image import UnreadableImageError
from featcache.options import DataOptions
from featcache.records import ImageRecord, Manifest, digest

log = logging.getLogger("featcache")


def list_repaired(manifest: Manifest, memo: HashMemo, cache_dir: Path) -> None:
    """Say how many files are broken or have several pages; list the broken ones in `repaired/*.csv` under `cache_dir`.

    They count as read, not as bad.
    """
    noted = [(i, note) for i in by_name(manifest.images) if (note := memo.note(i.sha256, READER)) is not None]
    paged = [(i, note.pages) for i, note in noted if note.pages > 1]
    if paged:
        log.info(
            "%s: %d of %s with several pages or frames, such as %s (%d): the first of each is read",
            manifest.name,
            len(paged),
            counted(len(manifest.images), "file"),
            paged[0][0].name,
            paged[0][1],
        )
    broken = [(i, note.repaired) for i, note in noted if note.repaired]
    file = cache_dir / "repaired" / f"{manifest.name}-{digest(str(manifest.root))[:8]}.csv"
    if not broken:
        file.unlink(missing_ok=True)
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "repaired", "sha256"])
    table.writerows([i.name, said, i.sha256] for i, said in broken)
    write_text(file, text.getvalue())
    log.warning(
        "%s: %d of %s broken, and read in spite of it (%s: %s); the list is %s",
        manifest.name,
        len(broken),
        counted(len(manifest.images), "file"),
        broken[0][0].name,
        broken[0][1],
        file,
    )


def look_for_truncated(manifest: Manifest, memo: HashMemo, options: DataOptions, known: Collection[str]) -> None:
    """Have `memo` know which of the `known` contents, whose rows are there already, lack their end; nothing to do where
    such files are read (data.truncated)."""
    if not memo.refuse_truncated:
        return
    images = {i.sha256: i for i in manifest.images if i.sha256 in known}
    unsure = [i for s, i in images.items() if memo.note(s, READER) is None and memo.bad_reason(s, READER) is None]
    if not unsure:
        return
    with ThreadPoolExecutor(options.workers or os.cpu_count() or 1) as pool:
        for image, note in zip(unsure, pool.map(partial(_note_of, options.decode_timeout_s), unsure), strict=True):
            if note is not None:
                memo.remember_note(image.sha256, READER, note)
    memo.save()


def _note_of(timeout_s: float | None, image: ImageRecord) -> ContentNote | None:
    """None where the file cannot be read: its row says that its content can be."""
    try:
        picture = read_picture(image.place.read(), timeout_s=timeout_s)
    except (OSError, UnreadableImageError):
        return None
    return ContentNote(picture.pages, picture.repaired, picture.truncated)
