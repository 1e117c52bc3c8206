"""Notices of a command go to its own standard error: never to that of one that ran before in the same process."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from command_runs import done

from featcache.app.commands import report

log = logging.getLogger("featcache")


@pytest.fixture
def shown(digits: Path, tmp_path: Path) -> str:
    """A command that has told of its work, its streams closed."""
    return done("show", digits, "--cache-dir", tmp_path / "cache").stderr


def test_what_is_logged_between_commands_is_not_written_to_the_stream_of_the_first(
    shown: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "looking: 84 images" in shown
    log.warning("between")
    assert log.handlers == [] and log.propagate
    assert "between" not in shown


def test_a_notice_before_the_work_of_a_second_command_is_its_own(
    shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a cache was removed, and the ranking, which comes before the page, warns of it."""

    def ranking_that_warns(*_: object) -> None:
        log.warning("of the second command")

    monkeypatch.setattr(report, "show_leaderboard", ranking_that_warns)
    monkeypatch.setattr(report, "warn_of_leakage", lambda _: None)
    monkeypatch.setattr(report, "write_page", lambda *_: tmp_path)
    second = done("report", "--results-dir", tmp_path / "results")
    assert "warning: of the second command" in second.stderr


@pytest.mark.parametrize("said", ["-v", "-q"])
def test_how_much_is_said_is_of_one_command(digits: Path, tmp_path: Path, said: str) -> None:
    level = log.level
    done("show", digits, "--cache-dir", tmp_path / "cache", said)
    assert log.level == level
    assert "looking" in done("show", digits, "--cache-dir", tmp_path / "cache").stderr
