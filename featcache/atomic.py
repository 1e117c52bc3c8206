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
    DiskFullError where there is no room, OutputError where a folder is called so.
    """
    make_folder(path.parent)
    if path.is_dir():
        raise in_the_way(path)
    temporary = _beside(path)
    try:
        with raising_disk_full(path):
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def raising_disk_full(path: Path) -> Iterator[None]:
    """DiskFullError, with what to do, where `path` could not be written for want of room."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # HDF5 raises either
        if not _no_room(error):
            raise
        free = shutil.disk_usage(path.parent).free
        raise DiskFullError(
            f"{path}: no room to write it ({free / 1e6:.0f} MB are free on that disk, unless a quota or a limit on the "
            "size of files says less). Free some space, or choose another place with --cache-dir or --results-dir."
        ) from error


def in_the_way(path: Path) -> OutputError:
    """What to say of a folder that stands where featcache has a file of its own."""
    return OutputError(
        f"{path}: is a folder, and featcache has a file of this name there. Move it elsewhere, or choose another place "
        "with --cache-dir or --results-dir."
    )


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")


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


def write_named(path: Path, text: str, option: str) -> None:
    """`write_text` to the file that a user named by `option`; raises OutputError where it cannot be written."""
    require_writable(path, option)
    try:
        write_text(path, text)
    except OSError as error:
        raise _unwritable(path, option, error) from None


def require_writable(path: Path, option: str) -> None:
    """Raise OutputError unless the file that a user named by `option` can be written: a folder or a device is never
    replaced by it. The folder that it is in is made."""
    if os.path.isdir(path):  # noqa: PTH112  (Path raises for names that are too long)
        raise OutputError(f"{option} {path}: is a folder. Expected the name of a file.")
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
        raise OutputError(f"{option} {path}: is a device or a pipe, whose place it would take. Name another file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _beside(path).touch()
        _beside(path).unlink()
    except OSError as error:
        raise _unwritable(path, option, error) from None


def _unwritable(path: Path, option: str, error: OSError) -> OutputError:
    return OutputError(f"{option} {path}: cannot be written ({error.strerror}). Name another file.")


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
