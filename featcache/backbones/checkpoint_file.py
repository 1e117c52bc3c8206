"""A checkpoint's files in, all that they hold out: tensors by name, settings, and the names of what was left out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from featcache.backbones.checkpoint_formats import file_format, refusal
from featcache.backbones.checkpoint_path import parts_of
from featcache.backbones.inert_unpickling import HarmfulPickleError, Inert, read_pickle, read_tensors, torch_reads_alone
from featcache.errors import WeightsError


@dataclass(frozen=True)
class CheckpointFile:
    """What lies in a checkpoint, unchanged."""

    path: Path
    content: Any  # mappings and lists of tensors and plain values, as they were saved
    left_out: tuple[str, ...] = ()  # classes that the file names, whose objects were not made


def read_checkpoint(path: Path) -> CheckpointFile:
    """What `path` holds, or the shards of its index together; no code of the file runs.

    Raises WeightsError with one reason where it cannot be read.
    """
    parts = parts_of(path)
    if len(parts) == 1:
        content, left_out = _read(parts[0])
        return CheckpointFile(path, content, left_out)
    together: dict[str, Any] = {}
    names: set[str] = set()
    for part in parts:
        content, left_out = _read(part)
        if not isinstance(content, Mapping):
            raise refusal(part, "It is one of several shards and holds no tensors by name")
        together.update(content)
        names.update(left_out)
    return CheckpointFile(path, together, tuple(sorted(names)))


def _read(path: Path) -> tuple[Any, tuple[str, ...]]:
    """One file's content, and the classes that it names and that are not made."""
    try:
        kind = file_format(path)
    except OSError as error:
        raise refusal(path, f"The file cannot be opened ({error.strerror or type(error).__name__})") from None
    left_out: set[str] = set()
    try:
        if kind == "safetensors":
            from safetensors.torch import load_file

            return load_file(path), ()
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a network's source that has changed, which nobody runs
            content = read_tensors(file, left_out) if kind == "torch" else read_pickle(file, left_out)
    except HarmfulPickleError as error:
        raise WeightsError(
            f"model.weights: {path} is not read: it names {error}, which would run code on this machine. Nothing of it "
            "was run. No weights need that: do not open the file elsewhere, and take the weights from another place."
        ) from None
    except Exception as error:  # pickle, zip, safetensors and torch each raise their own
        raise refusal(path, _reason(error, kind)) from None
    return content, tuple(sorted(left_out))


def _reason(error: Exception, kind: str) -> str:
    """What went wrong, in words of this project: the libraries' own advise to read the file unsafely."""
    text = str(error).lower()
    cut = ("eof", "truncated", "ran out of", "not fully covered", "incomplete", "central directory", "corrupted")
    if isinstance(error, EOFError) or any(word in text for word in cut):
        return "It breaks off early: the download or the copy was cut. Fetch it again"
    if isinstance(error, MemoryError):
        return "It says that it is larger than this machine's memory"
    if kind == "torch" and torch_reads_alone():
        return "PyTorch's own reader refuses it, and TORCH_FORCE_WEIGHTS_ONLY_LOAD is set, which allows no other"
    if kind == "torch" and isinstance(error, AttributeError):
        return "It holds numbers of a kind that is not read here, such as float8 or uint16, or is damaged"
    what = {"safetensors": "a .safetensors file", "torch": "a file of torch.save", "pickle": "a pickle"}[kind]
    return f"It begins as {what} and does not go on so: it is damaged ({type(error).__name__})"


def whole_network(content: Any) -> tuple[str, str] | None:
    """Where a whole pickled network lies in `content`, as Python that leads there, and its class."""
    if isinstance(content, Inert) and "_modules" in content.fields:
        return "", content.path
    if isinstance(content, Mapping):
        for key, value in content.items():
            if isinstance(value, Inert) and "_modules" in value.fields:
                return f"[{str(key)!r}]", value.path
    return None


def settings(content: Any) -> dict[str, Any]:
    """The plain settings at the top of a checkpoint and in what stands for its objects, such as `args`."""
    if isinstance(content, Inert):
        return content.fields
    if isinstance(content, Mapping):
        return {str(k): v for k, v in content.items() if not isinstance(v, Tensor)}
    return {}
