"""The benchmarks of a proof in one process, each within a limit; their figures are written as they come.

Takes the output folder and the device. It imports PyTorch and waits for a line, the seconds that it may take.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import carried_packages

NO_DEVICE = 2


@dataclass(frozen=True)
class Benchmark:
    """One call of a benchmark's `main`, the most seconds that it may take, and smaller sizes for a dry run."""

    module: str
    arguments: str
    seconds: float
    dry: str


BENCHMARKS = (
    Benchmark("bench_heads", "one --epochs 10 --repeats 3", 30, "one --epochs 1 --repeats 1"),
    Benchmark("bench_heads", "device --device-epochs 16 --repeats 2", 60, "device"),
    Benchmark(
        "bench_forward",
        "resnet50 swin_t --precisions float32 tf32 bfloat16 float16 --batches 8 128",
        45,
        "squeezenet1_1 --precisions float32 --batches 8 --repeats 1",
    ),
    Benchmark(
        "bench_half", "resnet18 mobilenet_v3_large swin_t vit_b_16 --repeats 3", 45, "resnet18 --batches 2 --repeats 1"
    ),
    Benchmark("bench_decode", "--images 1024 --repeats 3", 45, "--images 32 --repeats 1"),
    Benchmark("bench_deployed", "resnet50 --batches 1 8 32 128", 45, "squeezenet1_1 --batches 1 --iterations 2"),
    Benchmark("bench_extract", "overhead --images 512 --repeats 2", 45, "overhead --images 16 --repeats 1"),
    Benchmark("bench_profile", "resnet18 resnet50 swin_t --rounds 2", 45, "squeezenet1_1 --rounds 1 --iterations 3"),
    Benchmark("bench_finetune", "resnet50 --repeats 1 --images 240", 60, "resnet18 --repeats 1 --epochs 1 --images 16"),
    Benchmark(
        "bench_check", "resnet18 --commands train", 60, "squeezenet1_1 --commands extract --set model.input_size=64"
    ),
    Benchmark("bench_heads", "sixteen --epochs 5 --repeats 2", 30, "sixteen --epochs 1 --repeats 1"),
)


def main() -> int:
    carried_packages.append_carried()
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
    import torch  # noqa: F401  # meanwhile
    from figures import state
    from torch_state import add_torch_state

    device, dry = sys.argv[2], sys.argv[2] == "cpu"
    line = sys.stdin.readline()
    if not line or not add_torch_state(Path(sys.argv[1]), device, sys.stdout):
        return NO_DEVICE
    end = time.monotonic() + float(line)
    signal.signal(signal.SIGALRM, _too_long)
    failed = 0
    for one in BENCHMARKS:
        arguments = [*(one.dry if dry else one.arguments).split(), "--device", device]
        name = " ".join([one.module, *arguments])
        left = end - time.monotonic()
        if left < 5:
            print(f"\nnot run, the time is up: {name}", flush=True)
            state(name, "not run", 0.0, "the time was up")
            continue
        failed += not _run(one.module, arguments, name, min(one.seconds, left))
    return int(bool(failed))


def _run(module: str, arguments: list[str], name: str, limit: float) -> bool:
    """Whether it ran to its end."""
    import torch
    from figures import state

    print(f"\n{name}", flush=True)
    os.environ["FEATCACHE_BENCHMARK"] = name
    begin = time.monotonic()
    why = ""
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        sys.argv = [module, *arguments]
        importlib.import_module(module).main()
    except TimeoutError:
        why = f"cut short after {limit:.0f} s"
    except (Exception, SystemExit) as error:
        traceback.print_exc(file=sys.stdout)
        why = f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.monotonic() - begin
    state(name, "failed" if why else "ran", seconds, why)
    print(f"{why or 'ran'}, {seconds:.1f} s", flush=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return not why


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError


if __name__ == "__main__":
    sys.exit(main())
