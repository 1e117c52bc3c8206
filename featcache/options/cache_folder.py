"""Where a cache lies: in a folder, or at a URL of an object store, which has a folder on this machine beside it.

Images' hashes, lists of unreadable files, pictures and locks belong to one machine; so does everything but the stores
of a cache that is at a URL. Its folder's name is the URL itself, quoted: whoever has the folder knows the URL.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote

from featcache.errors import OptionsError

MARK = "://"
LONGEST = 240  # of a folder's name; most file systems allow 255 bytes
SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "memory")  # places where a file is there whole or not at all


def is_url(cache_dir: str | Path) -> bool:
    """Whether a cache is named by a URL."""
    return MARK in str(cache_dir)


def cache_folder(cache_dir: str | Path) -> Path:
    """The folder of a cache on this machine: the cache itself, or what belongs to a URL, below `$XDG_CACHE_HOME`
    (`~/.cache`). Raises OptionsError for a URL that a cache cannot be at."""
    text = str(cache_dir)
    if not is_url(text):
        return Path(cache_dir)
    scheme, _, rest = text.partition(MARK)
    if scheme == "file":
        return Path(unquote(rest))
    if scheme not in SCHEMES or not rest.strip("/"):
        raise OptionsError(
            f"cache.dir {text}: is no place for a cache. Expected a folder, or a URL such as s3://bucket/cache "
            f"({', '.join(SCHEMES)}, file)."
        )
    name = quote(text.rstrip("/"), safe="")
    if len(name) > LONGEST:
        raise OptionsError(f"cache.dir {text}: is too long by {len(name) - LONGEST} characters. Choose a shorter path.")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "featcache" / name


def cache_url(folder: Path) -> str | None:
    """The URL that `cache_folder` made this folder for; None for any other."""
    url = unquote(folder.name)
    return url if is_url(url) else None


def cache_name(folder: Path) -> str:
    """What to write down so that `cache_folder` finds the same cache, from another working directory too."""
    return cache_url(folder) or str(folder.resolve())
