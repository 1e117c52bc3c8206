"""The device that a command computes on: chosen by name, its own name, its memory, its float32."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from featcache.errors import InputError, OptionsError, WorkError


def out_of_memory(error: BaseException) -> bool:
    """The device, or the machine, had no memory left, in whichever of PyTorch's ways of saying it."""
    said = ("DefaultCPUAllocator", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in said)


def device_name(device: torch.device) -> str:
    """The device as its maker calls it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    for line in read_lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or device.type


def read_lines(path: Path) -> list[str]:
    """The lines of a file of the system's; none where it has no such file."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def pick_device(name: str | None = None, asked: str | None = None) -> torch.device:
    """The device called `name`, or the first GPU, or the CPU; raises InputError, beginning with what was `asked`, for
    one that is not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type not in {"cpu", "cuda", "mps"}:
            raise RuntimeError("nothing can be computed on it")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        which = f"--device {name}:" if asked is None else f"{asked}: {name!r}"
        raise InputError(
            f"{which} cannot be used here ({reason}). Expected cpu, or cuda on a machine with a GPU."
        ) from None
    return device


def pick_devices(names: str) -> tuple[torch.device, ...]:
    """The devices called `names`: `all` is every GPU, else names with commas between them: cuda:0,cuda:2. The CPU may
    be named several times: so many processes share its cores.

    Raises InputError where one is not there, is named twice, or is of another kind than the first.
    """
    asked = f"--devices {names}"
    if names == "all":
        if not torch.cuda.is_available():
            raise InputError(
                f"{asked}: means every GPU, and PyTorch sees none here. Name devices, as in --devices cpu,cpu, which "
                "shares the cores out to two processes, or leave --devices out."
            )
        return tuple(torch.device("cuda", number) for number in range(torch.cuda.device_count()))
    found = [pick_device(name.strip(), asked) for name in names.split(",")]
    if len({one.type for one in found}) > 1:
        raise InputError(f"{asked}: got several kinds of devices, expected GPUs or the CPU. Choose one kind.")
    if found[0].type != "cpu":
        found = [one if one.index is not None else torch.device(one.type, 0) for one in found]
        if len(set(found)) < len(found):
            raise InputError(f"{asked}: names a device twice, expected each once. Leave one of the two out.")
    return tuple(found)


HALF_PRECISIONS = frozenset({"bfloat16", "float16"})  # those of autocast
TF32_CAPABILITY = (8, 0)  # of NVIDIA's cards: Ampere and later have TensorFloat-32


def has_tf32(device: torch.device) -> bool:
    """Whether the device's tensor cores take TensorFloat-32."""
    nvidia = device.type == "cuda" and torch.version.cuda is not None
    return nvidia and torch.cuda.get_device_capability(device) >= TF32_CAPABILITY


def require_precision(precision: str, device: torch.device, key: str = "training.precision") -> None:
    """Raise OptionsError for tf32 on a device without TensorFloat-32: it would compute in float32 and say otherwise."""
    if precision != "tf32" or has_tf32(device):
        return
    raise OptionsError(
        f"{key}: tf32 is of NVIDIA GPUs of compute capability 8.0 (Ampere) or later, got {device} "
        f"({device_name(device)}). Set it to float32, or to bfloat16, or name such a GPU by --device."
    )


@contextmanager
def products_in(precision: str, device: torch.device) -> Iterator[None]:
    """What products of float32 numbers are on a GPU: exact for float32, where PyTorch's convolutions would round to
    TensorFloat-32, at about 1e-3, and so would its matrix products where the caller has allowed that; rounded for
    tf32, whatever the caller allows; as they are for half precision, which autocast sees to."""
    if device.type != "cuda" or precision in HALF_PRECISIONS:
        yield
        return
    kind = "tf32" if precision == "tf32" else "ieee"
    with _convolutions(kind), _matrix_products(kind):
        yield


@contextmanager
def _convolutions(kind: str) -> Iterator[None]:
    """PyTorch keeps this in two ways, an older flag and a precision for each kind of operation, and refuses to read the
    flag where they disagree: so it is only written, and both are."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
    cudnn.allow_tf32 = kind == "tf32"
    cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = kind
    try:
        yield
    finally:
        cudnn.allow_tf32 = before[0] == "tf32"
        cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = before


@contextmanager
def _matrix_products(kind: str) -> Iterator[None]:
    products: Any = torch.backends.cuda.matmul
    before = products.fp32_precision
    if kind == "ieee" and before != "tf32":
        yield
        return
    try:
        level = torch.get_float32_matmul_precision()
    except RuntimeError:  # set in the newer way only, which leaves the older one as it was: exact
        level = "highest"
    wanted = "high" if kind == "tf32" else "highest"
    if level != wanted:
        torch.set_float32_matmul_precision(wanted)
    products.fp32_precision = kind
    try:
        yield
    finally:
        if level != wanted:
            torch.set_float32_matmul_precision(level)
        products.fp32_precision = before


def one_image_too_many(name: str, device: torch.device) -> WorkError:
    """What is said where not even one image fits."""
    return WorkError(
        f"{name}: one image does not fit the memory of {device}. Choose a smaller model.input_size or another device."
    )


def local_device(device: str | None) -> str | None:
    """The device that is wanted; under `torchrun`, of the GPUs the one that is this process's."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and device in (None, "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device
