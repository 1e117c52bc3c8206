"""Real processes that are killed, starved of disk, interrupted, or run several at once: no row is lost or wrong."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcache.errors import DiskFullError
from featcache.extraction.one_backbone import Extraction, extract
from featcache.options.loading import parse_options
from featcache.store import FeatureStore
from featcache.store.verification import verify

Config = Callable[..., dict[str, Any]]
SCRIPT = Path(__file__).parent / "extraction_process.py"
IMAGES = 84
COMMIT_SECONDS = 0.05
SLOW_SECONDS = 0.1 * (IMAGES // 8 + 1)


@pytest.fixture
def slow(config: Config) -> Callable[..., dict[str, Any]]:
    """Options of an extraction that takes a second or so."""

    def make(**sections: dict[str, Any]) -> dict[str, Any]:
        model = {"backbone": "conftest:slow_backbone", "pretrained": True, "input_size": 32}
        return config("slow", model=model, profile={"iterations": 1, "warmup": 0}, **sections)

    return make


def start(options: dict[str, Any], folder: Path, count: int = 1) -> list[subprocess.Popen[str]]:
    """Extractions in other processes, which begin now, all at once."""
    file = folder / f"{options['experiment_name']}.json"
    file.write_text(json.dumps(options))
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(file), str(COMMIT_SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes


def finish(process: subprocess.Popen[str]) -> tuple[dict[str, int], str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out), err


def run_here(options: dict[str, Any]) -> Extraction:
    return extract(parse_options(options), allow_custom=True)


def committed(store: FeatureStore) -> set[str]:
    """Contents whose rows are safe: in the file, or in a part."""
    return set(store.rows()) | {s for part in store.parts.read() if not part.spec for s in part.sha256}


def everything(extraction: Extraction) -> np.ndarray:
    hashes = sorted({i.sha256 for i in extraction.manifest.images})
    return extraction.store.read(hashes)


def check_kills(slow: Callable[..., dict[str, Any]], tmp_path: Path, seeds: range) -> None:
    whole = run_here(slow(cache={"dir": str(tmp_path / "whole")}))
    for seed in seeds:
        options = slow(cache={"dir": str(tmp_path / f"killed {seed}")})
        (process,) = start(options, tmp_path)
        time.sleep(random.Random(seed).uniform(0.2, SLOW_SECONDS + 0.8))  # from before the first row to after the last
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        store = FeatureStore(tmp_path / f"killed {seed}", whole.info)
        safe = committed(store)
        resumed = run_here(options)
        assert resumed.new == IMAGES - len(safe)
        assert np.array_equal(everything(resumed), everything(whole))  # bit for bit
        assert verify(store.path).ok
        assert not store.parts.files()


def test_a_killed_extraction_goes_on_where_it_was(slow: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    check_kills(slow, tmp_path, range(3))


@pytest.mark.slow
def test_extractions_killed_at_thirty_random_instants(slow: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    check_kills(slow, tmp_path, range(100, 130))


def test_an_interrupted_command_keeps_its_rows_and_says_how_to_go_on(
    slow: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    options = slow(cache={"batch_size": 2})  # 42 passes: some are committed long before the last
    file = tmp_path / "slow.json"
    file.write_text(json.dumps(options))
    # Where tests run in the background, shells have Ctrl-C ignored, and processes inherit that.
    command = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "sys.path.insert(0, sys.argv.pop(1)); from featcache.app.main import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", command, str(Path(__file__).parents[2]), "extract", str(file), "--allow-custom"],
        stderr=subprocess.PIPE,
        text=True,
    )
    cache = Path(options["cache"]["dir"])
    while not list(cache.glob("*.parts/*.npz")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in err and "Traceback" not in err
    assert 0 < run_here(options).reused < IMAGES


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_that_extract_the_same_share_the_rows(
    slow: Callable[..., dict[str, Any]], tmp_path: Path, count: int
) -> None:
    done = [finish(p) for p in start(slow(), tmp_path, count)]
    assert sum(counts["new"] for counts, _ in done) == IMAGES
    assert all(counts["new"] + counts["reused"] == IMAGES for counts, _ in done)
    assert sum("another process is extracting it; waiting" in err for _, err in done) == count - 1
    assert np.array_equal(
        everything(run_here(slow())), everything(run_here(slow(cache={"dir": str(tmp_path / "alone")})))
    )


def test_training_goes_on_while_another_process_extracts(
    slow: Callable[..., dict[str, Any]], tmp_path: Path, digits: Path
) -> None:
    from heads import train_model

    options = slow()
    run_here(options)
    more = tmp_path / "more"
    for label in range(4):
        for split in ("train", "val", "test"):
            (more / split / f"digit {label}").mkdir(parents=True)
            for i in range(6):
                colour = (40 * label, 40 * i, {"train": 0, "val": 100, "test": 200}[split])
                Image.new("RGB", (40, 40), colour).save(more / split / f"digit {label}" / f"{i}.png")
    (process,) = start(slow(data={"path": str(more)}), tmp_path)
    while not list((tmp_path / "cache").glob("*.parts/*.npz")):
        time.sleep(0.02)
    run = train_model(options, results_dir=tmp_path / "results", allow_custom=True)
    assert run.metrics["val_top1"] >= 0
    counts, _ = finish(process)
    assert counts == {"new": 72, "reused": 0}
    assert len(run_here(options).store.rows()) == IMAGES + 72


def test_the_lock_of_a_dead_process_blocks_nobody(slow: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (process,) = start(slow(), tmp_path)
    while not list((tmp_path / "cache").glob("*.parts/*.npz")):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    begin = time.monotonic()
    counts, err = finish(start(slow(), tmp_path)[0])
    assert "waiting" not in err and counts["reused"] > 0
    assert time.monotonic() - begin < 60


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: what a full disk or a quota looks like to whoever writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1_000, 20_000], ids=["no part can be written", "parts can, the file cannot"])
def test_a_full_disk_keeps_what_is_committed(
    slow: Callable[..., dict[str, Any]], tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featcache.store.row_writer.COMMIT_SECONDS", 0.0)
    whole = run_here(slow(cache={"dir": str(tmp_path / "whole")}))
    options = slow()
    with largest_file(size), pytest.raises(DiskFullError, match=r"no room .* What is committed, \d+ rows?, is kept"):
        run_here(options)
    store = FeatureStore(options["cache"]["dir"], whole.info)
    safe = committed(store)
    assert (len(safe) == IMAGES) == (size == 20_000)
    assert not list(store.path.parent.rglob("*.tmp"))
    resumed = run_here(options)
    assert resumed.new == IMAGES - len(safe)
    assert np.array_equal(everything(resumed), everything(whole))
    assert verify(store.path).ok


def test_a_disk_that_fills_up_does_not_harm_the_file_that_is_there(
    slow: Callable[..., dict[str, Any]], digits: Path
) -> None:
    first = run_here(slow())
    before = first.store.path.read_bytes()
    Image.new("RGB", (50, 40), "blue").save(digits / "train" / "digit 3" / "added.png")
    with largest_file(20_000), pytest.raises(DiskFullError):
        run_here(slow())
    assert first.store.path.read_bytes() == before
    assert run_here(slow()).new == 0  # its row was committed as a part


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_small_tmpfs_that_is_full(slow: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    small = tmp_path / "small disk"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(small)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs here: {mounted.stderr.decode()}")
    try:
        whole = run_here(slow(cache={"dir": str(tmp_path / "whole")}))
        options = slow(cache={"dir": str(small)})
        with pytest.raises(DiskFullError, match="no room"):
            run_here(options)
        safe = committed(FeatureStore(small, whole.info))
        subprocess.run(["mount", "-o", "remount,size=20m", str(small)], check=True)
        resumed = run_here(options)
        assert resumed.new == IMAGES - len(safe)
        assert np.array_equal(everything(resumed), everything(whole))
        del resumed  # it holds a lock on that disk
    finally:
        subprocess.run(["umount", str(small)], check=True)
