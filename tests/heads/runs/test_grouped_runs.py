"""Runs whose images have groups: what straddles is counted and warned of, and predictions carry the groups."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY, write_digits

from featcache.audit import audit_file, write_audit
from featcache.records import SILENT
from heads import train_model
from heads.runs import audit_runs
from heads.runs.predictions import Predictions, Probe, load_predictions, load_probe
from heads.runs.run import Run

Config = Callable[..., dict[str, Any]]
Train = Callable[..., Run]

PATIENTS = {"train": [0, 1, 2, 3, 4, 5], "val": [0, 100, 200], "test": [100, 300]}


def patient(name: str) -> str:
    """Images 000 and 001 of a class and split are of one patient, and so on; val has one of train, test one of val."""
    split, digit, file = name.split("/")
    return f"{digit} P{PATIENTS[split][int(file[:3]) // 2]}"


@pytest.fixture
def table(digits: Path, tmp_path: Path) -> str:
    names = [p.relative_to(digits).as_posix() for p in sorted(digits.rglob("*.png"))]
    (tmp_path / "who.csv").write_text("\n".join(["path,patient", *(f"{n},{patient(n)}" for n in names)]) + "\n")
    return f"csv:{tmp_path / 'who.csv'}:patient"


@pytest.fixture
def train(config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Train:
    def run(name: str = "run", reuse: bool = False, **sections: dict[str, Any]) -> Run:
        sections["model"] = {"backbone": TINY, **sections.get("model", {})}
        sections["training"] = {"epochs": 2, **sections.get("training", {})}
        with caplog.at_level(logging.WARNING, logger="featcache"):
            return train_model(
                config(name, **sections), results_dir=tmp_path / "results", allow_custom=True, reuse=reuse
            )

    return run


def test_groups_that_straddle_are_counted_judged_and_warned_of(
    train: Train, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = train(data={"groups": table})
    found = run.summary["group_leakage"]
    assert (found["val"]["leaked"], found["val"]["groups"]) == (8, 4)  # 2 images of patient 0 of each class
    assert (found["test"]["leaked"], found["test"]["groups"]) == (8, 4)  # those of val's patient 1
    seen = load_predictions(run.folder / "predictions.npz", "val")
    right = seen.logits[0].argmax(axis=1) == seen.labels
    kept = np.array([int(name.split("/")[2][:3]) >= 2 for name in seen.images])
    assert found["val"]["top1"] == pytest.approx(right.mean())
    assert found["val"]["top1_without"] == pytest.approx(right[kept].mean())
    (line,) = (m for m in caplog.messages if "data.groups" in m)
    assert "8 of 20 val images" in line
    assert "8 of 16 test images" in line
    assert "val/digit 0/000.png of 'digit 0 P0'" in line
    assert run.summary["leakage"]["val"]["leaked"] == 0


def test_folds_keep_groups_so_that_test_alone_can_leak(
    train: Train, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = train(data={"groups": table, "folds": 3}).summary["group_leakage"]
    assert (found["val"]["leaked"], found["test"]["leaked"]) == (0, 8)
    (line,) = (m for m in caplog.messages if "data.groups" in m)
    assert "val images" not in line


def test_without_groups_nothing_is_said_and_predictions_have_none(
    train: Train, caplog: pytest.LogCaptureFixture
) -> None:
    run = train()
    assert run.summary["group_leakage"] is run.summary["data"]["groups"] is None
    assert load_predictions(run.folder / "predictions.npz", "val").groups is None
    assert not caplog.messages


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"data": {"folds": 3}},
        {
            "model": {"backbone": "networks:four_stages"},
            "training": {"unfreeze_schedule": [{"epoch": 1, "unfreeze": "last_block"}]},
        },
    ],
    ids=["heads", "folds", "phase 2"],
)
def test_predictions_carry_the_groups_of_their_images(train: Train, table: str, sections: dict[str, Any]) -> None:
    run = train(**{**sections, "data": {"groups": table, **sections.get("data", {})}})
    file = run.folder / "predictions.npz"
    carry: list[Predictions | Probe] = [load_predictions(file, "val"), load_predictions(file, "test")]
    carry += [load_probe(file)] if run.summary["phase"] == 1 else []
    for seen in carry:
        assert seen.groups is not None
        same = seen.groups[:, None] == seen.groups
        names = np.array([patient(name) for name in seen.images])
        assert np.array_equal(same, names[:, None] == names)


def test_a_table_that_changed_is_no_finished_run(train: Train, table: str) -> None:
    assert not train(reuse=True, data={"groups": table, "folds": 3}).reused
    assert train(reuse=True, data={"groups": table, "folds": 3}).reused
    file = Path(table.removeprefix("csv:").removesuffix(":patient"))
    file.write_text(file.read_text().replace("digit 0 P1\n", "digit 0 P2\n"))
    assert not train(reuse=True, data={"groups": table, "folds": 3}).reused


def test_an_audit_of_runs_knows_their_groups_as_the_table_has_them_now(
    train: Train, table: str, tmp_path: Path
) -> None:
    run = train(data={"groups": table})
    found = audit_runs([run], None, SILENT)
    assert found.groups == {name: patient(name) for name in found.groups}
    assert len(found.groups) == 84
    write_audit(found, audit_file(found, tmp_path / "results"))
    assert audit_runs([run], None, SILENT, reuse=tmp_path / "results") == found
    file = Path(table.removeprefix("csv:").removesuffix(":patient"))
    file.write_text(file.read_text().replace("digit 0 P1\n", "digit 0 P2\n"))
    again = audit_runs([run], None, SILENT, reuse=tmp_path / "results")
    assert again.groups == {n: "digit 0 P2" if g == "digit 0 P1" else g for n, g in found.groups.items()}


def test_a_class_with_one_image_is_trained_and_has_no_figures_of_splits_without_it(
    train: Train, tmp_path: Path
) -> None:
    root = write_digits(tmp_path / "bare", {"": 20})
    for file in sorted((root / "digit 2").iterdir())[1:]:
        file.unlink()
    run = train(data={"path": str(root)})
    for split in ("val", "test"):
        rare = run.summary["per_class"][split][2]
        assert rare == {"class": "digit 2", "recall": None, "n": 0}
        assert all(0 <= one["recall"] <= 1 and one["n"] for one in run.summary["per_class"][split] if one != rare)
        assert np.isfinite(run.metrics[f"{split}_top1"])
    folded = train("folded", data={"path": str(root), "folds": 5})
    assert folded.summary["per_class"]["val"][2]["n"] == 1
