"""A finished run read from its folder; every finished run of a results folder."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.errors import RunError
from featcache.options import cache_folder, cache_url
from heads.runs.own_files import require_own_files

log = logging.getLogger("featcache")


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
        """The epoch whose weights are in best_model.pth, counted from 0 (-1: the network as it was before
        training, which no epoch was better than); raises RunError of what is made of other runs."""
        if self.summary["best_epoch"] is None:
            raise RunError(f"{self.folder}: is made of other runs, and was trained in no epoch itself.")
        return int(self.summary["best_epoch"])

    @property
    def metrics(self) -> dict[str, float]:
        """Mean over seeds of every metric: val_top1, val_top3, val_loss, test_top1, test_top3, test_loss, .."""
        return {f"{s}_{m}": one["mean"] for s in ("val", "test") for m, one in self.summary[s].items()}


def load_run_record(folder: Path) -> Run:
    """The run in `folder`; raises RunError when it is not whole."""
    require_own_files(folder)
    try:
        summary = json.loads((folder / "summary.json").read_text())
        performance = json.loads((folder / "performance.json").read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{folder}: is no finished run ({error}).") from None
    for name, value, keys in (("summary", summary, SUMMARY_KEYS), ("performance", performance, PERFORMANCE_KEYS)):
        missing = sorted(keys - set(value)) if isinstance(value, dict) else sorted(keys)
        if missing:
            raise RunError(f"{folder}: its {name}.json is not one of featcache's: it lacks {', '.join(missing)}.")
    missing = sorted({"from_run", "from_inputs"} - set(summary)) if summary["phase"] == 2 else []
    if missing:
        raise RunError(f"{folder}: its summary.json is not one of featcache's: it lacks {', '.join(missing)}.")
    _require_stores(folder, summary["stores"])
    _require_kinds(folder, summary)
    return Run(folder, summary, performance)


def _require_kinds(folder: Path, summary: dict[str, Any]) -> None:
    """Raise RunError for values that nothing here writes, which whoever reads the run would stumble over."""
    kinds = {"backbone": str, "weights": str, "cache_dir": str, "features": int, "phase": int}
    odd = [name for name, kind in kinds.items() if not isinstance(summary[name], kind)]
    odd += [split for split in ("val", "test") if not _has_figures(summary[split])]
    if odd:
        raise RunError(
            f"{folder}: its summary.json has {', '.join(odd)} of another kind than featcache writes. Ask where the run "
            "comes from, or train it again."
        )


def _has_figures(split: Any) -> bool:
    """Whether a split's metrics are there, each with its mean (or none, of what cannot be had) and its interval."""
    if not isinstance(split, dict) or not {"top1", "top3", "loss"} <= set(split):
        return False
    return all(isinstance(one, dict) and {"std", "ci95"} <= set(one) and _is_figure(one) for one in split.values())


def _is_figure(one: dict[str, Any]) -> bool:
    ends = one["ci95"]
    numbers = [one["mean"], one["std"], *ends] if "mean" in one and isinstance(ends, list) and len(ends) == 2 else [""]
    return all(isinstance(number, int | float | None) for number in numbers)


def _require_stores(folder: Path, stores: Any) -> None:
    """Raise RunError for what would be looked for outside of the cache."""
    names = stores if isinstance(stores, list) else [stores]
    odd = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if odd:
        raise RunError(
            f"{folder}: its summary.json names {odd[0]!r:.200} among its stores. Expected names of files in the cache, "
            "as featcache writes them. Ask where the run comes from, or train it again."
        )


def same_run(folder: Path, inputs: dict[str, Any]) -> Run | None:
    """The finished run in `folder`, if it is of these inputs."""
    try:
        run = load_run_record(folder)
    except RunError:
        return None
    if run.summary.get("inputs") != inputs or not all((folder / name).is_file() for name in RUN_FILES):
        return None
    return Run(run.folder, run.summary, run.performance, reused=True)


def is_tuned(run: Run) -> bool:
    """Whether its head's recipe was found among several for its feature map (`benchmark --tuned`)."""
    return bool(run.summary.get("tuned"))


def is_student(run: Run) -> bool:
    """Whether it learned from a teacher: how well its head was taught says nothing of its features."""
    return run.summary.get("distillation") is not None


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


def cache_of(run: Run) -> Path:
    """The cache that the run's features were kept in: where it says, or beside the results where both were moved."""
    said = cache_folder(run.summary["cache_dir"])
    if cache_url(said) is not None:
        return said
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
