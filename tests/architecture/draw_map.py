"""`bin/map`: docs/architecture.svg from the import graph; with --check, whether the committed picture is that one."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from import_graph import ROOT, read_house
from picture import draw

PICTURE = ROOT / "docs" / "architecture.svg"


def main(arguments: Sequence[str] | None = None) -> int:
    """0: the picture is what the graph gives; 1: with --check, it is not."""
    parser = argparse.ArgumentParser(prog="bin/map", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 where the picture is not up to date"
    )
    check = parser.parse_args(arguments).check
    drawn = draw(read_house())
    if PICTURE.exists() and PICTURE.read_text(encoding="utf-8") == drawn:
        print(f"{PICTURE.name}: up to date")
        return 0
    if check:
        print(f"{PICTURE.name}: not what the import graph gives. Run bin/map and commit it.", file=sys.stderr)
        return 1
    PICTURE.write_text(drawn, encoding="utf-8")
    print(f"{PICTURE.name}: drawn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
