"""A run's folder under results/: which name it gets, and how it is written whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from featcache.atomic import make_folder, sync
from featcache.errors import InputError, RunError
from featcache.options import Options
from heads.runs.leaked_images import warn_of_leakage
from heads.runs.recipe_doubts import warn_of_recipe
from heads.runs.run import Run, is_tuned, load_run_record
from heads.training import best_epoch_said

log = logging.getLogger("featcache")

EXPORT = "export"  # in a run's folder, where exports of it go


@contextmanager
def results_folder(folder: Path) -> Iterator[None]:
    """`folder` is there before hours of work, not after; where the input was wrong none is left behind."""
    made = not folder.exists()
    make_folder(folder)
    try:
        yield
    except InputError:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def run_folder(results_dir: Path, options: Options) -> Path:
    """Where a run with `options` belongs: under its name, or, when other options took that, under name-options8.

    A tuned run is none of its options alone: what was tried beside them is lost with it. Nor is a soup of runs.
    """
    folder = results_dir / options.experiment_name
    if not folder.exists() or (_options_short(folder) == options.short and not _made_of_more(folder)):
        return folder
    other = results_dir / f"{options.experiment_name}-{options.short}"
    log.info("%s is taken by other options or files; this run goes to %s", folder, other)
    return other


def _options_short(folder: Path) -> str | None:
    try:
        return Options.model_validate_json((folder / "options.json").read_text()).short
    except (OSError, ValueError):
        return None  # not a run of this version: leave it alone


def _made_of_more(folder: Path) -> bool:
    try:
        run = load_run_record(folder)
        return is_tuned(run) or run.summary.get("soup") is not None
    except RunError:
        return False


@contextmanager
def writing_folder(folder: Path, replaced: str) -> Iterator[Path]:
    """A partial folder that takes the place of `folder` when the block ends well, and is gone when it does not; where
    there is one before, `replaced` says what it is."""
    make_folder(folder.parent)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    for stale in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        if not _alive(stale.suffixes[-2]):  # its process was killed
            shutil.rmtree(stale, ignore_errors=True)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for file in partial.iterdir():
            sync(file)
        _swap(partial, folder, replaced)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_run(folder: Path, log_lines: list[str], write: Callable[[Path], None]) -> Run:
    """The run that `write` puts into the folder it is given, with its log."""
    with writing_folder(folder, "an earlier run with the same options") as partial:
        write(partial)
        seen = load_run_record(partial)
        warn_of_leakage(seen)
        warn_of_recipe(seen)
        log.info(
            "%s: val top-1 %.4f, %s -> %s",
            seen.summary["backbone"],
            seen.metrics["val_top1"],
            best_epoch_said(seen.best_epoch),
            folder,
        )
        (partial / "log.txt").write_text("\n".join([*log_lines, ""]), encoding="utf-8")
    return load_run_record(folder)


def _alive(suffix: str) -> bool:
    """Whether the process whose number a partial folder's name ends in still runs."""
    try:
        os.kill(int(suffix.removeprefix(".")), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):
        return True
    return True


def _swap(partial: Path, folder: Path, replaced: str) -> None:
    """A folder cannot be renamed over one that holds files: the old one steps aside first."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        log.info("%s: takes the place of %s", folder, replaced)
        if (folder / EXPORT).is_dir():
            log.warning("%s: what was exported of the run that was there went with it; export again", folder / EXPORT)
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
