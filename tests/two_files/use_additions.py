"""Runs commands of a copy of the code in one process, and keeps what each said.

python use_additions.py COMMANDS.json OUTPUT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from typer.testing import CliRunner

from featcache.app import progress
from featcache.app.main import app


def main() -> None:
    torch.set_num_threads(1)
    progress.PLAIN_WIDTH = 400  # all additions at once make a wide table
    said = {}
    for name, arguments in json.loads(Path(sys.argv[1]).read_text()).items():
        result = CliRunner().invoke(app, arguments)
        said[name] = {"code": result.exit_code, "out": result.stdout, "err": result.stderr}
    Path(sys.argv[2]).write_text(json.dumps(said))


if __name__ == "__main__":
    main()
