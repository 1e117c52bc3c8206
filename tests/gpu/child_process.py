"""A process of the proof: its lines go to the terminal and to a log as they come; at its deadline it is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

WIDEST = 400  # characters of a line on the terminal


class Child:
    """Started at once, with all that it starts in a process group of its own."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._pass_on, daemon=True)
        self._reader.start()

    def _pass_on(self) -> None:
        assert self._process.stdout is not None
        with self._log.open("a") as log:
            for line in self._process.stdout:
                print(line if len(line) <= WIDEST else f"{line[:WIDEST]} ..\n", end="", flush=True)
                log.write(line)
                log.flush()

    def say(self, line: str) -> None:
        """One line to its standard input."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it may have ended
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def wait(self, deadline: float) -> int | None:
        """Its exit code; None where it had to be killed at the deadline (of the monotonic clock)."""
        try:
            code: int | None = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print("gpu-proof: the time is up", flush=True)
            code = None
        self.kill()
        return code

    def kill(self) -> None:
        """It and everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(2)
