"""The GPU tests in one process of pytest: the most important first, each within a limit, each told as it ends.

Takes the output folder, the seconds that are left and pytest's -k. What `tests.jsonl` has of an earlier process is not
run again: a test that broke the device, or hung, is there as begun.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from pathlib import Path

import carried_packages

ROOT = Path(__file__).resolve().parents[2]
NO_DEVICE = 2


def gpu_files() -> list[str]:
    """The test files with a GPU test."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file) for file in files if re.search(r"^(pytestmark|@).*\bgpu\b", file.read_text(), re.MULTILINE)]


def main() -> int:
    out, seconds, chosen = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    carried_packages.append_carried()
    terminal = os.fdopen(os.dup(1), "w", buffering=1)
    begin = time.monotonic()
    import pytest
    from proof_plugin import Proof
    from torch_state import add_torch_state

    if not add_torch_state(out, os.environ["FEATCACHE_GPU_TEST_DEVICE"], terminal):
        return NO_DEVICE
    print(f"PyTorch and the device are ready after {time.monotonic() - begin:.0f} s", file=terminal, flush=True)
    os.chdir(ROOT)
    proof = Proof(out, seconds - (time.monotonic() - begin), terminal)
    options = ["-m", "gpu", "-qq", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist"]
    # Warnings of other versions than those that this was written with are counted, and no failures here.
    options += ["-W", "default", "-o", "addopts=--strict-markers", *(["-k", chosen] if chosen else [])]
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):  # `proof` tells
        code = pytest.main([*options, *gpu_files()], plugins=[proof])
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
