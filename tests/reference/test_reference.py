"""docs/reference.md is what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest
import write_reference
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


def test_a_stale_one_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["write_reference.py", "--check"])
    assert write_reference.main() == 0
    monkeypatch.setattr(write_reference, "FILE", tmp_path / "reference.md")
    write_reference.FILE.write_text("stale")
    assert write_reference.main() == 1
    assert "run bin/reference" in capsys.readouterr().err
    assert write_reference.FILE.read_text() == "stale"
