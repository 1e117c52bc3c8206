"""How long tables of images take to load, and how much memory: `bin/bench tables`, a million rows of each kind.

Each is loaded by a process of its own; the memory is what the rows take beside the imports, at its highest. The files
that the rows name are not opened: hashing them is beside this, once for each file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from featcache.data.sources import list_images
from featcache.options import DataOptions

HEADER = ("path", "label", "split", "patient")


def rows(count: int) -> Iterator[tuple[str, str, str, str]]:
    for n in range(count):
        split = "train" if n % 10 else "val"
        yield f"{split}/{n % 100:02d}/image_{n:08d}.jpg", f"class {n % 100}", split, f"patient {n // 20}"


def write(file: Path, count: int) -> None:
    """The table in `file`, and the first of the files that it names."""
    first = file.parent / next(rows(1))[0]
    first.parent.mkdir(parents=True, exist_ok=True)
    first.write_bytes(b"x")
    if file.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        columns = zip(*rows(count), strict=True)
        parquet.write_table(pyarrow.table(dict(zip(HEADER, map(list, columns), strict=True))), file)
        return
    with file.open("w", encoding="utf-8") as stream:
        if file.suffix == ".csv":
            stream.write(",".join(HEADER) + "\n")
            stream.writelines(",".join(row) + "\n" for row in rows(count))
        else:
            stream.writelines(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in rows(count))


def load(file: Path) -> None:
    """Load it here, and print the table's row."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, work = time.perf_counter(), time.process_time()
    found = list_images(str(file), DataOptions(path=str(file)))
    seconds, work = time.perf_counter() - begin, time.process_time() - work
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
    print(f"| {file.suffix[1:]} | {len(found.rows)} | {seconds:.1f} | {work:.1f} | {more:.2f} |", flush=True)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--load", type=Path, help="this one, here")
    parser.add_argument("--write", type=Path, help="this one, here")
    asked = parser.parse_args()
    if asked.load is not None:
        load(asked.load)
        return
    if asked.write is not None:
        write(asked.write, asked.rows)
        return
    print("| table | rows | seconds | of a core | GB |\n|---|--:|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("csv", "jsonl", "parquet"):
            file = Path(folder, f"list.{kind}")
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            for step in ("--write", "--load"):  # the memory that writing took is no part of the figure
                command = [sys.executable, __file__, step, file, "--rows", str(asked.rows)]
                subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
