"""One image's file becomes its views, wherever that is done: in a thread, or in a process for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from featcache.data.augmentations import view
from featcache.data.content_hashes import ContentNote
from featcache.data.guarded_decoding import DECODE_TIMEOUT_S
from featcache.data.image_files import read_picture
from featcache.data.unreadable_image import UnreadableImageError
from featcache.options import AugmentationSpec
from featcache.places import ImagePlace
from featcache.records import Preprocessing


@dataclass(frozen=True)
class Task:
    """One image content, and which of its views are wanted."""

    sha256: str
    place: ImagePlace
    views: tuple[int, ...]


class UnreadFileError(UnreadableImageError):
    """The file system failed, or the file is not what it was: that says nothing about the image."""


class ChangedFileError(UnreadFileError):
    """The file's bytes are no longer those that were hashed."""


def decode_file(
    task: Task,
    preprocessing: Preprocessing,
    augmentations: Sequence[AugmentationSpec],
    timeout_s: float | None = DECODE_TIMEOUT_S,
) -> tuple[tuple[Tensor, ...], ContentNote]:
    """The views of one image, each uint8 `[3, S, S]`, and what there is to say of its file; raises
    UnreadableImageError."""
    try:
        data = task.place.read()
    except OSError as error:
        raise UnreadFileError(error.strerror or str(error)) from None
    if hashlib.sha256(data).hexdigest() != task.sha256:
        raise ChangedFileError("the file changed after it was scanned; run again")
    picture = read_picture(data, preprocessing.depth, timeout_s)
    views = tuple(view(picture.image, task.sha256, v, augmentations, preprocessing) for v in task.views)
    return views, ContentNote(picture.pages, picture.repaired, picture.truncated)
