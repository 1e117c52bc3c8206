"""A real extraction in a process of its own, for tests that kill it, starve it or run several at once.

    python extraction_process.py OPTIONS.json [COMMIT_SECONDS]

Prints "ready", waits for a line, and prints the counts when it is done.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # conftest, which the options name a backbone of

import featcache.store.row_writer
from featcache.errors import FeatcacheError
from featcache.extraction.one_backbone import extract
from featcache.options.loading import parse_options


def main() -> int:
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(sys.argv) > 2:
        featcache.store.row_writer.COMMIT_SECONDS = float(sys.argv[2])
    options = parse_options(json.loads(Path(sys.argv[1]).read_text()))
    print("ready", flush=True)
    sys.stdin.readline()  # so that several begin at once
    try:
        extraction = extract(options, allow_custom=True)
    except FeatcacheError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(json.dumps({"new": extraction.new, "reused": extraction.reused}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
