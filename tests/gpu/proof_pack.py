"""Makes the folder that goes to a machine with CUDA and no network: the sources at HEAD and the packages it may miss.

What it may miss is what pyproject.toml requires, with all that these require in turn, less what comes with PyTorch,
torchvision and the large numeric packages, which such a machine has in builds of its own.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from carried_packages import ARCHIVE

OF_THE_MACHINE = ("torch", "torchvision", "numpy", "scipy", "h5py", "scikit-learn")
ALSO = ("pytest",)
LARGEST, WHOLE = 16_000_000, 40_000_000  # bytes: of one wheel, of the folder
GLIBC = ("_2_5", "1", "_2_12", "2010", "_2_17", "2014", "_2_24", "_2_27", "_2_28", "_2_31", "_2_34")


def make_pack(root: Path, target: Path, python: str) -> int:
    """The folder at `target`, which may be there only as an earlier pack or empty; the exit code."""
    if target.exists() and any(target.iterdir()) and not (target / "pack.json").is_file():
        print(f"gpu-proof: --pack {target}: is there and no pack. Choose a new folder.", file=sys.stderr)
        return 2
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    commit = _git(root, "rev-parse", "HEAD").decode().strip()
    if _git(root, "status", "--porcelain"):
        print("gpu-proof: what is not committed is not packed")
    with tarfile.open(fileobj=io.BytesIO(_git(root, "archive", "HEAD"))) as sources:
        sources.extractall(target, filter="data")
    carried, left_out = carry(root, target / ARCHIVE, python)
    pack = {"commit": commit, "python": python, "carried": carried, "left_out": left_out}
    (target / "pack.json").write_text(json.dumps(pack, indent=1))
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"gpu-proof: {target}: {size / 1e6:.1f} MB, {len(carried)} packages, sources at {commit[:8]}")
    for name, why in left_out.items():
        print(f"gpu-proof: not carried: {name}: {why}")
    if size > WHOLE:
        print(f"gpu-proof: that is more than {WHOLE / 1e6:.0f} MB", file=sys.stderr)
    return int(size > WHOLE)


def carry(root: Path, archive: Path, python: str) -> tuple[list[str], dict[str, str]]:
    """Writes the archive; the packages in it, and why others are not."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = closure([*project["dependencies"], *ALSO], python)
    there = closure(OF_THE_MACHINE, python)
    pinned = [f"{name}=={version}" for name, version in sorted(wanted.items()) if name not in there]
    carried, left_out = [], {}
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file, text in own_metadata(project).items():
            packed.writestr(file, text)
        for wheel in wheels(pinned, Path(folder), python):
            name = "==".join(wheel.name.split("-")[:2])
            if wheel.stat().st_size > LARGEST:
                left_out[name] = f"{wheel.stat().st_size / 1e6:.0f} MB"
                continue
            carried.append(name)
            with zipfile.ZipFile(wheel) as one:
                for file in one.namelist():
                    if not file.endswith("/"):
                        packed.writestr(installed(file), one.read(file))
    return carried, left_out


def own_metadata(project: dict[str, Any]) -> dict[str, str]:
    """By which the sources count as installed: their name, version and commands."""
    name, version = project["name"], project["version"]
    folder = f"{name}-{version}.dist-info"
    commands = "\n".join(f"{command} = {place}" for command, place in project["scripts"].items())
    return {
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{folder}/entry_points.txt": f"[console_scripts]\n{commands}\n",
    }


def closure(requirements: Iterable[str], python: str) -> dict[str, str]:
    """Names and versions of what is installed here for these, and for what they require on Linux with that Python."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": "", "sys_platform": "linux"}
    found: dict[str, str] = {}
    ahead = [Requirement(text) for text in requirements]
    while ahead:
        name = canonicalize_name(ahead.pop().name)
        if name in found:
            continue
        try:
            here = distribution(name)
        except PackageNotFoundError:  # that of another platform
            continue
        found[name] = here.version
        further = [Requirement(text) for text in here.requires or []]
        ahead += [r for r in further if r.marker is None or r.marker.evaluate(environment)]
    return found


def wheels(pinned: list[str], folder: Path, python: str) -> list[Path]:
    """From the registry that pip is configured for; what is published as source only is built, and must be pure."""
    platforms = [part for version in GLIBC for part in ("--platform", f"manylinux{version}_x86_64")]
    pip = [sys.executable, "-m", "pip", "-qq"]
    download = [*pip, "download", "--no-deps", "--prefer-binary", "--python-version", python, "--implementation", "cp"]
    subprocess.run([*download, *platforms, "-d", str(folder), *pinned], check=True)
    sources = [file for file in folder.iterdir() if file.suffix != ".whl"]
    if sources:
        subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), *map(str, sources)], check=True)
    built = {_project(file.name) for file in sources}
    found = sorted(folder.glob("*.whl"))
    native = [w.name for w in found if _project(w.name) in built and not w.name.endswith("-none-any.whl")]
    if native:
        raise SystemExit(f"gpu-proof: no wheel for Python {python} on x86-64 Linux: {', '.join(native)}")
    return found


def installed(file: str) -> str:
    """Where an installer puts a file of a wheel; `x.data/purelib/` and `platlib/` hold what belongs at the top."""
    return re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", file)


def _project(file: str) -> str:
    return re.split(r"-\d", file)[0].lower().replace("_", "-")


def _git(root: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True).stdout
