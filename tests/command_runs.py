"""Commands of featcache run within the process of the test."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from featcache.app.main import app


def featcache(*arguments: str | Path) -> Result:
    """A command, whatever comes of it."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def done(*arguments: str | Path) -> Result:
    """A command that must succeed."""
    result = featcache(*arguments)
    assert result.exit_code == 0, result.output
    return result
