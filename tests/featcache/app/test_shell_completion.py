"""What Tab does in bash: the script that `featcache --show-completion` prints, in a real shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
TAB = """
eval "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_featcache_completion featcache
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def tab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What a line is completed to, in a folder with two finished runs."""
    program = tmp_path / "bin" / "featcache"  # as pip makes it
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom featcache.app.main import main\nmain()\n")
    program.chmod(0o755)
    for name in ("swin", "squeeze"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "summary.json").write_text("{}")
    (tmp_path / "results" / "stopped").mkdir()
    monkeypatch.chdir(tmp_path)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    own = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}

    def run(*command: str, **more: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True, env={**own, **more}).stdout

    script = run("featcache", _FEATCACHE_COMPLETE="source_bash")
    return lambda *words: run("bash", "-c", TAB, "bash", script, "featcache", *words).split()


def test_tab_completes_commands_options_and_runs(tab: Callable[..., list[str]]) -> None:
    assert tab("be") == ["benchmark"]
    assert tab("cache", "") == ["list", "verify", "prune", "merge", "split"]
    assert tab("report", "--rank") == ["--rank-by"]
    assert tab("predict", "s") == ["squeeze", "swin"]
    assert tab("combine", "swin", "b") == ["best"]
