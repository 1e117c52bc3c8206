"""Images whose decoders may hang, crash or eat the memory are decoded by processes of their own, which can be killed.

JPEG, PNG, GIF, BMP, WebP and TIFF of one page in strips, whose decoders take a time that pixels and bytes bound, are
decoded where they are asked for; everything else is sent here. A process starts in a quarter of a second, without
torch, and serves again.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from featcache.data.guard_process import MEMORY_BYTES, OUT_OF_MEMORY, put, take
from featcache.data.tiff_directory import is_bounded_tiff
from featcache.data.truncated_files import START_OF_SCAN, segments
from featcache.data.unreadable_image import GivenUpError
from featcache.errors import WorkError

DECODE_TIMEOUT_S = 60.0  # no honest image within the limits of pixels takes a third of it
START_S = 120.0  # for a process on a busy machine to begin
MAX_SCANS = 32  # of a JPEG: writers make about ten; each is a pass over all pixels, and a file may have 100,000
MAX_GIF_BYTES = 4 << 20  # whose frames are counted in a few seconds, however small they are

Result = TypeVar("Result")
_idle: list[_Guard] = []


def is_suspect(data: bytes) -> bool:
    """Whether the time or memory that an image file takes is not bounded by its pixels and bytes."""
    if data.startswith(b"\xff\xd8\xff"):
        return not _has_one_scan(data) and data.count(b"\xff\xda") > MAX_SCANS
    if data.startswith((b"GIF87a", b"GIF89a")):
        return len(data) > MAX_GIF_BYTES
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    bounded = webp or data.startswith((b"\x89PNG\r\n\x1a\n", b"BM")) or is_bounded_tiff(data)
    return not bounded and len(data) > 0


def _has_one_scan(data: bytes) -> bool:
    """Whether a JPEG is a plain one, all of whose colours come with its first scan: what else there is, is not read."""
    colours = None
    for kind, body in segments(data):
        if kind in {0xC0, 0xC1} and len(body) > 5:
            colours = body[5]
        elif kind == START_OF_SCAN:
            return bool(body) and body[0] == colours
    return False


def within_limits(function: Callable[..., Result], arguments: tuple[Any, ...], seconds: float) -> Result:
    """What `function`, which lies at the top of a module, makes of `arguments` in a process that is killed after
    `seconds`, and has 6 GiB of memory. Raises UnreadableImageError as it does, GivenUpError at a limit, WorkError where
    no process can be started."""
    guard = _idle_or_new()
    try:
        answered, value = guard.ask(function, arguments, seconds)
    except BaseException:
        guard.end()
        raise
    _idle.append(guard)
    if isinstance(value, Exception) and not answered:
        raise value
    result: Result = value
    return result


class _Guard:
    """One process that decodes, and the way to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.connection = Connection(ours.detach())
        self.memory = _memory_file()
        program = _PROGRAM.format(path=sys.path, fd=theirs.fileno(), memory=self.memory)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", program],
                pass_fds=(theirs.fileno(), self.memory),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the command's to handle
            )
        except OSError as error:
            self._close()
            raise WorkError(
                f"no process can be started to decode images in ({error}). Expected {sys.executable} to be Python, and "
                "processes to be allowed; data.decode_timeout_s: null decodes without."
            ) from None
        finally:
            theirs.close()

    def ask(self, function: Callable[..., Any], arguments: tuple[Any, ...], seconds: float) -> tuple[bool, Any]:
        """Whether it returned or raised, and what; raises GivenUpError."""
        try:
            put(self.memory, (function, arguments, seconds))
            self.connection.send(True)
            if not self.connection.poll(seconds):
                raise GivenUpError(f"its decoder had not ended after {seconds:g} s (data.decode_timeout_s)")
            self.connection.recv()
            answer: tuple[bool, Any] = take(self.memory)
        except (EOFError, ConnectionError):
            raise GivenUpError(_why_it_died(self.process.wait())) from None
        return answer

    def ready(self) -> bool:
        """Wait until it has begun."""
        try:
            return self.connection.poll(START_S) and bool(self.connection.recv())
        except (EOFError, ConnectionError):
            return False

    def end(self) -> None:
        """Kill it."""
        self._close()
        self.process.kill()
        self.process.wait()

    def _close(self) -> None:
        self.connection.close()
        os.close(self.memory)


def _memory_file() -> int:
    """A file without a name, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("featcache")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


_PROGRAM = """
import sys, types, importlib
sys.path[:] = {path!r}
import featcache
rooms = types.ModuleType("featcache.data")  # its door would bring torch in, and seconds with it
rooms.__path__ = [entry + "/data" for entry in featcache.__path__]
sys.modules["featcache.data"] = rooms
importlib.import_module("featcache.data.guard_process").serve({fd}, {memory})
"""


def _idle_or_new() -> _Guard:
    while _idle:
        try:
            guard = _idle.pop()
        except IndexError:  # another thread was faster
            break
        if guard.process.poll() is None:
            return guard
        guard.end()
    guard = _Guard()
    if not guard.ready():
        guard.end()
        raise WorkError(
            f"the process that images are decoded in did not begin ({sys.executable}). data.decode_timeout_s: null "
            "decodes without."
        )
    return guard


def _why_it_died(code: int) -> str:
    if code == OUT_OF_MEMORY:
        return f"its decoder wanted more than {MEMORY_BYTES >> 30} GiB of memory"
    if code == -signal.SIGXCPU:
        return "its decoder ran beyond data.decode_timeout_s"
    if code == -signal.SIGKILL:
        return "the process that decoded it was killed: is there enough memory?"
    return f"its decoder crashed (signal {-code})" if code < 0 else f"its decoder ended its process (code {code})"


def _end_all() -> None:
    while _idle:
        _idle.pop().end()


def _forget() -> None:
    """In a fork: they are the parent's."""
    for guard in _idle:
        guard.process.returncode = 0  # not ours to wait for
        os.close(guard.memory)
    _idle.clear()


atexit.register(_end_all)
os.register_at_fork(after_in_child=_forget)
