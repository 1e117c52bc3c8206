"""A folder that another takes the place of, and what goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from heads.runs import EXPORT, writing_folder


@pytest.mark.parametrize("exported", [False, True])
def test_exports_that_go_with_a_replaced_run_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, exported: bool
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    if exported:
        (folder / EXPORT / "onnx").mkdir(parents=True)
    with writing_folder(folder, "an earlier run") as partial:
        (partial / "summary.json").write_text("{}")
    assert [file.name for file in folder.iterdir()] == ["summary.json"]
    assert ("export again" in caplog.text) is exported
