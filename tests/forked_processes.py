"""Processes that are forked from one that has imported torch, since a fresh interpreter takes seconds to."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import fvcore.nn  # noqa: F401
import timm  # noqa: F401
from PIL import Image

Image.init()  # its plugins; all of these featcache imports late, and every process would again

Request = dict[str, Any]


def serve(work: Callable[[Request], int], outputs: Callable[[Request], tuple[str, str]]) -> None:
    """Answer each JSON line of standard input: {"wait": ID} by how that process ended, below 0 by a signal; any other
    request by the id of a process that does its `work`, whose standard output and error go to the files `outputs`."""
    gc.collect()
    gc.freeze()  # a collection in a forked process would copy every page of what was imported
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
            continue
        process = os.fork()
        if not process:
            _begin(*outputs(request))
            _end(work, request)
        print(process, flush=True)
    gc.unfreeze()  # or packages would complain that their objects are left over


def _begin(out: str, err: str) -> None:
    """In the forked process: its streams, and Ctrl-C, which shells have ignored in the background."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    os.dup2(os.open(out, flags, 0o644), 1)
    os.dup2(1 if err == out else os.open(err, flags, 0o644), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(work: Callable[[Request], int], request: Request) -> None:
    """Do the work and leave with its exit code, whatever happens."""
    code = 1
    try:
        code = work(request)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
