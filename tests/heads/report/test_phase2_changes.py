"""The page on what Phase 2 changed: images that turned right and wrong, planted and counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from answering_runs import answering_run, labels_of, sure
from scipy.stats import binom

from featcache.records import digest
from heads.report.phase2_changes import Phase2Changes, phase2_changes
from heads.runs import load_run_record

N = 60
TRUE = labels_of(N)
CLASSES = ["ant", "bee", "cat"]


@pytest.fixture
def changes(tmp_path: Path) -> Phase2Changes:
    """A start that has images 0 to 9 wrong, and a run that has 7 to 11 wrong; its images are in another order."""
    every = np.arange(N)
    answering_run(tmp_path, "start", *[sure(TRUE, every < 10)] * 2)
    folder = answering_run(tmp_path, "tuned", *[sure(TRUE, (every > 6) & (every < 12))] * 2)
    with np.load(folder / "predictions.npz") as arrays:
        found = {n: _turned(n, a) for n, a in arrays.items()}
    np.savez(folder / "predictions.npz", **found)
    summary = json.loads((folder / "summary.json").read_text())
    came = {"phase": 2, "from_run": "start", "from_inputs": digest({"options": "start", "data": "d"})}
    (folder / "summary.json").write_text(json.dumps({**summary, **came}))
    (found_,) = of_tuned(tmp_path)
    return found_


def of_tuned(results: Path) -> list[Phase2Changes]:
    runs = {name: load_run_record(results / name) for name in ("start", "tuned")}
    rows = [SimpleNamespace(run="tuned", phase=2, from_run="start"), SimpleNamespace(run="start", phase=1, from_run="")]
    return phase2_changes(SimpleNamespace(rows=rows, runs=runs, manifest=None), CLASSES)  # type: ignore[arg-type]


def _turned(name: str, array: Any) -> Any:
    return array[:, ::-1] if name.endswith("_logits") else array[::-1]


def test_a_start_that_was_trained_anew_since_is_not_what_it_came_from(changes: Phase2Changes, tmp_path: Path) -> None:
    assert changes.start == "start"
    file = tmp_path / "start" / "summary.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "inputs": {"options": "others"}}))
    assert of_tuned(tmp_path) == []


def test_what_turned_is_counted_by_class(changes: Phase2Changes) -> None:
    val, test = changes.splits
    p = 2 * binom.cdf(2, 9, 0.5)
    assert val.said == f"of 60 validation images 7 turned right and 2 wrong (p {p:.2g})"
    assert test.said.startswith("of 60 test images 7 turned right and 2 wrong")
    every = np.arange(N)
    before, after = every >= 10, (every <= 6) | (every >= 12)
    for label, line in enumerate(val.classes):
        of = label == TRUE
        expected = [of, of & before, of & after, of & ~before & after, of & before & ~after]
        assert line.cells == tuple(int(one.sum()) for one in expected)
    assert [len(line.cells) for line in changes.lines] == [10, 10, 10]


def test_the_pictures_are_of_those_images(changes: Phase2Changes) -> None:
    assert len(changes.right) == 7 and len(changes.wrong) == 2
    assert all(one.before != one.label == one.after for one in changes.right)
    assert all(one.before == one.label != one.after for one in changes.wrong)
    assert len({one.name for one in changes.images}) == 9
