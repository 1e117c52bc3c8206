"""Real extractions in processes of their own, for tests that kill them, interrupt them or run several at once.

    python extraction_process.py

Reads a JSON line for each request. {"output": STEM, "options": OPTIONS.json, "commit_seconds": S} begins an extraction,
{"output": STEM, "arguments": [..]} a command of `featcache`; both print the id of a process that writes to STEM.out and
STEM.err, an extraction its counts when it is done. {"wait": ID} prints how one ended, below 0 by a signal. Processes
are forked here, before anything is computed, since a fresh interpreter takes seconds to import torch.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # conftest, which the options name a backbone of

import conftest  # noqa: F401  # once for all processes
import torch
from forked_processes import serve

import featcache.app.main
import featcache.app.many_configs
import featcache.store.row_writer
from featcache.errors import FeatcacheError
from featcache.extraction.one_backbone import extract
from featcache.options.loading import parse_options


def main() -> None:
    serve(_run, lambda request: (f"{request['output']}.out", f"{request['output']}.err"))


def _run(request: dict[str, Any]) -> int:
    """In the forked process."""
    torch.set_num_threads(1)
    if "arguments" not in request:
        return _extract(Path(request["options"]), request["commit_seconds"])
    sys.argv = ["featcache", *request["arguments"]]
    featcache.app.main.main()
    return 0


def _extract(file: Path, commit_seconds: float) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    featcache.store.row_writer.COMMIT_SECONDS = commit_seconds
    try:
        extraction = extract(parse_options(json.loads(file.read_text())), allow_custom=True)
    except FeatcacheError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps({"new": extraction.new, "reused": extraction.reused}))
    return 0


if __name__ == "__main__":
    main()
