"""What a file is by its first bytes: which plugin reads it, and whether its values may have more than 8 bits."""

from __future__ import annotations

import contextlib
import importlib
import logging
import threading
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import PIL

HEAD_BYTES = 132  # of a file: enough to tell its format

RULES = 2  # raise it when another set of files can be read than before

# Endings of the formats that packages beside Pillow read; files are looked at whether these are installed or not.
ENDINGS = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl", ".dcm", ".dicom", ".ima"})

HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"}
GENERAL_BRANDS = {b"mif1", b"msf1", b"mif2", b"miaf"}  # of HEIF and AVIF alike
JXL_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"

_registering = threading.Lock()
_registered: set[str] = set()


class MissingPackageError(Exception):
    """A package that reads this format is not installed; the message names it and the extra that brings it."""


def installed(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _reader() -> str:
    """What decides whether a file can be read: it changes with every package that reads images."""
    beside = installed(("pillow-heif", "pillow-jxl-plugin", "pydicom", "tifffile"))
    return "+".join([f"pillow-{PIL.__version__}", f"rules-{RULES}", *(f"{p}-{v}" for p, v in beside.items())])


READER = _reader()


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins like this is a DICOM one."""
    return head[128:132] == b"DICM"


def is_heif(head: bytes) -> bool:
    """Whether a file that begins like this holds HEIC, and not AVIF, which Pillow reads by itself."""
    if head[4:8] != b"ftyp":
        return False
    size = int.from_bytes(head[:4], "big")
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))}
    return head[8:12] in HEIF_BRANDS or (head[8:12] in GENERAL_BRANDS and bool(brands & HEIF_BRANDS))


def is_jxl(head: bytes) -> bool:
    """Whether a file that begins like this is a JPEG XL one."""
    return head.startswith((b"\xff\x0a", JXL_CONTAINER))


def may_exceed_8_bits(head: bytes) -> bool:
    """Whether a file that begins like this may hold values of more than 8 bits: all but those known not to."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return head[24:25] == b"\x10"
    ordinary = head.startswith((b"\xff\xd8\xff", b"GIF8", b"BM")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    return not ordinary and head[4:8] != b"ftyp"  # HEIC and AVIF are given out in 8 bits


def prepare_plugin(head: bytes) -> None:
    """Have Pillow read the format of a file that begins like this; raises MissingPackageError where it cannot."""
    if is_heif(head):
        _register("pillow_heif", "HEIC", "pillow-heif")
    elif is_jxl(head):
        _register("pillow_jxl", "JPEG XL", "pillow-jxl-plugin")


def require_pydicom() -> None:
    """Raise MissingPackageError unless DICOM files can be read."""
    try:
        importlib.import_module("pydicom")
    except ImportError as error:
        raise MissingPackageError(missing_package("DICOM", "pydicom", "dicom", error)) from None
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # what matters raises


def _register(module: str, kind: str, package: str) -> None:
    with _registering:
        if module in _registered:
            return
        try:
            plugin: Any = importlib.import_module(module)
        except ImportError as error:
            raise MissingPackageError(missing_package(kind, package, "images", error)) from None
        if module == "pillow_heif":
            plugin.register_heif_opener(decode_threads=1)  # images are decoded side by side already
        else:
            settings: Any = importlib.import_module("pillow_jxl.JpegXLImagePlugin")
            settings.DECODE_THREADS = 0  # none beside the caller's
        _registered.add(module)


def missing_package(kind: str, package: str, extra: str, error: ImportError) -> str:
    """What to say where a `kind` of file needs a package that is not there, or whose import raised `error`."""
    if installed((package,)):
        return f"{kind} needs the package {package}, which is installed and cannot be imported ({error})"
    return f"{kind} needs the package {package}, which is not installed: pip install 'featcache[{extra}]'"
