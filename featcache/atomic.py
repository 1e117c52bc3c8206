"""Files that are either whole or not there: written beside, synced, renamed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from featcache.errors import DiskFullError, OutputError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # the last is a limit on the size of one file


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; when the block ends well, what was written there becomes `path`.

    The file and its folder are synced, so that after a power cut `path` holds the old bytes or the new ones. Raises
    DiskFullError where there is no room.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except (OSError, RuntimeError) as error:  # HDF5 raises either
        if not _no_room(error):
            raise
        free = shutil.disk_usage(path.parent).free
        raise DiskFullError(
            f"{path}: no room to write it ({free / 1e6:.0f} MB are free on that disk, unless a quota or a limit on the "
            "size of files says less). Free some space, or choose another place with --cache-dir or --results-dir."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _no_room(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return True
    text = str(error)
    if "inline_container.cc" in text or "PytorchStreamWriter" in text:
        return True  # all that PyTorch says of a write that failed
    return any(int(n) in NO_ROOM for n in re.findall(r"errno = (\d+)", text))  # as HDF5 words it


def write_text(path: Path, text: str) -> None:
    """`path` holds exactly `text` (UTF-8) or what it held before."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_tensors(path: Path, value: object) -> None:
    """`path` holds what `torch.load` gives back as `value`, or what it held before."""
    import torch

    with replacing(path) as temporary:
        torch.save(value, temporary)


def make_folder(path: Path) -> None:
    """`path` exists as a folder that can be written; raises OutputError when it cannot."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK | os.X_OK)
    except OSError as error:
        raise OutputError(
            f"{path}: the folder cannot be made ({error.strerror}). Choose another with --cache-dir or --results-dir."
        ) from None
    if not writable:
        raise OutputError(f"{path}: the folder is not writable. Choose another with --cache-dir or --results-dir.")


def sync(path: Path) -> None:
    """The bytes of a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
