"""Sources with bytes changed, missing or added anywhere: refused, or read but for the images that are hit."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from source_makers import Pictured, arrow_table, make_arrow, make_csv, make_parquet, make_tar, make_zip

from featcache.data.content_hashes import HashMemo
from featcache.data.sources import list_images
from featcache.errors import DataError
from featcache.options import DataOptions

THEM = [
    Pictured(f"{split}/{label}/{n}.png", random.Random(n).randbytes(300), label, split)
    for n in range(4)
    for split in ("train", "val", "test")
    for label in ("cat", "dog")
]
FILES = [(one.name, one.data) for one in THEM]
SAMPLES = [part for one in THEM for part in ((one.name, one.data), (f"{one.name[:-4]}.cls", one.label.encode()))]


def _arrays(file: Path) -> Path:
    np.savez_compressed(file, images=np.zeros((24, 5, 5, 3), np.uint8), labels=np.arange(24) % 2)
    return file


def _records(file: Path) -> Path:
    file.write_text("\n".join(json.dumps({"path": one.name, "label": one.label}) for one in THEM))
    return file


MAKERS: dict[str, Callable[[Path], Path]] = {
    "x.zip": lambda file: make_zip(file, FILES),
    "x.tar": lambda file: make_tar(file, FILES),
    "x.tar.gz": lambda file: make_tar(file, FILES),
    "samples.tar": lambda file: make_tar(file, SAMPLES),
    "x.parquet": lambda file: make_parquet(file, arrow_table(THEM)),
    "x.arrow": lambda file: make_arrow(file, arrow_table(THEM)),
    "x.csv": lambda file: make_csv(file, ["path", "label"], [(one.name, one.label) for one in THEM]),
    "x.jsonl": _records,
    "x.npz": _arrays,
}


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Some bytes of a file changed, taken out or put in; mostly near its ends, where its tables are."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 10))):
        reach = rng.choice((len(changed), min(len(changed), 500)))
        place = rng.randrange(reach) if rng.random() < 0.5 else len(changed) - 1 - rng.randrange(reach)
        changed[place : place + rng.choice((1, 1, 1, 0, 90))] = rng.randbytes(rng.choice((1, 1, 1, 30, 0)))
        changed = changed or bytearray(b"x")
    return bytes(changed)


@pytest.mark.parametrize("kind", MAKERS)
def test_damage_is_refused_or_stays_with_the_images_that_it_hit(tmp_path: Path, kind: str) -> None:
    for name, data in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    whole = MAKERS[kind](tmp_path / kind)
    options = DataOptions(path=str(whole))
    assert len(list_images(str(whole), options).rows) == len(THEM)
    rng, data = random.Random(kind), whole.read_bytes()
    for _ in range(40):
        whole.write_bytes(damaged(data, rng))
        try:
            listing = list_images(str(whole), options)
        except DataError as refused:
            assert kind in str(refused)
            continue
        memo = HashMemo(tmp_path / "memo.json")
        hashes = memo.sha256([row.place for row in listing.rows], 1)
        for row, sha256 in zip(listing.rows, hashes, strict=True):
            if memo.bad_reason(sha256, "") is None:
                row.place.read()
