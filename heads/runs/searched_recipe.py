"""What a run owes to its recipe having been the best of several that were tried: a file beside those of the run.

It is no part of the run's own record, since a search that goes on may try more recipes and end with the same one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from featcache.atomic import write_text

log = logging.getLogger("featcache")

SEARCHED_FILE = "searched.json"


@dataclass(frozen=True)
class SearchedRecipe:
    """The choice of a recipe on the validation images that the run is judged by."""

    among: int  # recipes that were tried
    # By metric, larger better: what being the best of them added to the figures on val, beyond the choice of the epoch.
    added: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""  # why that is not known

    def said(self, top1: float) -> str:
        """For people, of a run with this top-1 on val."""
        said = f"its recipe is the best of {self.among} that were tried on these validation images"
        if "top1" not in self.added:
            return f"{said}; what that added cannot be said: {self.reason}"
        added = self.added["top1"]
        if added < 0.0005:
            return f"{said}, which added nothing to its val top-1"
        return f"{said}, which added {added:.3f} to val top-1: {top1:.3f} as found, {top1 - added:.3f} less that"


def write_searched(run: Path, searched: SearchedRecipe) -> None:
    """Into the folder of a finished run."""
    write_text(run / SEARCHED_FILE, json.dumps(asdict(searched), indent=2) + "\n")


def searched_recipe(run: Path) -> SearchedRecipe | None:
    """That of the run in a folder; None where its recipe was not searched, or its file is damaged (with a warning)."""
    file = run / SEARCHED_FILE
    if not file.is_file():
        return None
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        added = {str(metric): max(0.0, float(one)) for metric, one in value["added"].items()}
        return SearchedRecipe(int(value["among"]), added, str(value["reason"]))
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: cannot be read (%s); search the recipe again", file, error, extra={"once": str(file)})
        return None
