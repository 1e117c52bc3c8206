"""A file in, the format that its first bytes show out: one that holds tensors to read, or the reason why not."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import Literal

from featcache.backbones.inert_unpickling import LEGACY_MAGIC
from featcache.counted_nouns import counted
from featcache.errors import WeightsError

Format = Literal["safetensors", "torch", "pickle"]

HEAD = 512  # bytes
MAX_TABLE = 100_000_000  # bytes, as safetensors itself allows

KERAS = (
    "It is a Keras model. featcache reads PyTorch's weights: export them from there, or take timm's copy of the network"
)
OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "It is a Git LFS pointer, not the file itself. Run `git lfs pull` where it came from"),
    (b"\x89HDF\r\n\x1a\n", KERAS),
    (b"\x93NUMPY", "It is a NumPy array. Save the tensors by name with torch.save or as .safetensors"),
    (b"\x1f\x8b", "It is compressed with gzip. Unpack it first"),
    (b"BZh", "It is compressed with bzip2. Unpack it first"),
    (b"\xfd7zXZ", "It is compressed with xz. Unpack it first"),
    (b"\x28\xb5\x2f\xfd", "It is compressed with zstd. Unpack it first"),
    (b"7z\xbc\xaf", "It is a 7-Zip archive. Unpack it first"),
    (b"Rar!", "It is a RAR archive. Unpack it first"),
    (b"GGUF", "It is a GGUF model of llama.cpp, which holds no image classifier"),
)


def file_format(path: Path) -> Format:
    """How the tensors in the file `path` are stored; raises WeightsError with the one reason where it holds none."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    size = path.stat().st_size
    if not head:
        raise refusal(path, "It is empty: the download or the copy failed. Fetch it again")
    for beginning, reason in OTHERS:
        if head.startswith(beginning):
            raise refusal(path, reason)
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise refusal(path, "It is a web page, not weights: the download got an error or a login page. Fetch it again")
    if head.startswith(b"PK"):
        return _zip_format(path)
    names_end = 8 + int.from_bytes(head[:8], "little")  # of a .safetensors file's table
    if head[8:9] == b"{" and names_end < MAX_TABLE:
        if names_end > size:
            raise refusal(path, f"It breaks off after {counted(size, 'byte')}: the download was cut. Fetch it again")
        return "safetensors"
    if head.startswith(LEGACY_MAGIC):
        return "torch"
    if head[4:8] == b"TFL3":
        raise refusal(path, "It is a TensorFlow Lite model. featcache reads PyTorch's weights")
    if path.suffix == ".onnx" or (head[:1] == b"\x08" and (b"pytorch" in head or b"onnx" in head.lower())):
        raise refusal(path, "It is an ONNX model: a graph, whose tensors have lost their names. Use the PyTorch file")
    if tarfile.is_tarfile(path):
        raise refusal(path, "It is a tar archive. Unpack it first, and name the file that was in it")
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "pickle"
    raise refusal(
        path,
        f"Its {counted(size, 'byte')} begin with {head[:8]!r}: neither what torch.save writes, nor .safetensors, nor "
        "a pickle",
    )


def _zip_format(path: Path) -> Format:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError):  # its table stands at its end
        raise refusal(
            path, f"It breaks off after {path.stat().st_size} bytes: the download was cut. Fetch it again"
        ) from None
    with archive:
        names = {name.partition("/")[2] or name for name in archive.namelist()} | set(archive.namelist())
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        out = path.with_name(f"{path.stem}_state.pth")
        raise refusal(
            path,
            "It is a TorchScript archive, a program with its weights. Where you trust it, this takes out the weights: "
            f"python -c \"import torch; torch.save(torch.jit.load('{path}').state_dict(), '{out}')\"",
        )
    if "data.pkl" in names:
        return "torch"
    if "model.weights.h5" in names:
        raise refusal(path, KERAS)
    if any(name.endswith(".npy") for name in names):
        raise refusal(path, "It is a NumPy archive (.npz), as JAX writes it. Use the network's PyTorch file")
    if "archive_format" in names or "models/model.json" in names:
        raise refusal(path, "It is a network exported by torch.export, not a state dict. Save network.state_dict()")
    raise refusal(path, "It is a zip archive that torch.save did not write. Unpack it first")


def refusal(path: Path, reason: str) -> WeightsError:
    """The error for a file that cannot be used."""
    return WeightsError(f"model.weights: {path} cannot be read. {reason}. Expected {EXPECTED}.")


EXPECTED = "a state dict or a training checkpoint, saved by torch.save or as .safetensors"
