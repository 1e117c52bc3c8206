"""Kept answers of a teacher: read as they were written, and made anew, loudly, where the file is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heads.distill.answers_file import AnswersFile


def test_kept_answers_are_read_or_said_to_be_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = AnswersFile(tmp_path / "teachers" / "best3.pth")
    with caplog.at_level("WARNING", "featcache"):
        assert kept.read() is None
        assert not caplog.records  # none yet: nothing to warn of
        logs = np.log(np.random.default_rng(0).dirichlet(np.ones(4), 5)).astype(np.float32)
        kept.write(logs)
        assert np.array_equal(kept.read(), logs)
        whole = kept.path.read_bytes()
        for damaged in (whole[: len(whole) // 2], b"", b"not a file of PyTorch"):
            caplog.clear()
            kept.path.write_bytes(damaged)
            assert kept.read() is None
            assert "best3.pth is damaged" in caplog.text
