"""Classes without images in a split, classes merged and limits: trained on, judged and said as they are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import recall_score

from heads import train_model
from heads.finetune.tuning_plan import plan_from_run
from heads.report.html_page import _by_class
from heads.runs import Run

Config = Callable[..., dict[str, Any]]


def train(config: dict[str, Any], tmp_path: Path) -> Run:
    return train_model(config, device="cpu", results_dir=tmp_path / "results")


def test_a_class_that_val_lacks_has_no_figure_there(config: Config, digits: Path, tmp_path: Path) -> None:
    shutil.rmtree(digits / "val" / "digit 2")
    run = train(config(), tmp_path)
    val, test = run.summary["per_class"]["val"], run.summary["per_class"]["test"]
    assert [one["n"] for one in val] == [5, 5, 0, 5]
    assert val[2]["recall"] is None
    assert all(one["recall"] is not None for one in test)
    recalls = [one["recall"] for one in val if one["n"]]
    matrix = run.summary["confusion"]["val"]
    assert sum(matrix[2]) == 0
    labels = [label for label, line in enumerate(matrix) for _ in range(sum(line))]
    said = [n for line in matrix for n, count in enumerate(line) for _ in range(count)]
    assert sum(recalls) / 3 == pytest.approx(recall_score(labels, said, labels=[0, 1, 3], average="macro"))
    assert run.summary["val"]["balanced_accuracy"]["mean"] == pytest.approx(sum(recalls) / 3)


def test_the_report_says_over_which_classes_a_mean_is() -> None:
    class Row:
        @staticmethod
        def value(name: str) -> float:
            return {"val_balanced_accuracy": 0.5, "val_macro_f1": 0.25, "val_auroc": 0.5}[name]

    classes = [{"class": "a", "n": 3}, {"class": "b", "n": 0}, {"class": "c", "n": 2}]
    row: Any = Row()
    assert _by_class(row, classes).endswith("AUROC 0.5000; over 2 of 3 classes, no images of b")
    assert "over" not in _by_class(row, [classes[0], classes[2]])
    assert "AUROC" not in _by_class(row, classes[:2])  # of one class alone there is none


def test_merged_classes_and_limits_extract_nothing(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(config(), tmp_path)
    caplog.clear()
    data = {"classes": {"even": ["digit 0", "digit 2"], "odd": ["digit 1"]}, "limit": 4}
    run = train(config("merged", data=data, model={"classifier_dims": ["auto", 16, 2]}), tmp_path)
    assert run.summary["classes"] == ["even", "odd"]
    assert run.summary["data"]["images"] == {"train": 8, "val": 15, "test": 12}
    assert [one["n"] for one in run.summary["per_class"]["val"]] == [10, 5]
    assert "35 rows reused, 0 new" in caplog.text
    tuned = plan_from_run(tmp_path / "results" / "merged", config=None, overrides=[]).options
    assert tuned.data.classes == {"even": ("digit 0", "digit 2"), "odd": ("digit 1",)}
    assert tuned.data.limit is not None
    assert tuned.data.limit.train == 4
