"""The images that a report names, numbered as they come up, with what is known of each."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from featcache.records import PLAIN_DEPTH, ImageRecord, Manifest
from heads.report.thumbnails import thumbnails


class Images:
    """Those that are mentioned so far, by the name they have below the data folder; of names that an audit of another
    source of the same images has `contents` are the hashes."""

    def __init__(self, manifest: Manifest | None, contents: Mapping[str, str]) -> None:
        images = manifest.images if manifest is not None else ()
        of_content = {image.sha256: image for image in images}
        self._known = {name: of_content[sha256] for name, sha256 in contents.items() if sha256 in of_content}
        self._known |= {image.name: image for image in images}
        self._depth = manifest.depth if manifest is not None else PLAIN_DEPTH
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The place of the image `name` on the page."""
        return self._numbers.setdefault(name, len(self._numbers))

    def numbers(self, names: Iterable[str]) -> list[int]:
        """Of several."""
        return [self.number(name) for name in names]

    def entries(self, cache_dir: Path) -> list[dict[str, Any]]:
        """Name, split, label and picture (WebP, base64; "" where there is none) of each, in their order."""
        records: list[ImageRecord | None] = [self._known.get(name) for name in self._numbers]
        pictures = thumbnails([r for r in records if r is not None], cache_dir, self._depth)
        return [
            {
                "name": name,
                "split": record.split if record is not None else "",
                "label": record.label if record is not None else -1,
                "picture": base64.b64encode(pictures.get(record.sha256, b"")).decode() if record is not None else "",
            }
            for name, record in zip(self._numbers, records, strict=True)
        ]
