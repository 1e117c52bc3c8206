"""An environment of its own for each tool, made on first use; torch, torchvision and timm are those of featcache's."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

PACKAGES = {
    "featcache": None,
    "featcache_small": None,
    "featcache_head": None,
    "timm": None,
    "fastai": "fastai",
    "lightning": "lightning",
    "autogluon": "autogluon.multimodal",
}
"""What each tool needs beside featcache's own packages."""
OLDER_TORCH = {"autogluon"}
"""Tools that install a torch of their own, older than featcache's: they run with featcache's as all do."""


def interpreter(tool: str, folder: Path) -> Path:
    """The Python that runs this tool; raises CalledProcessError where its package cannot be installed."""
    package = PACKAGES[tool]
    if package is None:
        return Path(sys.executable)
    home = folder / tool
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(home)], check=True)
        # pip finds what featcache has already, and adds what is missing to this environment alone.
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        (home / "lib" / version / "site-packages" / "featcache.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", package], check=True)
        if tool in OLDER_TORCH:
            subprocess.run([str(python), "-m", "pip", "uninstall", "--quiet", "-y", "torch", "torchvision"], check=True)
        (home / "ready").touch()
    return python


def version(tool: str, python: Path) -> str:
    """The tool's name with its version."""
    package = PACKAGES[tool] or tool.split("_")[0]
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    found = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    return f"{tool.replace('_', ' ')} {found.stdout.strip()}"
