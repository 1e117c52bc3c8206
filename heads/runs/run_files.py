"""The plain files of a run's folder: JSON, and metrics.csv with a row for each epoch."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from featcache.errors import FeatcacheError
from heads.training import EpochRow, TrainedHead

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


def write_json(file: Path, value: Any) -> None:
    """`value`, readable by people and diffs; NaN is refused."""
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise FeatcacheError(f"{file.name}: a figure is not finite, so the run is not kept.") from None
    file.write_text(text + "\n", encoding="utf-8")


def epoch_columns(row: EpochRow, head: TrainedHead) -> dict[str, Any]:
    """What metrics.csv says of an epoch of a head."""
    columns = asdict(row)
    more = {f"val_{name}": value for name, value in columns.pop("more").items()}
    return {**columns, "seed": head.seed, "fold": head.fold, **more}


def write_metrics(file: Path, rows: list[dict[str, Any]]) -> None:
    """metrics.csv: a row for each epoch and seed; further metrics come behind the columns that every file has."""
    more = [name for name in rows[0] if name not in METRIC_COLUMNS] if rows else []
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, [*METRIC_COLUMNS, *more], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
