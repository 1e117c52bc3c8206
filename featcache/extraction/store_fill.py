"""The images that options ask for beside the store of one backbone: which rows are there, which are missing."""

from __future__ import annotations

from dataclasses import dataclass

from featcache.data import READER, HashMemo, Task, spec_digest
from featcache.options import DataOptions, Options
from featcache.places import ImagePlace
from featcache.records import Manifest, digest
from featcache.store import FeatureStore


@dataclass(frozen=True)
class StoreFill:
    """One filling of a store: the images that are wanted, what is known of their files, and where their rows go."""

    options: Options
    manifest: Manifest
    memo: HashMemo
    store: FeatureStore

    @property
    def backbone(self) -> str:
        """Its name."""
        return self.store.info.identity.backbone

    @property
    def spec(self) -> str | None:
        """The store's name for the augmented views, if there are any."""
        return views_spec(self.options.data)

    def unreadable(self, sha256: str) -> bool:
        """Whether a content is known to be no image."""
        return self.memo.bad_reason(sha256, READER) is not None

    def readable_places(self) -> list[ImagePlace]:
        """Where the images are that are not known to be unreadable, in the manifest's order."""
        return [i.place for i in self.manifest.images if not self.unreadable(i.sha256)]

    def missing(self) -> list[Task]:
        """What the store lacks, each content once, in the order that it is read fastest in. Views are for images that
        train only."""
        readable = [s for s in dict.fromkeys(i.sha256 for i in self.manifest.images) if not self.unreadable(s)]
        plain = set(self.store.lacking(readable))
        augmented = set(self.store.lacking(readable, self.spec)) if self.spec else set()
        tasks: dict[str, Task] = {}
        for image in self.manifest.images:
            if image.sha256 in tasks:
                continue
            views: tuple[int, ...] = (0,) if image.sha256 in plain else ()
            # The manifest has train first, so a content in several splits meets its training copy first.
            if image.split in self.options.data.training_splits and image.sha256 in augmented:
                views += tuple(range(1, self.options.data.view_count))
            if views:
                tasks[image.sha256] = Task(image.sha256, image.place, views)
        return sorted(tasks.values(), key=lambda task: task.place.position)


def views_spec(data: DataOptions) -> str | None:
    """The store's name for the views that `data` asks for; None where there is only the plain one."""
    if data.view_count == 1:
        return None
    return digest([spec_digest(data.augmentations), data.view_count])[:8]
