"""What a file really is, by its first bytes, and what to do with one that is not read, or is not what its name says."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from featcache.errors import DataError

HEAD = 4096  # bytes that are looked at
ZIP_NAME = 30  # where the name of a zip's first member begins

_UNPACK = "Unpack it and name the folder, or make a zip or a tar.gz of it: those are read in place."
_ARRAYS = "save images and labels as arrays, numpy.savez('data.npz', images=.., labels=..), or pictures as files"
_SHEET = "Save the sheet as CSV: a row for each image, one column with its path and one with its label."


@dataclass(frozen=True)
class Kind:
    """A kind of file, in words, and what to do with one."""

    what: str
    todo: str  # {file} is its place


KINDS: dict[str, Kind] = {
    "empty": Kind("an empty file", "Fetch or make it anew: nothing was written to it."),
    "pointer": Kind(
        "a pointer of Git LFS, a few lines that stand for the file itself",
        "Fetch that: `git lfs pull` in the folder that was cloned.",
    ),
    "html": Kind(
        "an HTML page, as servers send it for a login or an error",
        "Look at it in a browser, and fetch the file that is meant.",
    ),
    "xml": Kind("an XML document, as servers send it for an error", "Look at what it says, and fetch the file anew."),
    "zip": Kind("a zip", "Call it .zip, or say so: data.path=zip:{file}"),
    "tar": Kind("a tar", "Call it .tar, or say so: data.path=tar:{file}"),
    "tar.gz": Kind("a gzipped tar", "Call it .tar.gz, or say so: data.path=tar:{file}"),
    "npz": Kind("arrays of NumPy (npz)", "Call it .npz, or say so: data.path=arrays:{file}"),
    "parquet": Kind("a Parquet file", "Call it .parquet."),
    "arrow": Kind("an Arrow file", "Call it .arrow."),
    "text": Kind("plain text", "If it is a table, call it .csv (.jsonl for JSON lines); else fetch the file anew."),
    "gzip": Kind("a gzipped file and no tar", "Unpack it with gunzip and name what comes of it."),
    "bzip2": Kind("compressed by bzip2, in which no image is found without reading all before it", _UNPACK),
    "xz": Kind("compressed by xz, in which no image is found without reading all before it", _UNPACK),
    "zstd": Kind("compressed by zstd", _UNPACK),
    "7z": Kind("a 7z archive", _UNPACK),
    "rar": Kind("a RAR archive", _UNPACK),
    "excel": Kind("a workbook of Excel", _SHEET),
    "old office": Kind("a document of an old Office, such as Excel 97", _SHEET),
    "opendocument": Kind("an OpenDocument spreadsheet", _SHEET),
    "npy": Kind("a single array of NumPy", f"Labels are wanted beside the images: {_ARRAYS}."),
    "matlab": Kind("a file of MATLAB", f"Load it (scipy.io.loadmat; h5py for version 7.3) and {_ARRAYS}."),
    "hdf5": Kind("an HDF5 file, in which everybody names things otherwise", f"Load it with h5py and {_ARRAYS}."),
    "pickle": Kind("a pickle, which may run any code when it is loaded", f"Load it where you trust it and {_ARRAYS}."),
    "pytorch": Kind("a file of torch.save", f"Load it where you trust it and {_ARRAYS}."),
    "tfrecord": Kind(
        "a TFRecord file, in which everybody names things otherwise",
        "Read it with TensorFlow and write the encoded images as files, as tar shards with KEY.jpg and KEY.cls, or as "
        "Parquet.",
    ),
    "sqlite": Kind("an SQLite database", "Export the table of images as CSV, with the images as files."),
    "pdf": Kind("a PDF", "Expected images, or a table that names them."),
    "image": Kind("a single image", "Name the folder of images: one folder in it for each class."),
}

# By the end of the name, the longest first where one ends as another does.
ENDINGS: dict[str, str] = {
    **dict.fromkeys((".bz2", ".tbz", ".tbz2"), "bzip2"),
    **dict.fromkeys((".xz", ".txz"), "xz"),
    **dict.fromkeys((".zst", ".tzst"), "zstd"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb"), "excel"),
    **dict.fromkeys((".h5", ".hdf5"), "hdf5"),
    **dict.fromkeys((".tfrecord", ".tfrecords"), "tfrecord"),
    **dict.fromkeys((".pkl", ".pickle"), "pickle"),
    **dict.fromkeys((".pt", ".pth"), "pytorch"),
    ".7z": "7z",
    ".rar": "rar",
    ".xls": "old office",
    ".ods": "opendocument",
    ".mat": "matlab",
    ".npy": "npy",
    ".gz": "gzip",
}

# The bytes that files of a kind begin with; the first that fit are taken.
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs.github.com/spec/", "pointer"),
    *((b"BZh%d1AY&SY" % level, "bzip2") for level in range(1, 10)),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"PAR1", "parquet"),
    (b"ARROW1\0\0", "arrow"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old office"),
    (b"\x93NUMPY", "npy"),
    (b"MATLAB 5.0 MAT-file", "matlab"),
    (b"MATLAB 7.3 MAT-file", "matlab"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"SQLite format 3\0", "sqlite"),
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF87a", "image"),
    (b"GIF89a", "image"),
    (b"II*\0", "image"),
    (b"MM\0*", "image"),
    *((b"\x80" + bytes([version]), "pickle") for version in (2, 3, 4, 5)),
)


def require_contents(file: Path, *expected: str) -> None:
    """Raise DataError where a file is plainly of another kind than those `expected`, the first of which its name says;
    what cannot be told may pass."""
    found = kind_of(file)
    if found is not None and found not in expected:
        kind = KINDS[found]
        raise DataError(
            f"data.path: {file} is {kind.what}, whatever its name says, and no {_called(expected[0])}. "
            f"{kind.todo.format(file=file)}"
        )


def not_read(file: Path, read: str) -> DataError:
    """What to say of a file of a kind that is none of those that are `read`."""
    ending = file.suffix.lower()
    claimed, found = ENDINGS.get(ending), kind_of(file)
    if found is None and claimed is not None:
        found = claimed
    what = f"a file of a kind that is not read ({ending or 'no ending'})"
    if found is None:
        return DataError(f"data.path: {file} is {what}. Expected {read}.")
    kind = KINDS[found]
    if claimed == found:
        return DataError(f"data.path: {file} is {kind.what}: {what}. {kind.todo.format(file=file)} Expected {read}.")
    return DataError(
        f"data.path: {file} is {kind.what}, whatever its name says, which is that of {what}. "
        f"{kind.todo.format(file=file)}"
    )


def kind_of(file: Path) -> str | None:
    """The kind of a file in KINDS, by its first bytes; None where they do not tell, or cannot be read."""
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError:
        return None
    if not head:
        return "empty"
    if head.startswith(b"PK\3\4"):
        return _kind_of_zip(head)
    if head.startswith(b"\x1f\x8b"):
        return "tar.gz" if _is_tar(_inflated(head)) else "gzip"
    if _is_tar(head):
        return "tar"
    magic = next((kind for start, kind in MAGIC if head.startswith(start)), None)
    if magic is not None or (head[:4], head[8:12]) != (b"RIFF", b"WEBP"):
        return magic if magic is not None else _kind_of_text(head)
    return "image"


def _kind_of_zip(head: bytes) -> str:
    """What is in a zip, by the name of its first member, which is the same in all of a kind."""
    name = head[ZIP_NAME : ZIP_NAME + int.from_bytes(head[26:28], "little")]
    if name == b"[Content_Types].xml":
        return "excel"
    if name == b"mimetype" and b"opendocument" in head[:200]:
        return "opendocument"
    if name.endswith(b".npy"):
        return "npz"
    return "pytorch" if name.endswith(b"/data.pkl") else "zip"


def _kind_of_text(head: bytes) -> str | None:
    """HTML, XML or any other text; None where it is none."""
    try:
        text = head.decode("utf-16" if head[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not only a letter that the end cuts
            return None
        text = head[: error.start].decode("utf-8", "replace")
    start = text.lstrip()[:100].lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<script")):
        return "html"
    if start.startswith("<?xml"):
        return "html" if "<html" in text.lower() else "xml"
    printable = all(letter >= " " or letter in "\t\r\n\f" for letter in text)
    return "text" if printable and not start.startswith("#!") else None  # an archive may follow a script


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _inflated(head: bytes) -> bytes:
    """The first bytes of what is gzipped."""
    try:
        return zlib.decompressobj(31).decompress(head, HEAD)
    except zlib.error:
        return b""


def _called(kind: str) -> str:
    """A kind without what is said of it."""
    return KINDS[kind].what.removeprefix("a ").removeprefix("an ")
