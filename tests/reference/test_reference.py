"""docs/reference.md is what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from write_reference import FILE, reference


def test_the_reference_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), "run bin/reference"


def test_it_names_every_option_and_registry() -> None:
    text = reference()
    for expected in (
        "`training.unfreeze_schedule`",
        "`random_crop`",
        "`logme`",
        "`top3`",
        "`spsa`",
        "`gains`",
        "`cache verify`",
    ):
        assert expected in text


def test_a_stale_one_is_said(tmp_path: Path) -> None:
    copy = tmp_path / "tests" / "reference" / "write_reference.py"
    copy.parent.mkdir(parents=True)
    copy.write_text(Path(__file__).with_name("write_reference.py").read_text())
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "reference.md").write_text("stale")
    stale = subprocess.run([sys.executable, str(copy), "--check"], capture_output=True, text=True)
    assert stale.returncode == 1 and "run bin/reference" in stale.stderr
