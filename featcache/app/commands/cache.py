"""`featcache cache list`, `verify`, `prune`, `merge` and `split`: look after the store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from featcache.app.shared_options import Shared, cache_folder_of, command
from featcache.counted_nouns import are, counted, size_said

Store = Annotated[str, typer.Argument(help="A store, as `cache list` names it.")]
To = Annotated[
    Path | None,
    typer.Option("--to", parser=cache_folder_of, metavar="PATH|URL", help="Copy to this cache; else convert in place."),
]
cache = typer.Typer(help="Look after the store.", no_args_is_help=True, rich_markup_mode=None)


@cache.command("list")
@command(
    *("cache_dir", "json", "verbose"),
    answers="`stores` with their rows, bytes, data sets and seconds since they were used; `folder`, `bytes`",
)
def cache_list(shared: Shared) -> None:
    """Every store: rows, size, data sets, when it was last used."""
    from featcache.app.progress import consoles
    from featcache.app.tables import store_values, stores_table
    from featcache.store import list_stores

    folder = _cache_folder(shared)
    entries = list_stores(folder)
    size = sum(one.size_bytes for one in entries)
    shared.answer({"stores": [store_values(one) for one in entries], "folder": _said(folder), "bytes": size})
    if entries:
        consoles()[0].print(stores_table(entries))
    typer.echo(f"{_said(folder)}: {counted(len(entries), 'store')}, {size_said(size)}")


@cache.command("verify")
@command(
    *("cache_dir", "json", "verbose"),
    answers="`stores` with what is damaged in each; `damaged`: how many are",
)
def cache_verify(
    shared: Shared,
    repair: Annotated[bool, typer.Option("--repair", help="Drop what is damaged; it is extracted again.")] = False,
) -> None:
    """Read every byte of every store; name the rows that are not what was written."""
    from featcache.errors import StoreError
    from featcache.store import describe, stores, verify
    from featcache.store import repair as run_repair

    damaged = left = 0
    found: list[dict[str, object]] = []
    folder = _cache_folder(shared)
    every = stores(folder)
    for path in every:
        verdict = verify(path)
        typer.echo(describe(verdict))
        found.append({**vars(verdict), "store": getattr(verdict, "where", path), "ok": verdict.ok})
        damaged += not verdict.ok
        if repair and not verdict.ok:
            done = run_repair(verdict)
            left += not done
            found[-1]["repaired"] = done
            typer.echo("  repaired" if done else "  left as it is: a process works with it")
    shared.answer({"stores": found, "damaged": damaged, "folder": _said(folder)})
    typer.echo(f"{_said(folder)}: {counted(len(every), 'store')}, {damaged} of them damaged")
    if damaged and not repair:
        raise StoreError(
            f"{counted(damaged, 'store')} {are(damaged)} damaged. `featcache cache verify --repair` drops what is, "
            "and the next `extract` or `train` extracts only that again."
        )
    if left:
        raise StoreError(
            f"{counted(left, 'damaged store')} {are(left)} in use. Run the same command when nothing works with them."
        )


@cache.command("prune")
@command(
    *("cache_dir", "results_dir", "json", "verbose"),
    answers="`stores` with what became of each, why, and its bytes; `bytes` that are free",
)
def cache_prune(
    shared: Shared,
    older_than_days: Annotated[float | None, typer.Option(min=0, help="Not used for so many days.")] = None,
    max_gb: Annotated[float | None, typer.Option(min=0, help="Longest unused first, until all take less.")] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="No run under the results folder was trained on it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Remove stores by age, by size, or because nothing used them; never one that a process works with."""
    from featcache.errors import OptionsError
    from featcache.store import prune

    if older_than_days is None and max_gb is None and not unused:
        raise OptionsError("cache prune: say what may go: --older-than-days N, --max-gb N or --unused (or several).")
    with shared.telling():
        used = _used_stores(shared.results_dir) if unused else None
        folder = _cache_folder(shared)
        pruned = prune(folder, older_than_days=older_than_days, max_gb=max_gb, used=used, dry_run=dry_run)
    found: list[dict[str, object]] = []
    for one in pruned:
        what = "kept, a process works with it" if one.kept else "would go" if dry_run else "removed"
        store = one.entry.where or one.entry.path
        typer.echo(f"{store}: {what} ({size_said(one.entry.size_bytes)}; {one.reason})")
        found.append({"store": store, "became": what, "why": one.reason, "bytes": one.entry.size_bytes})
    gone = sum(one.entry.size_bytes for one in pruned if not one.kept)
    shared.answer({"stores": found, "bytes": gone, "dry_run": dry_run, "folder": _said(folder)})
    typer.echo(f"{_said(folder)}: {size_said(gone)} {'would be freed' if dry_run else 'freed'}")


