"""What `model.weights` names on this machine in, the files to read and the key within them out."""

from __future__ import annotations

import json
import os
from pathlib import Path

from featcache.counted_nouns import counted, them
from featcache.errors import WeightsError

INDEX_ENDING = ".index.json"
ENDINGS = (".pth", ".pt", ".bin", ".safetensors", ".ckpt", ".tar", ".pkl", ".th", INDEX_ENDING)
# Others than those that can be read, so that their reason is said.
OTHER_ENDINGS = (".onnx", ".h5", ".keras", ".npz", ".pb", ".pt2", ".tflite")
WHOLE_FILES = ("model.safetensors", "pytorch_model.bin")  # in a folder that the hub's tools wrote


def names_file(weights: str) -> bool:
    """Whether `model.weights` means something on this machine, and no published weights."""
    path, _ = split_key(weights)
    return (
        str(path).endswith(ENDINGS + OTHER_ENDINGS)
        or os.sep in weights
        or path.is_file()
        or bool(path.is_dir() and _whole(path))
    )


def split_key(weights: str) -> tuple[Path, str | None]:
    """`file.pth:student` as the file and the key within it; a file that is really named so has none."""
    path = Path(weights).expanduser()
    before, colon, key = weights.rpartition(":")
    if not colon or path.exists() or not (before.endswith(ENDINGS) or Path(before).expanduser().exists()):
        return path, None
    return Path(before).expanduser(), key


def parts_of(path: Path) -> tuple[Path, ...]:
    """The files that hold the tensors of `path`: itself, or the shards of an index that is `path`, lies in the folder
    `path`, or lists `path` as one of several.

    Raises WeightsError for an index that cannot be followed, and for a folder without weights.
    """
    if path.is_dir():
        found = _whole(path)
        if found is None:
            raise WeightsError(
                f"model.weights: {path} is a folder without {', '.join(WHOLE_FILES)} or an index of shards "
                f"(*{INDEX_ENDING}). Name the file that holds the weights."
            )
        return _shards(found) if found.name.endswith(INDEX_ENDING) else (found,)
    if path.name.endswith(INDEX_ENDING):
        return _shards(path)
    for index in sorted(path.parent.glob(f"*{INDEX_ENDING}")):
        if path.name in _listed(index):
            return _shards(index)
    return (path,)


def _whole(folder: Path) -> Path | None:
    """What of the hub's tools' files stands for all weights in `folder`, .safetensors first."""
    places = (folder / (name + ending) for name in WHOLE_FILES for ending in (INDEX_ENDING, ""))
    return next((place for place in places if place.is_file()), None)


def _listed(index: Path) -> list[str]:
    """The shards that an index lists; none where it is no index."""
    try:
        names = json.loads(index.read_bytes())["weight_map"].values()
        return sorted({str(name) for name in names})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _shards(index: Path) -> tuple[Path, ...]:
    names = _listed(index)
    if not names:
        raise WeightsError(
            f'model.weights: {index} is no index of shards. Expected JSON with "weight_map", as Hugging Face writes it.'
        )
    for name in names:
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise WeightsError(
                f"model.weights: {index} lists the shard {name!r}, which leaves its folder. Expected names of files "
                "beside it: take the index from its source again."
            )
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise WeightsError(
            f"model.weights: {index} lists {counted(len(names), 'shard')} and {len(missing)} of them "
            f"{'does' if len(missing) == 1 else 'do'} not lie beside it: {', '.join(missing[:3])}. Fetch "
            f"{them(len(missing))} too."
        )
    return tuple(index.parent / name for name in names)
