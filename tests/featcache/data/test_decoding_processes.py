"""Processes that decode: the same pixels bit for bit, errors as in threads, one that is killed, a command that is."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from featcache.data.decoded_image import Task
from featcache.data.decoder import Decoded, Decoder
from featcache.data.decoding_processes import forget_processes
from featcache.extraction import extract
from featcache.options import parse_options
from featcache.options.augmentation_options import HorizontalFlip, RandomCrop
from featcache.places import FilePlace
from featcache.records import Preprocessing

Config = Callable[..., dict[str, Any]]
SMALL = Preprocessing(input_size=24, resize_size=28)


@dataclass(frozen=True)
class DeadlyPlace(FilePlace):
    """Whoever reads it is killed, but for the process whose number it knows."""

    spared: int = 0

    def read(self) -> bytes:
        if os.getpid() != self.spared:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read()


def tasks_of(folder: Path, views: tuple[int, ...] = (0,)) -> list[Task]:
    files = sorted(folder.rglob("*.png"))
    return [Task(hashlib.sha256(f.read_bytes()).hexdigest(), FilePlace.at(f), views) for f in files]


def decoded(decoder: Decoder, tasks: list[Task]) -> list[Decoded]:
    return [one for block in decoder.blocks(tasks, 16, 8, ahead=False) for one in block]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    forget_processes()


def test_processes_give_the_pixels_of_threads(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    text = Task(hashlib.sha256(b"no image").hexdigest(), FilePlace.at(tmp_path / "text.png"), (0,))
    gone = Task("00", FilePlace.at(tmp_path / "gone.png"), (0,))
    tasks = [*tasks_of(digits, (0, 1, 2)), text, gone]
    augmentations = (HorizontalFlip(name="horizontal_flip"), RandomCrop(name="random_crop"))
    threads, processes = (decoded(Decoder(SMALL, augmentations, 2, processes=p), tasks) for p in (False, True))
    assert [one.task for one in threads] == [one.task for one in processes]
    for a, b in zip(threads, processes, strict=True):
        assert (type(a.error), str(a.error), a.note) == (type(b.error), str(b.error), b.note)
        assert (a.images is None) == (b.images is None)
        assert all(torch.equal(x, y) for x, y in zip(a.images or (), b.images or (), strict=True))
    assert sum(one.error is not None for one in processes) == 2


def test_where_a_process_is_killed_threads_go_on_with_the_same_pixels(
    digits: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = tasks_of(digits)
    expected = decoded(Decoder(SMALL, (), 2), tasks)
    deadly = [
        Task(t.sha256, DeadlyPlace(t.place.key, os.getpid()), t.views) if n == 20 else t for n, t in enumerate(tasks)
    ]
    with caplog.at_level(logging.WARNING, "featcache"):
        found = decoded(Decoder(SMALL, (), 2, processes=True), deadly)
    assert len(found) == len(expected) == 84
    for a, b in zip(expected, found, strict=True):
        assert a.images is not None and b.images is not None and torch.equal(a.images[0], b.images[0])
    assert caplog.text.count("a process that decodes images died") == 1


@pytest.mark.slow
def test_rows_are_the_same_and_nothing_is_extracted_again(config: Config) -> None:
    def run(decoders: str) -> Any:
        model = {"backbone": "conftest:tiny_backbone", "pretrained": True}
        return parse_options(config(model=model, data={"decoders": decoders}))

    processes = extract(run("processes"), allow_custom=True)
    rows = processes.store.read(list(processes.store.rows()))
    assert processes.new == 84
    threads = extract(run("threads"), allow_custom=True)
    assert (threads.new, threads.reused) == (0, 84) and threads.store.path == processes.store.path
    assert run("threads").short == run("processes").short
    threads.store.path.unlink()
    again = extract(run("threads"), allow_custom=True)
    assert again.new == 84 and (again.store.read(list(again.store.rows())) == rows).all()


@pytest.mark.slow
def test_processes_end_with_the_command_that_is_killed(tmp_path: Path) -> None:
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    code = (
        "import hashlib, os, sys, time\n"
        "from pathlib import Path\n"
        "from featcache.data.decoding_processes import _processes\n"
        "if __name__ == '__main__':\n"
        "    pool = _processes(2)\n"
        "    print(*{pool.submit(os.getpid).result() for _ in range(20)}, flush=True)\n"
        "    time.sleep(60)\n"
    )
    script = tmp_path / "command.py"
    script.write_text(code)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        workers = [int(number) for number in command.stdout.readline().split()]
        assert workers
        command.kill()
    end = time.monotonic() + 10
    while any(map(_alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(_alive, workers))


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
