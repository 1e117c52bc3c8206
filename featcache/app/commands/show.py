"""`featcache show`: look at a data set before anything is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featcache.app.data_argument import Data, options_for
from featcache.app.shared_options import Shared, command
from featcache.counted_nouns import counted, size_said
from featcache.errors import DataError

if TYPE_CHECKING:
    from featcache.data import DataView

SHOWN = 10  # odd files on a terminal


@command(
    *("set_", "cache_dir", "json", "verbose", "quiet"),
    answers="`classes` with their images by split, `sizes`, `formats`, `modes`, `odd` files",
)
def show(
    data: Data,
    shared: Shared,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page with pictures too.")] = None,
) -> None:
    """Look at the data: images by class and split, sizes, formats, odd files; nothing is trained or changed.

    Data that training would refuse is shown as it lies there, with the reason, and exit code 2.
    """
    options = options_for(data, shared)
    with shared.telling() as progress:
        from featcache.data import look_over, survey

        view = look_over(survey(options.data, options.cache.folder), options.data, progress)
    shared.answer(view.as_dict())
    print_view(view)
    if html is not None:  # last: what was found is seen in any case
        with shared.telling():
            from heads.report import write_data_page

            write_data_page(view, html, options.cache.folder)
        typer.echo(f"{html}: the page ({size_said(html.stat().st_size)})", err=shared.json)
    if view.survey.refused:
        raise typer.Exit(DataError.exit_code)


def print_view(view: DataView) -> None:
    """Images by class and split, what they are, and what is odd."""
    from featcache.app.progress import consoles
    from featcache.app.tables import data_table

    out, manifest = consoles()[0], view.manifest
    contents = len({i.sha256 for i in manifest.images})
    copies = f", {contents} of different content" if contents < len(manifest.images) else ""
    out.print(f"{manifest.name}: {counted(len(manifest.images), 'image')}{copies}", markup=False)
    out.print(data_table(view))
    lines = [
        f"sizes: {view.sizes()}",
        *(f"{what}s: {', '.join(f'{k} ({n})' for k, n in view.kinds(what).items())}" for what in ("format", "mode")),
        *manifest.notices,
    ]
    odd = view.odd
    lines += [f"{one.name}: {one.what}" for one in odd[:SHOWN]]
    if len(odd) > SHOWN:
        lines.append(f"and {counted(len(odd) - SHOWN, 'more odd file')}: --json and --html list all")
    for line in lines:
        out.print(line, markup=False, highlight=False)
    if view.survey.refused:
        out.print(f"\nthis would be refused: {view.survey.refused}", markup=False, highlight=False, style="bold red")
