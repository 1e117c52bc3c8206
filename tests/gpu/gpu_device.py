"""What the GPU tests share: the device, which a dry run sets to the CPU, and who is skipped where."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from featcache.devices import has_tf32

Config = Callable[..., dict[str, Any]]

# FEATCACHE_GPU_TEST_DEVICE=cpu tries out these tests' own code where there is no GPU; it proves nothing of a GPU.
NAME = os.environ.get("FEATCACHE_GPU_TEST_DEVICE", "cuda")
DEVICE = torch.device(NAME)
WHERE_THERE_IS_ONE = pytest.mark.skipif(NAME == "cuda" and not torch.cuda.is_available(), reason="no CUDA device")
CUDA_ONLY = pytest.mark.skipif(NAME != "cuda", reason="of CUDA only: its graphs, its memory, its clock, its float16")
TF32 = pytest.mark.skipif(
    not torch.cuda.is_available() or not has_tf32(DEVICE),
    reason="the device has no TensorFloat-32",
)
COMPILER = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="there is no C compiler")


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest distance of two rows of features, as a fraction of the row's norm."""
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


@contextmanager
def so_much_more_memory(count: float) -> Iterator[None]:
    """The process may have so many bytes more of the GPU than it has now."""
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + count) / whole)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def epochs_of(folder: Path) -> NDArray[Any]:
    """The figures of metrics.csv, by name, without those of the start."""
    rows: NDArray[Any] = np.genfromtxt(folder / "metrics.csv", delimiter=",", names=True, usecols=range(8))
    return rows[rows["epoch"] >= 0]
