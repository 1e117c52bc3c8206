"""What an error looks like on a terminal: one paragraph and an exit code, and no traceback where the input is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from featcache.app.error_reporting import exiting, printable
from featcache.atomic import replacing, write_text


def _replace(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("x")


@pytest.mark.parametrize("use", [Path.read_text, Path.read_bytes, lambda path: write_text(path, "x"), _replace])
def test_a_folder_where_featcache_has_a_file_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], use: Callable[[Path], object]
) -> None:
    folder = tmp_path / "leaderboard.csv"
    folder.mkdir()
    with pytest.raises(typer.Exit) as stopped, exiting(verbose=False):
        use(folder)
    said = capsys.readouterr().err
    assert stopped.value.exit_code == 2
    assert said.startswith(f"featcache: {folder}: is a folder, ") and said.count("\n") == 1
    assert folder.is_dir() and [*tmp_path.iterdir()] == [folder]


def test_names_of_every_script_are_shown_and_nothing_that_a_terminal_obeys() -> None:
    for name in ("été", "می\u200cخواهم", "क्\u200dष", "👩\u200d🔬", "東\u3000京", "a\u00a0b", "two\nlines"):
        assert printable(name) == name
    assert printable("\x1b[2J\u202egnp\r\x07\ufeff\ud800") == r"\x1b[2J\u202egnp\r\x07\ufeff\ud800"


@pytest.mark.skipif(os.name != "posix", reason="a shell closes them")
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("cache list --cache-dir . <&- >&- 2>&-", 0, ""),
        ("cache list --cache-dir . --json >&-", 0, ""),
        ("init <&-", 2, "standard input is no terminal"),
        ("cache list --cache-dir . --json >/dev/full", 2, "No space left"),
    ],
)
def test_streams_that_are_closed_or_full(line: str, code: int, said: str, tmp_path: Path) -> None:
    if "/dev/full" in line and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    root = str(Path(__file__).resolve().parents[3])
    ended = subprocess.run(
        ["sh", "-c", f'"$0" -m featcache {line}', sys.executable],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == code and said in ended.stderr and "Traceback" not in ended.stderr
