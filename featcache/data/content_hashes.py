"""Places in, content hashes (sha256) out: remembered by place, size and modification time, nothing is read twice.

Beside them stands what became of each content when it was read, so that it need not be read to know it again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featcache.atomic import write_text
from featcache.data.file_formats import HEAD_BYTES, may_exceed_8_bits
from featcache.errors import DiskFullError
from featcache.places import ImagePlace, NoContentError, head_and_sha256
from featcache.records import digest

log = logging.getLogger("featcache")


@dataclass(frozen=True)
class ContentNote:
    """What is to be said of a content that could be read."""

    pages: int = 1  # or frames; the first is read
    repaired: str = ""  # what of the file is broken
    truncated: bool = False  # its end is missing


class HashMemo:
    """The content hash of each image of a source, and what is known of each content: that it is unreadable, say.

    It is only a memo: losing the file costs one more reading. What concurrent writers learned of contents is joined.
    """

    def __init__(self, file: Path, *, refuse_truncated: bool = False) -> None:
        self.file = file
        self.refuse_truncated = refuse_truncated  # a content whose end is missing counts as bad
        self._files: dict[str, list[int | str]] = {}
        self._bad: dict[str, str] = {}
        self._notes: dict[str, dict[str, Any]] = {}  # of contents that could be read
        self._ranges: dict[str, dict[str, Any] | None] = {}  # of the values of contents that may have high bits
        self._high: set[str] = set()  # contents that may have values of more than 8 bits, by their first bytes
        self._high_known = True  # of every file that is known
        self._decided: dict[str, Any] = {}
        self._transient: dict[str, str] = {}
        self._changed = False
        memo = _read(file)
        if memo is not None:
            self._files, self._bad = memo["files"], memo["bad"]
            self._notes, self._ranges = memo.get("notes", {}), memo.get("ranges", {})
            self._high, self._high_known = set(memo.get("high", ())), "high" in memo
            self._decided = memo.get("decided", {})

    def sha256(self, places: Sequence[ImagePlace], workers: int) -> list[str]:
        """The sha256 (hex) of each image's bytes, in the order of `places`; raises OSError as `open` does.

        Where no bytes can be had it is a digest of the place, a content that is known to be bad.
        """
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(self._one, places, chunksize=64))

    def bad_reason(self, sha256: str, reader: str) -> str | None:
        """Why this content could not be read by `reader` (a decoder's version) before, if it could not."""
        key = f"{reader}:{sha256}"
        reason = self._transient.get(sha256) or self._bad.get(key)
        if reason is None and self.refuse_truncated and self._notes.get(key, {}).get("truncated"):
            return str(self._notes[key]["repaired"])
        return reason

    def remember_bad(self, sha256: str, reader: str, reason: str) -> None:
        """This content cannot be read by `reader`."""
        self._bad[f"{reader}:{sha256}"] = reason
        self._changed = True

    def note(self, sha256: str, reader: str) -> ContentNote | None:
        """What is to be said of a content that `reader` read, where that was remembered."""
        known = self._notes.get(f"{reader}:{sha256}")
        return ContentNote(**known) if known is not None else None

    def remember_note(self, sha256: str, reader: str, note: ContentNote) -> None:
        """This is to be said of a content that `reader` read. Nothing to be said is remembered too where contents whose
        end is missing are refused: it tells those that were looked at."""
        if note != ContentNote() or self.refuse_truncated:
            plain = ContentNote()
            said = {k: v for k, v in asdict(note).items() if v != getattr(plain, k)}
            if self._notes.get(f"{reader}:{sha256}") != said:
                self._notes[f"{reader}:{sha256}"] = said
                self._changed = True

    def may_exceed_8_bits(self, sha256: str) -> bool:
        """Whether a content that was hashed here may have values of more than 8 bits."""
        return sha256 in self._high

    def value_range(self, sha256: str, reader: str) -> tuple[bool, dict[str, Any] | None]:
        """Whether the values of this content are known as `reader` sees them, and what is known of them."""
        key = f"{reader}:{sha256}"
        return key in self._ranges, self._ranges.get(key)

    def remember_range(self, sha256: str, reader: str, known: dict[str, Any] | None) -> None:
        """This is known of the values of a content; None where they have 8 bits."""
        self._ranges[f"{reader}:{sha256}"] = known
        self._changed = True

    @property
    def decided(self) -> Mapping[str, Any]:
        """What was decided of all contents together when they were last looked at."""
        return self._decided

    def decide(self, value: dict[str, Any]) -> None:
        """Remember what is decided now."""
        if value != self._decided:
            self._decided = value
            self._changed = True

    def remember_unread(self, sha256: str, reason: str) -> None:
        """This content could not be read from the disk just now: bad for this run, tried again in the next."""
        self._transient[sha256] = reason

    def forget(self, place: ImagePlace) -> None:
        """What is there is not what it was, whatever size and time say: hash it again."""
        self._files.pop(place.key, None)
        self._changed = True

    def save(self) -> None:
        """Write the memo, when it has anything new. It is only a memo: a full disk does not stop the work."""
        if not self._changed:
            return
        others = _read(self.file) or {}  # what another process has learned meanwhile
        value = {
            "files": self._files,
            "bad": {**others.get("bad", {}), **self._bad},
            "notes": {**others.get("notes", {}), **self._notes},
            "ranges": {**others.get("ranges", {}), **self._ranges},
            "high": sorted(self._high),
            "decided": self._decided,
        }
        try:
            write_text(self.file, json.dumps(value))
        except DiskFullError as error:
            log.warning("content hashes are not remembered: %s", error)
        else:
            self._changed = False

    def _one(self, place: ImagePlace) -> str:
        try:
            stamp, key = place.stamp(), place.key
            known = self._files.get(key)
            if stamp is not None and known is not None and known[:2] == [*stamp] and self._high_known:
                return str(known[2])
            # Read once more for a memo of before there were high bits.
            head, value = head_and_sha256(place, HEAD_BYTES)
        except NoContentError as error:
            value = digest(["no content", place.key])
            self.remember_unread(value, str(error))
            return value
        self._look_at(value, head)
        if stamp is not None:
            self._files[key] = [*stamp, value]
            self._changed = True
        return value

    def _look_at(self, sha256: str, head: bytes) -> None:
        if may_exceed_8_bits(head) and sha256 not in self._high:
            self._high.add(sha256)
            self._changed = True


def _read(file: Path) -> dict[str, Any] | None:
    """The memo in `file`; None where it is absent or damaged."""
    try:
        memo = json.loads(file.read_text())
        files, bad = dict(memo["files"]), dict(memo["bad"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not all(isinstance(entry, list) and len(entry) == 3 for entry in files.values()):
        return None
    return {**memo, "files": files, "bad": bad}
