"""The plugin of pytest by which a proof orders its tests, limits each, and tells and records each as it ends."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

LIMIT = 60  # seconds of a test
AGAIN = 77  # exit code: the device is broken for this process
LAST = "compiled"  # in the name of a test: a minute each, where nothing is compiled yet
# In turns, so that a run cut short has seen something of each; in each file the first test is the most important.
FIRST = (
    "test_heads_on_the_gpu.py",
    "test_extraction_on_the_gpu.py",
    "test_finetune_on_the_gpu.py",
    "test_head_options_on_the_gpu.py",
    "test_several_gpus.py",
)


class Proof:
    """A plugin of pytest."""

    def __init__(self, out: Path, seconds: float, terminal: TextIO) -> None:
        self.out, self.terminal = out, terminal
        self.end = time.monotonic() + seconds
        self.records = out / "tests.jsonl"
        self.begin, self.outcome, self.why = 0.0, "", ""
        self.warnings: Counter[str] = Counter()

    def say(self, text: str) -> None:
        print(text, file=self.terminal, flush=True)

    def write(self, test: str, outcome: str, seconds: float = 0.0, why: str = "") -> None:
        with self.records.open("a") as file:
            record = {"test": test, "outcome": outcome, "seconds": round(seconds, 2), "why": why}
            file.write(json.dumps(record) + "\n")

    @pytest.hookimpl(trylast=True)  # after -m and -k
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        known = known_outcomes(self.records)
        places: Counter[str] = Counter()
        ordered = []
        for item in items:
            file = item.path.name
            turn = (LAST in item.name, places[file], FIRST.index(file) if file in FIRST else len(FIRST))
            places[file] += 1
            ordered.append((turn, item))
        ordered.sort(key=lambda pair: pair[0])
        items[:] = [item for _, item in ordered if known.get(item.nodeid, "planned") == "planned"]
        for item in items:
            if item.nodeid not in known:
                self.write(item.nodeid, "planned")
        self.say(f"{len(items)} tests")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        left = self.end - time.monotonic()
        if left < 2:
            item.session.shouldstop = "the time for tests is up"
        limit = max(1.0, min(LIMIT, left))
        self.begin, self.outcome, self.why = time.monotonic(), "passed", ""
        self.write(item.nodeid, "begun")
        signal.signal(signal.SIGALRM, too_long)
        signal.setitimer(signal.ITIMER_REAL, limit)
        faulthandler.dump_traceback_later(limit + 15, exit=True, file=self.terminal)  # where no exception gets through
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.cancel_dump_traceback_later()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed" and self.outcome != "failed":
            self.outcome = report.outcome
            self.why = reason(report)
        if report.when != "teardown":
            return
        seconds = time.monotonic() - self.begin
        self.write(report.nodeid, self.outcome, seconds, self.why)
        name = report.nodeid.rpartition("/")[2]
        self.say(f"{self.outcome:8s}{seconds:6.1f} s  {name}{short(self.why)}")
        if self.outcome == "failed" and not device_works():
            self.say("the device is broken for this process")
            os._exit(AGAIN)

    def pytest_warning_recorded(self, warning_message: Any) -> None:
        self.warnings[f"{warning_message.category.__name__}: {str(warning_message.message)[:200]}"] += 1

    def pytest_sessionfinish(self) -> None:
        for text, count in self.warnings.most_common(12):
            self.say(f"warned {count} times: {text[:160]}")


def too_long(number: int, frame: object) -> None:
    """The test's limit is over."""
    raise TimeoutError("the test took longer than its limit")


def reason(report: pytest.TestReport) -> str:
    """Why a test was skipped; of a failure the last lines."""
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    return "\n".join(str(report.longrepr).splitlines()[-40:])


def short(why: str) -> str:
    """The last lines that say what was wrong; all of it is in tests.jsonl."""
    lines = [line for line in why.splitlines() if line.startswith("E  ")] or why.splitlines()
    return "".join(f"\n{line[:200]:>10s}" for line in lines[-4:]) if len(lines) > 1 else f": {why[:300]}" if why else ""


def known_outcomes(records: Path) -> dict[str, str]:
    """What is known of each test."""
    if not records.is_file():
        return {}
    return {r["test"]: r["outcome"] for r in map(json.loads, records.read_text().splitlines())}


def device_works() -> bool:
    """A failed kernel can leave CUDA broken for the rest of the process."""
    import torch

    if os.environ["FEATCACHE_GPU_TEST_DEVICE"] == "cpu":
        return True
    try:
        torch.cuda.synchronize()
        return bool((torch.ones(8, device="cuda") + 1).sum().item() == 16)
    except RuntimeError:
        return False
