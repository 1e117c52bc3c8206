"""`featcache split`: write down which image is in which split, to keep and to edit."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from featcache.app.data_argument import Data, options_for
from featcache.app.shared_options import Shared, command
from featcache.counted_nouns import counted


@command(
    *("set_", "cache_dir", "json", "verbose", "quiet"),
    answers="`table` (the file), `images` by split, `classes`, `set`: how to use it",
)
def split(
    data: Data,
    shared: Shared,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The table to write: path, label, split, group, weight.")],
) -> None:
    """Write the split that would be used as a table (.csv, .tsv or .txt), which data.path reads."""
    options = options_for(data, shared)
    with shared.telling():
        from featcache.app.progress import consoles
        from featcache.data import load_manifest, write_split_table
        from featcache.records import SPLITS

        manifest, _ = load_manifest(options.data, options.cache.folder)
        root = write_split_table(manifest, options.data, out)
        for notice in manifest.notices:
            consoles()[1].print(notice, markup=False)
    values = [f"data.path={out}", *([f"data.root={root}"] if root is not None else [])]
    images = {split: len(manifest.of(split)) for split in SPLITS}
    shared.answer({"table": out, "images": images, "classes": manifest.classes, "set": values})
    counts = ", ".join(f"{n} {s}" for s, n in images.items())
    typer.echo(
        f"{out}: {counted(len(manifest.images), 'image')} of {counted(len(manifest.classes), 'class')}, {counts}"
    )
    typer.echo(f"Use it with {' '.join(f'--set {shlex.quote(value)}' for value in values)}")
