"""The processes of Ray that a test has begun, to be killed; nobody else's."""

from __future__ import annotations

import os
from pathlib import Path


def ray_processes(title: str, root: int | None = None) -> list[int]:
    """Those below the process `root`, by default this one, whose title has `title` in it, as in `ray::WorkerActor`."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if title in command and _is_below(int(folder.name), root or os.getpid()):
            found.append(int(folder.name))
    return sorted(found)


def _is_below(pid: int, root: int) -> bool:
    while pid > 1:
        if pid == root:
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
    return False
