"""What a process of the proof sees once PyTorch is there: the device, versions, and requirements that are not met."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from machine_state import add

ROOT = Path(__file__).resolve().parents[2]
NONE_HERE = """\
gpu-proof: PyTorch {torch} sees no CUDA device here (built for CUDA {cuda}). Expected a machine with an NVIDIA card, its
driver and a CUDA build of PyTorch. `--device cpu` runs everything on the CPU instead, which only tries out the script.
"""


def add_torch_state(out: Path, device: str, terminal: TextIO) -> bool:
    """Adds it to `environment.json` and says it; False where there is no such device."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        print(NONE_HERE.format(torch=torch.__version__, cuda=torch.version.cuda), file=terminal, flush=True)
        return False
    unmet = unmet_requirements()
    entries: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "torchvision": _version("torchvision"),
        "numpy": _version("numpy"),
        "unmet": unmet,
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        entries |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "memory_bytes": properties.total_memory,
            "multiprocessors": properties.multi_processor_count,
            "capability": f"{properties.major}.{properties.minor}",
        }
    add(out, **entries)
    print(", ".join(f"{k} {v}" for k, v in entries.items() if k != "unmet"), file=terminal)
    for line in unmet:
        print(f"not met: {line}", file=terminal)
    terminal.flush()
    return True


def unmet_requirements() -> list[str]:
    """Of pyproject.toml: what is missing, or there in a version that it does not allow."""
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = []
    for requirement in map(Requirement, project["dependencies"]):
        here = _version(requirement.name)
        if here is None or not requirement.specifier.contains(here, prereleases=True):
            found.append(f"{requirement}: {here or 'not there'}")
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
