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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY
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


@pytest.fixture
def quick(config: Config) -> Callable[..., dict[str, Any]]:
    """The same of a network that does not keep anybody waiting."""

    def make(**sections: dict[str, Any]) -> dict[str, Any]:
        model = {"backbone": TINY, "pretrained": True, "input_size": 32}
        return config("quick", model=model, profile={"iterations": 1, "warmup": 0}, **sections)

    return make


class Processes:
    """Extractions and commands in forks of one process that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self.server = subprocess.Popen(
            [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, options: dict[str, Any]) -> Process:
        """An extraction that begins now."""
        file = self._output().with_suffix(".json")
        file.write_text(json.dumps(options))
        return self._begin(options=str(file), commit_seconds=COMMIT_SECONDS)

    def command(self, *arguments: str | Path) -> Process:
        return self._begin(arguments=[str(a) for a in arguments])

    def ask(self, **request: Any) -> int:
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def _begin(self, **request: Any) -> Process:
        output = self._output()
        return Process(self, self.ask(output=str(output), **request), output)

    def _output(self) -> Path:
        self._count += 1
        return self._folder / f"output {self._count}"


@dataclass(frozen=True)
class Process:
    """One of them; until somebody waits for it, its id is its own."""

    processes: Processes
    id: int
    output: Path

    def send(self, what: signal.Signals) -> None:
        os.kill(self.id, what)

    def runs(self) -> bool:
        """Whether it still works; one that has ended is a zombie until it is waited for."""
        return Path(f"/proc/{self.id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

    def wait(self) -> tuple[int, str, str]:
        """How it ended, and what it said."""
        code = self.processes.ask(wait=self.id)
        out, err = (Path(f"{self.output}.{ending}").read_text() for ending in ("out", "err"))
        return code, out, err

    def counts(self) -> tuple[dict[str, int], str]:
        """Of an extraction that must succeed."""
        code, out, err = self.wait()
        assert code == 0, err
        found: dict[str, int] = json.loads(out)
        return found, err


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    made = Processes(tmp_path_factory.mktemp("output"))
    yield made
    assert made.server.stdin is not None and made.server.stdout is not None
    made.server.stdin.close()
    assert made.server.wait(timeout=60) == 0
    made.server.stdout.close()


def run_here(options: dict[str, Any]) -> Extraction:
    return extract(parse_options(options), allow_custom=True)


def committed(store: FeatureStore) -> set[str]:
    """Contents whose rows are safe: in the file, or in a part."""
    return set(store.rows()) | {s for part in store.parts.read() if not part.spec for s in part.sha256}


def everything(extraction: Extraction) -> np.ndarray:
    hashes = sorted({i.sha256 for i in extraction.manifest.images})
    return extraction.store.read(hashes)


@pytest.mark.slow
def test_extractions_killed_at_thirty_random_instants(
    processes: Processes, slow: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    whole = run_here(slow(cache={"dir": str(tmp_path / "whole")}))
    for seed in range(100, 130):
        options = slow(cache={"dir": str(tmp_path / f"killed {seed}")})
        process = processes.start(options)
        time.sleep(random.Random(seed).uniform(0.2, SLOW_SECONDS + 0.8))  # from before the first row to after the last
        process.send(signal.SIGKILL)
        process.wait()
        check_resumed(options, whole)


def check_resumed(options: dict[str, Any], whole: Extraction) -> int:
    """That an extraction goes on after a kill as if there had been none; how many rows were safe."""
    store = FeatureStore(options["cache"]["dir"], whole.info)
    safe = committed(store)
    resumed = run_here(options)
    assert resumed.new == IMAGES - len(safe)
    assert np.array_equal(everything(resumed), everything(whole))  # bit for bit
    assert verify(store.path).ok
    assert not store.parts.files()
    return len(safe)


def test_a_killed_extraction_goes_on_where_it_was(
    processes: Processes, slow: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """As soon as it has begun, and between two commits."""
    whole = run_here(slow(cache={"dir": str(tmp_path / "whole")}))
    early, later = (slow(cache={"dir": str(tmp_path / name)}) for name in ("early", "later"))
    process = processes.start(early)
    while not (tmp_path / "early").exists():
        assert process.runs()
        time.sleep(0.005)
    process.send(signal.SIGKILL)
    process.wait()
    assert check_resumed(early, whole) < IMAGES
    process = processes.start(later)
    while not list((tmp_path / "later").glob("*.parts/*.npz")):
        assert process.runs()
        time.sleep(0.02)
    process.send(signal.SIGKILL)
    process.wait()
    assert 0 < check_resumed(later, whole) < IMAGES


def test_an_interrupted_command_keeps_its_rows_and_says_how_to_go_on(
    processes: Processes, slow: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    options = slow(cache={"batch_size": 2})  # 42 passes: some are committed long before the last
    file = tmp_path / "slow.json"
    file.write_text(json.dumps(options))
    process = processes.command("extract", file, "--allow-custom")
    cache = Path(options["cache"]["dir"])
    while not list(cache.glob("*.parts/*.npz")):
        assert process.runs()
        time.sleep(0.02)
    process.send(signal.SIGINT)
    code, _, err = process.wait()
    assert code == 130
    assert "run the same command again" in err and "Traceback" not in err
    assert 0 < run_here(options).reused < IMAGES


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_that_extract_the_same_share_the_rows(
    processes: Processes, slow: Callable[..., dict[str, Any]], tmp_path: Path, count: int
) -> None:
    done = [process.counts() for process in [processes.start(slow()) for _ in range(count)]]
    assert sum(counts["new"] for counts, _ in done) == IMAGES
    assert all(counts["new"] + counts["reused"] == IMAGES for counts, _ in done)
    assert sum("another process is extracting it; waiting" in err for _, err in done) == count - 1
    assert np.array_equal(
        everything(run_here(slow())), everything(run_here(slow(cache={"dir": str(tmp_path / "alone")})))
    )


def test_training_goes_on_while_another_process_extracts(
    processes: Processes, slow: Callable[..., dict[str, Any]], tmp_path: Path, digits: Path
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
    process = processes.start(slow(data={"path": str(more)}))
    while not list((tmp_path / "cache").glob("*.parts/*.npz")):
        time.sleep(0.02)
    run = train_model(options, results_dir=tmp_path / "results", allow_custom=True)
    assert run.metrics["val_top1"] >= 0
    counts, _ = process.counts()
    assert counts == {"new": 72, "reused": 0}
    assert len(run_here(options).store.rows()) == IMAGES + 72


def test_the_lock_of_a_dead_process_blocks_nobody(
    processes: Processes, slow: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    process = processes.start(slow())
    while not list((tmp_path / "cache").glob("*.parts/*.npz")):
        time.sleep(0.02)
    process.send(signal.SIGKILL)
    process.wait()
    begin = time.monotonic()
    counts, err = processes.start(slow()).counts()
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
    quick: Callable[..., dict[str, Any]], tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featcache.store.row_writer.COMMIT_SECONDS", 0.0)
    whole = run_here(quick(cache={"dir": str(tmp_path / "whole")}))
    options = quick()
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
    quick: Callable[..., dict[str, Any]], digits: Path
) -> None:
    first = run_here(quick())
    before = first.store.path.read_bytes()
    Image.new("RGB", (50, 40), "blue").save(digits / "train" / "digit 3" / "added.png")
    with largest_file(20_000), pytest.raises(DiskFullError):
        run_here(quick())
    assert first.store.path.read_bytes() == before
    assert run_here(quick()).new == 0  # its row was committed as a part


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
