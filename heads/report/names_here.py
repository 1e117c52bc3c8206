"""Images of runs and audits on other sources of the same images, by the names that the page has for them."""

from __future__ import annotations

from collections.abc import Sequence

from featcache.records import ImageRecord


def names_here(names: Sequence[str], contents: Sequence[str], images: Sequence[ImageRecord]) -> tuple[str, ...]:
    """What `images` call those of these `names` and content hashes, each `[N]`; of copies the one of the same name,
    else one of val, where what a page shows stands. What none of them holds keeps its name.

    A name alone says nothing: another source may call another image so.
    """
    known = {image.name: image.sha256 for image in images}
    of_content = {image.sha256: image.name for image in sorted(images, key=lambda image: image.split == "val")}
    pairs = zip(names, contents, strict=True)
    return tuple(name if known.get(name) == content else of_content.get(content, name) for name, content in pairs)