@cache.command("merge")
@command("cache_dir", "json", "verbose", "quiet", answers="`store` that was made, its `rows`")
def cache_merge(shared: Shared, store: Store, to: To = None) -> None:
    """Make a store that is in parts one file, here or in another cache."""
    from featcache.store import merge

    made = merge(_named(store, _cache_folder(shared)), to)
    shared.answer({"store": made.where, "rows": len(made.rows())})
    typer.echo(f"{made.where}: {counted(len(made.rows()), 'row')} in one file")


@cache.command("split")
@command("cache_dir", "json", "verbose", "quiet", answers="`store` that was made, its `rows` and `parts`")
def cache_split(
    shared: Shared,
    store: Store,
    rows: Annotated[int, typer.Option(min=1, help="Rows in a part.")] = 100_000,
    to: To = None,
) -> None:
    """Make a store parts, which several machines can add to, here or in another cache, such as s3://bucket/cache."""
    from featcache.store import split

    made = split(_named(store, _cache_folder(shared)), rows, to)
    parts = made.every_part()
    shared.answer({"store": made.where, "rows": len(made.rows()), "parts": len(parts)})
    typer.echo(f"{made.where}: {counted(len(made.rows()), 'row')} in {counted(len(parts), 'part')}")


def _named(name: str, folder: Path) -> Path:
    """The store that is meant, by its name in `cache list`."""
    from featcache.errors import OptionsError
    from featcache.store import stores

    every = {path.stem: path for path in stores(folder)}
    found = every.get(Path(name).name.removesuffix(".h5"))
    if found is None:
        raise OptionsError(
            f"{name}: there is no such store in {_said(folder)}. Expected one of {', '.join(every) or 'none'}."
        )
    return found


def _used_stores(results_dir: Path) -> frozenset[str]:
    """The stores that finished runs were trained on; a mistyped folder must not make every store an unused one."""
    from featcache.errors import OptionsError
    from heads.runs import finished_runs

    runs = finished_runs(results_dir)
    unread = set(results_dir.glob("*/summary.json")) - {run.folder / "summary.json" for run in runs}
    if unread:
        raise OptionsError(
            f"cache prune --unused: {min(unread)} cannot be read, so what it used is not known. Mend or remove it."
        )
    if not runs:
        raise OptionsError(f"cache prune --unused: {results_dir} holds no finished run. Name it with --results-dir.")
    return frozenset(store for run in runs for store in run.summary["stores"])


def _said(folder: Path) -> str:
    from featcache.options import cache_url

    return cache_url(folder) or str(folder)


def _cache_folder(shared: Shared) -> Path:
    from featcache.errors import OptionsError
    from featcache.options import CacheOptions, cache_url

    folder = shared.cache_dir or Path(CacheOptions.model_fields["dir"].default)
    if cache_url(folder) is None and not folder.is_dir():
        raise OptionsError(f"--cache-dir {folder}: is no folder. Name the one that cache.dir of the options names.")
    if cache_url(folder) is None and not os.access(folder, os.R_OK | os.X_OK):
        raise OptionsError(f"--cache-dir {folder}: may not be read by this user. Name another.")
    return folder
