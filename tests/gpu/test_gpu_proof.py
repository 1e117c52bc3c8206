"""bin/gpu-proof, as far as it goes without a GPU: what a pack carries, which tests it runs, what a page says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import carried_packages
import pytest
from proof_pack import OF_THE_MACHINE, closure, installed, own_metadata
from proof_page import write_page
from proof_tests import gpu_files

ROOT = Path(__file__).parents[2]


def test_every_file_with_a_gpu_test_is_run() -> None:
    names = {Path(file).name for file in gpu_files()}
    marked = {f.name for f in (ROOT / "tests").rglob("test_*.py") if "pytest.mark." + "gpu" in f.read_text()}
    assert names == marked and len(names) >= 5


def test_a_pack_carries_what_is_required_and_nothing_of_the_machines() -> None:
    there = closure(OF_THE_MACHINE, "3.12")
    wanted = closure(["fvcore", "optuna", "pydantic", "torch"], "3.12")
    carried = wanted.keys() - there.keys()
    assert {"fvcore", "iopath", "yacs", "sqlalchemy", "pydantic-core"} <= carried
    assert not carried & {"torch", "numpy", "pillow", "triton", "filelock"}


def test_a_wheels_data_lies_where_an_installer_puts_it() -> None:
    assert installed("a-1.data/purelib/a/b.py") == "a/b.py"
    assert installed("a/c.data/purelib/b.py") == "a/c.data/purelib/b.py"


def test_carried_packages_come_behind_the_machines(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / carried_packages.ARCHIVE, "w") as packed:
        packed.writestr("numpy/__init__.py", "raise ImportError('the carried one')")
        packed.writestr("only_carried.py", "there = True")
        for file, text in own_metadata({"name": "some", "version": "7", "scripts": {"some": "a:b"}}).items():
            packed.writestr(file, text)
    where = carried_packages.unpack(tmp_path)
    assert where is not None and (where / "only_carried.py").is_file()
    script = (
        "import carried_packages; carried_packages.append_carried(); import numpy, only_carried\n"
        "from importlib.metadata import version; print(version('some'), numpy.__file__)"
    )
    environment = {**os.environ, carried_packages.VARIABLE: str(where), "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("7 ") and str(tmp_path) not in done.stdout


def test_a_page_says_what_passed_what_failed_and_what_did_not_run(tmp_path: Path) -> None:
    machine = {"date": "2026-01-01", "commit": "abcdef123456", "python": "3.12.3", "cpu_cores": 16, "card": {}}
    states = {"before": {"clocks.sm": "1980 MHz"}, "after tests": {"clocks.sm": "1755 MHz"}}
    (tmp_path / "environment.json").write_text(json.dumps({**machine, "states": states, "device": "NVIDIA X1 80GB"}))
    tests = [
        {"test": "t.py::a", "outcome": "planned", "seconds": 0, "why": ""},
        {"test": "t.py::b", "outcome": "planned", "seconds": 0, "why": ""},
        {"test": "t.py::c", "outcome": "begun", "seconds": 0, "why": ""},
        {"test": "t.py::a", "outcome": "failed", "seconds": 1.25, "why": "line\nE   assert 1 | 2"},
    ]
    (tmp_path / "tests.jsonl").write_text("\n".join(map(json.dumps, tests)))
    figures = [
        {"benchmark": "x", "what": "one head", "value": 2.5, "unit": "ms", "low": 2.0, "high": 3.0, "n": 3},
        {"benchmark": "y", "outcome": "not run", "seconds": 0, "why": "the time was up"},
    ]
    (tmp_path / "figures.jsonl").write_text("\n".join(map(json.dumps, figures)))
    page = write_page(tmp_path, tmp_path / "docs")
    assert page.name == "nvidia-x1-80gb.md"
    text = page.read_text()
    assert "1 failed, 1 not run, 1 did not end" in text
    assert "| a | failed: E   assert 1 \\| 2 | 1.2 |" in text and "| b | not run | 0.0 |" in text
    assert "| one head | 2.5 | 2 | 3 | 3 | ms |" in text and "| `y` | not run: the time was up | 0 |" in text
    assert "| clocks.sm | 1980 MHz | 1755 MHz |" in text
    with pytest.raises(SystemExit, match=r"no environment\.json"):
        write_page(tmp_path / "docs", tmp_path)
