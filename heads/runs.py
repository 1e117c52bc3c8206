"""The results folder: one sub-folder for each run, whole or not there."""

from __future__ import annotations

import contextlib
import csv
import glob
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.atomic import make_folder, sync
from featcache.errors import FeatcacheError, InputError, RunError
from featcache.options import Options

log = logging.getLogger("featcache")

METRIC_COLUMNS = (
    "epoch",
    "train_loss",
    "train_top1",
    "val_loss",
    "val_top1",
    "val_top3",
    "learning_rate",
    "seconds",
    "seed",
    "fold",
    "blocks",
    "rates",
)


RUN_FILES = frozenset(
    {
        "options.json",
        "metrics.csv",
        "performance.json",
        "summary.json",
        "predictions.npz",
        "best_model.pth",
        "environment.json",
        "log.txt",
    }
)
SUMMARY_KEYS = {
    *("backbone", "weights", "weights_fell_back", "features", "phase", "best_epoch", "val", "test", "data"),
    *("separability", "leakage", "stores", "cache_dir"),
}
PERFORMANCE_KEYS = {
    "latency_ms",
    "macs",
    "params_backbone",
    "params_head",
    "images_per_second",
    "head_seconds",
}


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and what it holds."""

    folder: Path
    summary: dict[str, Any]
    performance: dict[str, Any]
    reused: bool = False  # the same options on the same data were trained before

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights are in best_model.pth, counted from 0."""
        return int(self.summary["best_epoch"])

    @property
    def metrics(self) -> dict[str, float]:
        """Mean over seeds: val_top1, val_top3, val_loss, test_top1, test_top3, test_loss."""
        return {f"{s}_{m}": self.summary[s][m]["mean"] for s in ("val", "test") for m in ("top1", "top3", "loss")}


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
    """Where a run with `options` belongs: under its name, or, when other options took that, under name-options8."""
    folder = results_dir / options.experiment_name
    if not folder.exists() or _options_short(folder) == options.short:
        return folder
    other = results_dir / f"{options.experiment_name}-{options.short}"
    log.info("%s is taken by other options or files; this run goes to %s", folder, other)
    return other


def _options_short(folder: Path) -> str | None:
    try:
        return Options.model_validate_json((folder / "options.json").read_text()).short
    except (OSError, ValueError):
        return None  # not a run of this version: leave it alone


def load_run_record(folder: Path) -> Run:
    """The run in `folder`; raises RunError when it is not whole."""
    try:
        summary = json.loads((folder / "summary.json").read_text())
        performance = json.loads((folder / "performance.json").read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{folder}: is no finished run ({error}).") from None
    for name, value, keys in (("summary", summary, SUMMARY_KEYS), ("performance", performance, PERFORMANCE_KEYS)):
        missing = sorted(keys - set(value)) if isinstance(value, dict) else sorted(keys)
        if missing:
            raise RunError(f"{folder}: its {name}.json is not one of featcache's: it lacks {', '.join(missing)}.")
    missing = sorted({"from_run", "from_inputs"} - set(summary)) if summary["phase"] == 2 else []
    if missing:
        raise RunError(f"{folder}: its summary.json is not one of featcache's: it lacks {', '.join(missing)}.")
    return Run(folder, summary, performance)


def same_run(folder: Path, inputs: dict[str, Any]) -> Run | None:
    """The finished run in `folder`, if it is of these inputs."""
    try:
        run = load_run_record(folder)
    except RunError:
        return None
    if run.summary.get("inputs") != inputs or not all((folder / name).is_file() for name in RUN_FILES):
        return None
    return Run(run.folder, run.summary, run.performance, reused=True)


def finished_runs(results_dir: Path) -> list[Run]:
    """Every finished run below `results_dir`, in name order."""
    runs = []
    for folder in sorted(p for p in results_dir.glob("*") if p.is_dir() and not p.name.startswith(".")):
        try:
            runs.append(load_run_record(folder))
        except RunError as error:
            if (folder / "summary.json").exists():
                log.info("passed over: %s", error)
    return runs


@contextmanager
def recording() -> Iterator[list[str]]:
    """The lines that featcache logs inside the block, for log.txt."""
    lines: list[str] = []
    handler = _Lines(lines)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        yield lines
    finally:
        log.removeHandler(handler)


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def writing_run(folder: Path) -> Iterator[Path]:
    """A partial folder that takes the place of `folder` when the block ends well, and is gone when it does not."""
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
        _swap(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_run(folder: Path, log_lines: list[str], write: Callable[[Path], None]) -> Run:
    """The run that `write` puts into the folder it is given, with its log."""
    with writing_run(folder) as partial:
        write(partial)
        seen = load_run_record(partial)
        warn_of_leakage(seen)
        log.info(
            "%s: val top-1 %.4f, best epoch %d -> %s",
            seen.summary["backbone"],
            seen.metrics["val_top1"],
            seen.best_epoch,
            folder,
        )
        (partial / "log.txt").write_text("\n".join([*log_lines, ""]), encoding="utf-8")
    return load_run_record(folder)


def leakage_line(leakage: Mapping[str, Mapping[str, Any]]) -> str:
    """How many images of each split leaked, and what they do to its accuracy; "" where there are none."""
    parts = []
    for split, one in leakage.items():
        if one["leaked"]:
            without = "none left" if one["top1_without"] is None else f"{one['top1_without']:.4f}"
            parts.append(
                f"{one['leaked']} of {one['leaked'] + one['n_without']} {split} images (top-1 {one['top1']:.4f} with "
                f"them, {without} without)"
            )
    if not parts:
        return ""
    return (
        f"leaked, with an exact copy where they were trained on or chosen by: {', '.join(parts)}. `featcache audit` "
        "looks closer and lists what to leave out"
    )


def warn_of_leakage(run: Run) -> None:
    """Say so, where a run was judged by images that it had seen."""
    if line := leakage_line(run.summary["leakage"]):
        log.warning("%s: %s", run.summary["backbone"], line)


def cache_of(run: Run) -> Path:
    """The cache that the run's features were kept in: where it says, or beside the results where both were moved."""
    said = Path(run.summary["cache_dir"])
    beside = run.folder.resolve().parent.parent / said.name
    return said if said.is_dir() or not beside.is_dir() else beside


def unreadable_runs(results_dir: Path) -> list[str]:
    """Why folders that look like runs are passed over, a sentence for each."""
    found = []
    for file in sorted(results_dir.glob("*/summary.json")):
        try:
            load_run_record(file.parent)
        except RunError as error:
            if not file.parent.name.startswith("."):
                found.append(str(error))
    return found


def _alive(suffix: str) -> bool:
    """Whether the process whose number a partial folder's name ends in still runs."""
    try:
        os.kill(int(suffix.removeprefix(".")), 0)
    except ProcessLookupError:
        return False
    except (ValueError, OSError):
        return True
    return True


def _swap(partial: Path, folder: Path) -> None:
    """A folder cannot be renamed over one that holds files: the old one steps aside first."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        log.info("%s: takes the place of an earlier run with the same options", folder)
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_json(file: Path, value: Any) -> None:
    """`value`, readable by people and diffs; NaN is refused."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise FeatcacheError(f"{file.name}: a figure is not finite, so the run is not kept.") from None
    file.write_text(text + "\n", encoding="utf-8")


def write_metrics(file: Path, rows: list[dict[str, Any]]) -> None:
    """metrics.csv: a row for each epoch and seed."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, METRIC_COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
