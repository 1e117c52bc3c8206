"""What is fuzzed: bytes go to a reader, and an error of featcache's own is all that may come of them.

`bin/fuzz TARGET` runs one by atheris, which looks for bytes that reach new lines. A crash is kept beside the corpus.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from featcache.backbones.checkpoint_file import read_checkpoint as read_weights
from featcache.data import survey
from featcache.data.image_files import read_picture
from featcache.data.unreadable_image import UnreadableImageError
from featcache.errors import FeatcacheError
from featcache.options import load_options
from featcache.options.data_options import DataOptions
from featcache.records import BackboneInfo, Identity, Preprocessing, WeightsOrigin
from featcache.store import FeatureStore
from featcache.store.verification import describe, verify
from heads.leaderboard import rank_results
from heads.runs import load_run_record
from heads.runs.run_model import read_checkpoint
from heads.search.sweep_options import load_sweep

ROOT = Path(__file__).resolve().parents[2]
Target = Callable[[bytes], None]
PLACE = Path(tempfile.mkdtemp(prefix="featcache-fuzz-"))
EXPECTED = (FeatcacheError, UnreadableImageError)
logging.disable(logging.CRITICAL)


def written(name: str, data: bytes) -> Path:
    """A file of these bytes."""
    file = PLACE / name
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_bytes(data)
    return file


def options(data: bytes) -> None:
    """An options file."""
    load_options(written("options.json", data))


def sweeps(data: bytes) -> None:
    """A sweep's file."""
    load_sweep(written("sweep.json", data))


def manifests(data: bytes) -> None:
    """A table that names images."""
    file = written("tables/table.csv", data)
    survey(DataOptions(path=str(file)), PLACE / "cache")


def images(data: bytes) -> None:
    """An image, decoded where it is: atheris follows no other process."""
    read_picture(data, timeout_s=None)


def stores(data: bytes) -> None:
    """A store's file."""
    file = written(f"stores/{info().identity.stem}.h5", data)
    describe(verify(file))
    store = FeatureStore.at(file)
    store.read(list(store.rows())[:3])


def checkpoints(data: bytes) -> None:
    """A run's best_model.pth, and a file that model.weights names."""
    file = written("run/best_model.pth", data)
    try:
        read_checkpoint(file.parent)
    except FeatcacheError:
        read_weights(file)


def summaries(data: bytes) -> None:
    """A run's summary.json, alone in a results folder."""
    file = written("results/run/summary.json", data)
    if not (file.parent / "performance.json").exists():
        (file.parent / "performance.json").write_text(json.dumps(PERFORMANCE))
    load_run_record(file.parent)
    rank_results(file.parent.parent)


def info() -> BackboneInfo:
    """Of the store that is the seed."""
    identity = Identity("net", "custom", "w", Preprocessing(32, 36), "input of fc", "float32", "auto")
    return BackboneInfo(identity, 4, 7, WeightsOrigin("random", "random(0)"))


def seeds(target: str) -> list[bytes]:
    """What atheris begins with."""
    return SEEDS[target]()


def image_seeds() -> list[bytes]:
    """One of each format that is decoded without a process of its own, and a few more."""
    found = []
    picture = Image.fromarray(np.arange(12 * 8 * 3, dtype=np.uint8).reshape(8, 12, 3))
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "TGA", "ICO", "JPEG2000"):
        file = io.BytesIO()
        picture.save(file, kind)
        found.append(file.getvalue())
    return found


def store_seeds() -> list[bytes]:
    """A store of three rows."""
    folder = PLACE / "seed"
    store = FeatureStore(folder, info())
    with store.writing() as writer:
        writer.append([f"{n:064x}" for n in range(3)], np.arange(12, dtype=np.float32).reshape(3, 4))
    data = store.path.read_bytes()
    shutil.rmtree(folder)
    return [data]


def checkpoint_seeds() -> list[bytes]:
    """What torch writes, in both of its formats."""
    found = []
    for new in (True, False):
        file = io.BytesIO()
        torch.save({"head": {"weight": torch.ones(2)}, "classes": ["a"]}, file, _use_new_zipfile_serialization=new)
        found.append(file.getvalue())
    return found


def summary_seeds() -> list[bytes]:
    """A summary.json as a hand-made run has it."""
    from made_runs import save_run

    folder = save_run(PLACE / "seed-runs", "run", range(50))
    data = (folder / "summary.json").read_bytes()
    shutil.rmtree(folder.parent)
    return [data]


PERFORMANCE = {
    **{"latency_ms": {"mean": 1.0, "p95": 2.0, "batch_size": 1}, "macs": 5, "device": "d", "precision": "float32"},
    **{"params_backbone": 7, "params_head": 4, "images_per_second": 9.0, "head_seconds": 1.0},
}
TARGETS: dict[str, Target] = {
    "options": options,
    "sweeps": sweeps,
    "manifests": manifests,
    "images": images,
    "stores": stores,
    "checkpoints": checkpoints,
    "summaries": summaries,
}
SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "options": lambda: [file.read_bytes() for file in (ROOT / "configs").glob("*.json") if "schema" not in file.name],
    "sweeps": lambda: [file.read_bytes() for file in (ROOT / "configs" / "sweeps").glob("*.json")],
    "manifests": lambda: [b"path,label,split\na.png,x,train\nb.png,y,val\n", b"path\tlabel\na.png\tx\n"],
    "images": image_seeds,
    "stores": store_seeds,
    "checkpoints": checkpoint_seeds,
    "summaries": summary_seeds,
}


def one(target: str, data: bytes) -> None:
    """Give `data` to a target; raises what is a fault of featcache."""
    with contextlib.suppress(*EXPECTED):
        TARGETS[target](data)
