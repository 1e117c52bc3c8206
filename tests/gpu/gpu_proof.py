"""bin/gpu-proof: the GPU tests and the benchmarks of a machine with CUDA, each within a time limit, told as they come.

The sources lie around this file, in a checkout or in a pack. Tests and benchmarks are processes of their own, so that
one that hangs or breaks the device takes nothing with it; this one needs no more than the standard library.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import carried_packages
from child_process import Child
from machine_state import card, write_state

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
BENCHMARK_SHARE = 0.32  # of the whole time, kept for the benchmarks
NO_DEVICE, AGAIN = 2, 77  # exit codes of a child: there is no such device; the device is broken, go on in a new process
STARTS = 4  # of the test process at most


def main() -> int:
    """The exit code: 0 where every test passed and every benchmark ran, 1 where not, 2 where there is no device."""
    parser = argparse.ArgumentParser(prog="bin/gpu-proof", description=__doc__)
    verbs = parser.add_mutually_exclusive_group()
    verbs.add_argument("--pack", type=Path, metavar="DIR", help="make the folder that goes to a machine with CUDA")
    verbs.add_argument("--page", type=Path, metavar="DIR", help="write docs/gpu/<device>.md from an output folder")
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder; gpu-proof-<device> by default")
    parser.add_argument(
        "--device", choices=["cuda", "cpu"], default="cuda", help="cpu is a dry run, for trying this out"
    )
    parser.add_argument("--seconds", type=float, default=340, help="for everything together")
    parser.add_argument("--tests-only", action="store_true")
    parser.add_argument("--benchmarks-only", action="store_true")
    parser.add_argument("-k", metavar="EXPRESSION", default="", help="only tests that pytest's -k selects")
    parser.add_argument("--python", default="3.12", help="of the machine that --pack is for")
    arguments = parser.parse_args()
    if arguments.pack:
        from proof_pack import make_pack

        return make_pack(ROOT, arguments.pack, arguments.python)
    if arguments.page:
        from proof_page import write_page

        print(f"gpu-proof: wrote {write_page(arguments.page, ROOT / 'docs' / 'gpu')}")
        return 0
    return prove(arguments)


def prove(arguments: argparse.Namespace) -> int:
    """Tests, then benchmarks; the benchmarks' process imports PyTorch meanwhile, which takes half a minute on some."""
    begin = time.monotonic()
    deadline = begin + arguments.seconds
    carried = carried_packages.unpack(ROOT)
    name = (card("name") or "cuda") if arguments.device == "cuda" else "cpu"
    out: Path = (arguments.out or Path(f"gpu-proof-{slug(name)}")).absolute()
    out.mkdir(parents=True, exist_ok=True)
    anew = ["environment.json"] if not (arguments.tests_only or arguments.benchmarks_only) else []
    anew += ["tests.jsonl", "tests.log"] if not arguments.benchmarks_only else []
    anew += ["figures.jsonl", "benchmarks.log"] if not arguments.tests_only else []
    for file in anew:
        (out / file).unlink(missing_ok=True)
    print(f"gpu-proof: {name}, {arguments.seconds:.0f} s at most; results go to {out}", flush=True)
    write_state(out, ROOT, "before", arguments.seconds)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONUNBUFFERED": "1",
        "FEATCACHE_GPU_TEST_DEVICE": arguments.device,
        "FEATCACHE_FIGURES": str(out / "figures.jsonl"),
        carried_packages.VARIABLE: str(carried or ""),
    }
    benchmarks = None
    if not arguments.tests_only:
        command = [str(HERE / "proof_benchmarks.py"), str(out), arguments.device]
        benchmarks = Child([sys.executable, *command], environment, out / "benchmarks.log")
    codes = []
    if not arguments.benchmarks_only:
        share = 0 if arguments.tests_only else BENCHMARK_SHARE
        codes.append(run_tests(arguments, environment, out, deadline - share * arguments.seconds))
        write_state(out, ROOT, "after tests", arguments.seconds)
    if benchmarks is not None:
        if NO_DEVICE in codes:
            benchmarks.kill()
        else:
            benchmarks.say(f"{max(0.0, deadline - 3 - time.monotonic()):.0f}")
            code = benchmarks.wait(deadline)
            codes.append(1 if code is None else code)
            write_state(out, ROOT, "after benchmarks", arguments.seconds)
    print(f"gpu-proof: {time.monotonic() - begin:.0f} s; bin/gpu-proof --page {out} makes a page of it", flush=True)
    return NO_DEVICE if NO_DEVICE in codes else int(any(codes))


def run_tests(arguments: argparse.Namespace, environment: dict[str, str], out: Path, deadline: float) -> int:
    """All of them in one process; in a new one with those that are left when the device, or a test, broke it."""
    code: int | None = AGAIN
    for start in range(STARTS):
        left = deadline - time.monotonic()
        if left < 5:
            break
        command = [str(HERE / "proof_tests.py"), str(out), f"{left:.0f}", arguments.k]
        code = Child([sys.executable, *command], environment, out / "tests.log").wait(deadline)
        if code in {0, 1, NO_DEVICE, None}:
            code = code if start == 0 or code is None else 1
            break
        print(f"gpu-proof: the test process ended with {code}; on with the tests that are left", flush=True)
    return 1 if code is None else code


def slug(name: str) -> str:
    """A device's name for files: nvidia-h100-80gb-hbm3."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"gpu-proof: {error}")
