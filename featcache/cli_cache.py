"""`featcache cache list`, `verify` and `prune`: look after the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcache.console import CACHE, RESULTS, ResultsDir, Verbose, guarded, working

cache_app = typer.Typer(help="Look after the store.", no_args_is_help=True, rich_markup_mode=None)


@cache_app.command("list")
@guarded
def cache_list(cache_dir: Path = CACHE, verbose: Verbose = False) -> None:
    """Every store: rows, size, data sets, when it was last used."""
    del verbose
    from featcache.store.upkeep import list_stores
    from featcache.terminal import consoles, stores_table

    entries = list_stores(_cache_folder(cache_dir))
    if entries:
        consoles()[0].print(stores_table(entries))
    typer.echo(f"{cache_dir}: {len(entries)} stores, {sum(e.size_bytes for e in entries) / 1e6:.1f} MB")


@cache_app.command("verify")
@guarded
def cache_verify(
    cache_dir: Path = CACHE,
    repair: Annotated[bool, typer.Option("--repair", help="Drop what is damaged; it is extracted again.")] = False,
    verbose: Verbose = False,
) -> None:
    """Read every byte of every store; name the rows that are not what was written."""
    del verbose
    from featcache.errors import StoreError
    from featcache.store.upkeep import stores
    from featcache.store.verify import describe, verify
    from featcache.store.verify import repair as run_repair

    damaged = left = 0
    every = stores(_cache_folder(cache_dir))
    for path in every:
        verdict = verify(path)
        typer.echo(describe(verdict))
        damaged += not verdict.ok
        if repair and not verdict.ok:
            done = run_repair(verdict)
            left += not done
            typer.echo("  repaired" if done else "  left as it is: a process works with it")
    typer.echo(f"{cache_dir}: {len(every)} stores, {damaged} of them damaged")
    if damaged and not repair:
        raise StoreError(
            f"{damaged} stores are damaged. `featcache cache verify --repair` drops what is, and the next `extract` or "
            "`train` extracts only that again."
        )
    if left:
        raise StoreError(f"{left} damaged stores are in use. Run the same command when nothing works with them.")


@cache_app.command("prune")
@guarded
def cache_prune(
    cache_dir: Path = CACHE,
    older_than_days: Annotated[float | None, typer.Option(min=0, help="Not used for so many days.")] = None,
    max_gb: Annotated[float | None, typer.Option(min=0, help="Longest unused first, until all take less.")] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="No run under the results folder was trained on it.")
    ] = False,
    results_dir: ResultsDir = RESULTS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    verbose: Verbose = False,
) -> None:
    """Remove stores by age, by size, or because nothing used them; never one that a process works with."""
    from featcache.errors import OptionsError
    from featcache.store.upkeep import prune

    if older_than_days is None and max_gb is None and not unused:
        raise OptionsError("cache prune: say what may go: --older-than-days N, --max-gb N or --unused (or several).")
    with working(verbose, quiet=False):
        used = _used_stores(results_dir) if unused else None
        pruned = prune(
            _cache_folder(cache_dir), older_than_days=older_than_days, max_gb=max_gb, used=used, dry_run=dry_run
        )
    for one in pruned:
        what = "kept, a process works with it" if one.kept else "would go" if dry_run else "removed"
        typer.echo(f"{one.entry.path}: {what} ({one.entry.size_bytes / 1e6:.1f} MB; {one.reason})")
    gone = sum(one.entry.size_bytes for one in pruned if not one.kept)
    typer.echo(f"{cache_dir}: {gone / 1e6:.1f} MB {'would be freed' if dry_run else 'freed'}")


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


def _cache_folder(cache_dir: Path) -> Path:
    from featcache.errors import OptionsError

    if not cache_dir.is_dir():
        raise OptionsError(f"--cache-dir {cache_dir}: is no folder. Name the one that cache.dir of the options names.")
    return cache_dir
