"""results/curves/NAME.json and NAME.csv: written whole, read back for the report."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.atomic import write_text

log = logging.getLogger("featcache")

FOLDER = "curves"  # below results/
FORMAT = 1
COLUMNS = ("name", "backbone", "size", "shots", "images", "noise", "split", "metric", "mean", "low", "high", "draws")


@dataclass(frozen=True)
class SavedCurves:
    """A study as its file has it."""

    name: str
    document: Mapping[str, Any]

    @property
    def runs(self) -> list[str]:
        """The names of its runs or options."""
        return [str(curve["name"]) for curve in self.document["curves"]]


def write_curves(document: Mapping[str, Any], results_dir: Path) -> tuple[Path, Path]:
    """Write a study's document as JSON and as a table; returns both files. Raises OutputError where it cannot."""
    file = results_dir / FOLDER / f"{document['name']}.json"
    write_text(file, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    table = file.with_suffix(".csv")
    write_text(table, _table(document))
    return file, table


def load_curves(results_dir: Path, data: str) -> list[SavedCurves]:
    """Every study below `results_dir` on the data with the fingerprint `data`, the earliest written first; what cannot
    be read is passed over with a notice."""
    found = []
    for file in sorted((results_dir / FOLDER).glob("*.json"), key=lambda f: (f.stat().st_mtime_ns, f.name)):
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            one = SavedCurves(str(document["name"]), document)
            if document["format"] == FORMAT and document["data"]["fingerprint"] == data and one.runs:
                found.append(one)
        except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
            log.warning("%s: passed over, it is no learning curve of featcache's (%s)", file, type(error).__name__)
    return found


def _table(document: Mapping[str, Any]) -> str:
    """One row for each point, split and metric."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for curve in document["curves"]:
        for point in [*curve["points"], *(p for p in curve["noise"] if p["noise"])]:
            for key, one in point.items():
                if not isinstance(one, dict):
                    continue
                split, _, metric = key.partition("_")
                at = [point["size"], point["shots"], point["images"], point["noise"]]
                figures = [one["mean"], *one["ci95"], len(one["draws"])]
                writer.writerow([curve["name"], curve["backbone"], *at, split, metric, *figures])
    return stream.getvalue()
