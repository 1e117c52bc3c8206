"""`distill` end to end on small networks: who may teach, what is answered unseen, what is never trained on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_runs import done, featcache
from conftest import write_digits

from featcache import load_run
from featcache.errors import DataError, InputError, OptionsError, RunError
from featcache.extraction import extract_all
from featcache.options import parse_options
from featcache.session import Session
from heads import distill_model
from heads.combine import combine_runs
from heads.distill import lesson_of
from heads.experiment import train_model
from heads.finetune import fine_tune
from heads.leaderboard import rank_results
from heads.runs import load_run_record
from heads.students import DistillPlan, _own_runs, _student_options
from heads.training import load_features

ALL = [{"epoch": 1, "unfreeze": "all"}]
SLOW, FAST = "networks:four_stages", "conftest:tiny_backbone"


def options(root: Path, name: str, backbone: str, **training: Any) -> Any:
    return parse_options(
        {
            "experiment_name": name,
            "model": {"backbone": backbone, "classifier_dims": ["auto", 8, 4]},
            "data": {
                "path": str(root / "digits"),
                "batch_size": 12,
                "workers": 1,
                "augmentations": ["rotation"],
                "views": 2,
            },
            "training": {"epochs": 8, "learning_rate": 0.02, **training},
            "cache": {"dir": str(root / "cache"), "batch_size": 8},
            "profile": {"iterations": 2, "warmup": 1},
        }
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads on two networks, one that was fine-tuned, all combined; images without labels, some of them copies."""
    root = tmp_path_factory.mktemp("distill")
    write_digits(root / "digits", {"train": 12, "val": 5, "test": 4})
    write_digits(root / "more", {"": 30})  # the first 21 of each class are those of the data set
    shutil.copy(next((root / "digits" / "val" / "digit 1").glob("*")), root / "more" / "copy.png")
    shutil.copy(next((root / "more" / "digit 2").glob("*")), root / "more" / "twice.png")
    (root / "more" / "torn.png").write_bytes(b"no image")
    place: dict[str, Any] = {"results_dir": root / "results", "device": "cpu", "allow_custom": True}
    train_model(options(root, "slow", SLOW), **place)
    train_model(options(root, "fast", FAST, seeds=2, epochs=40), **place)
    fine_tune(options(root, "tuned", SLOW, epochs=2, unfreeze_schedule=ALL), **place)
    combine_runs([root / "results" / n for n in ("slow", "fast", "tuned")], root / "results", name="all")
    return root


def place(root: Path, results: str = "results") -> dict[str, Any]:
    return {"results_dir": root / results, "device": "cpu", "allow_custom": True}


def lesson(root: Path, teacher: str, **more: Any) -> tuple[Any, Any, Any, Session]:
    asked = {"teacher": str(root / "results" / teacher), **more}
    own = options(root, "student", FAST, distillation=asked)
    session = Session.begin("cpu", allow_custom=True)
    cached = extract_all(own, session)
    found = lesson_of(own, cached)
    assert found is not None
    features = load_features(cached, session.device, folds=None, limit_bytes=1e9)
    return found, features, cached, session


def test_a_student_is_a_run_like_any(root: Path) -> None:
    found = distill_model(root / "results" / "all", str(root / "results" / "fast"), name="student", **place(root))
    summary = found.run.summary
    assert summary["phase"] == 1 and summary["distillation"]["members"] == ["slow", "fast", "tuned"]
    assert found.alone.folder.name == "fast"
    assert "its own best was" in found.sentences[0] and "conftest:tiny_backbone at" in found.sentences[0]
    ahead = found.differences["alone"]["val"]
    gap = summary["val"]["top1"]["mean"] - found.alone.summary["val"]["top1"]["mean"]
    assert ahead["mean"] == pytest.approx(gap) and ahead["low"] <= ahead["mean"] <= ahead["high"]
    assert "student" in {row.run for row in rank_results(root / "results").board.rows}
    seen = load_run(found.run.folder, allow_custom=True).predict(sorted((root / "digits").glob("test/*/*.png")))
    assert seen.shape == (16, 4)


def test_the_whole_network_learns_from_the_teacher_after_its_head(root: Path, tmp_path: Path) -> None:
    config = tmp_path / "phase2.json"
    training = {"epochs": 3, "learning_rate": 0.01, "unfreeze_schedule": ALL}
    config.write_text(json.dumps({"data": {"augmentations": ["rotation"], "views": 2}, "training": training}))
    results = shutil.copytree(root / "results", tmp_path / "results")
    out = done(
        *("distill", config, "--teacher", "all", "--student", "fast", "--temperature", 4, "--allow-custom"),
        *("--unlabelled", root / "more", "--results-dir", results, "--device", "cpu", "--json", tmp_path / "said.json"),
    )
    run = load_run_record(results / "fast-distilled-phase2")
    assert run.summary["phase"] == 2 and run.summary["from_run"] == "fast-distilled"
    assert run.summary["distillation"]["temperature"] == 4.0
    assert run.summary["distillation"]["left_out"] == {"train": 48, "val": 21, "test": 16, "again": 1}
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["said"] == [line for line in said["said"] if line.split()[0] in " ".join(out.output.split())]
    again = featcache(
        *("finetune", config, "--from-run", results / "fast-distilled", "--allow-custom", "--results-dir", results),
        *("--set", "experiment_name=plain"),
    )
    assert again.exit_code == 0, again.output


def test_training_images_are_answered_by_heads_that_have_not_seen_them(root: Path) -> None:
    """A head right on all that it trained on: what it says as it is has no error, and unseen it has some."""
    known, features, cached, session = lesson(root, "fast", out_of_fold=None)
    unseen = lesson(root, "fast", out_of_fold=3)[0]
    as_is, fresh = (one.taught(features, cached, session).soft.logs for one in (known, unseen))
    labels = np.repeat(features.labels[:48], 2)
    confident = [np.exp(logs[:96])[np.arange(96), labels].mean() for logs in (as_is, fresh)]
    assert confident[0] > confident[1] + 0.03
    assert np.allclose(np.exp(fresh[:96]).sum(axis=1), 1, atol=1e-5)


def test_a_combination_as_it_is_says_what_its_own_predictions_say(root: Path, tmp_path: Path) -> None:
    """The teacher's answers to plain views of training images are those of the loaded model."""
    taught, features, cached, session = lesson(root, "all", out_of_fold=None)
    soft = taught.taught(features, cached, session).soft
    run = load_run(root / "results" / "all", device="cpu", allow_custom=True)
    temperature = load_run_record(root / "results" / "all").summary["calibration"]["temperature"]
    for place in (0, 17, 47):
        image = root / "digits" / cached.manifest.images[place].name
        with torch.inference_mode():
            logits = run.model([transform(image)[None] for transform in run.transforms])
        expected = (logits / temperature).log_softmax(1)[0].numpy()
        assert np.allclose(soft.logs[2 * place], expected, atol=5e-3)


def test_images_of_val_and_test_are_never_learned_from(root: Path) -> None:
    found, features, cached, session = lesson(root, "slow", unlabelled=str(root / "more"))
    judged = {i.sha256 for i in cached.manifest.images if i.split != "train"}
    trained = {i.sha256 for i in cached.manifest.of("train")}
    taught = found.taught(features, cached, session)
    images = [taught.rows.images[i] for i in taught.folds[0].train]
    assert not judged & {i.sha256 for i in images}
    extra = {i.sha256 for i in images} - trained
    assert len(extra) == int(taught.soft.only.sum()) == len(images) - 48
    assert (taught.folds[0].val == features.folds[0].val).all()
    hidden = found.record["unlabelled"] - len(extra)  # one cannot be read
    assert hidden == 1


def test_a_folder_of_which_nothing_can_be_read_is_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"no image")
    found, _, cached, session = lesson(root, "slow", unlabelled=str(tmp_path))
    with pytest.raises(DataError, match="none of the 1 image"):
        found.readable(cached, session)


def test_who_may_not_teach_is_said(root: Path, tmp_path: Path) -> None:
    results = shutil.copytree(root / "results", tmp_path / "results")
    summary = results / "slow" / "summary.json"
    own = json.loads(summary.read_text())
    for change, said in (
        ({"classes": ["a", "b"]}, "tells"),
        ({"data": {**own["data"], "fingerprint": "0"}}, "another cut"),
        ({"data": {**own["data"], "folds": 3}}, "cross-validated"),
    ):
        summary.write_text(json.dumps({**own, **change}))
        with pytest.raises(RunError, match=said):
            train_model(options(root, "x", FAST, distillation={"teacher": str(results / "slow")}), **place(root))
    with pytest.raises(OptionsError, match="mixed anew"):
        options(root, "x", FAST, distillation={"teacher": "t"}, mixup=0.2, unfreeze_schedule=ALL)


@pytest.mark.parametrize("training", [{}, {"unfreeze_schedule": ALL}], ids=["head", "whole network"])
@pytest.mark.parametrize("wrong", ["missing", "damaged", "classes", "images", "unlabelled"])
def test_a_bad_teacher_is_refused_before_anything_is_extracted(
    root: Path, tmp_path: Path, wrong: str, training: dict[str, Any]
) -> None:
    teacher = tmp_path / "teacher"
    if wrong != "missing":
        shutil.copytree(root / "results" / "slow", teacher)
    if wrong == "damaged":
        (teacher / "best_model.pth").write_bytes(b"torn")
    if wrong == "classes":
        summary = json.loads((teacher / "summary.json").read_text())
        (teacher / "summary.json").write_text(json.dumps({**summary, "classes": ["a", "b"]}))
    asked = {"teacher": str(teacher), **({"unlabelled": str(tmp_path / "none")} if wrong == "unlabelled" else {})}
    own = options(root, "x", FAST, distillation=asked, **training).as_dict()
    own["cache"]["dir"] = str(tmp_path / "cache")
    if wrong == "images":
        for split in ("train", "val"):  # which have changed places
            other = {"train": "val", "val": "train"}[split]
            shutil.copytree(root / "digits" / other, tmp_path / "digits" / split)
        shutil.copytree(root / "digits" / "test", tmp_path / "digits" / "test")
        own["data"]["path"] = str(tmp_path / "digits")
    said = {"missing": "no finished run", "damaged": "best_model", "classes": "tells", "images": "another cut"}
    with pytest.raises(InputError, match=said.get(wrong, "is no folder")):
        train_model(own, device="cpu", allow_custom=True, results_dir=tmp_path / "results")
    assert not list((tmp_path / "cache").glob("*.h5")) and not list((tmp_path / "cache").glob("*.parts"))


def test_its_own_best_had_no_teacher_nor_came_from_one_that_had(root: Path, tmp_path: Path) -> None:
    results = shutil.copytree(root / "results", tmp_path / "results")
    for name, change in (
        ("taught", {"distillation": {"teacher": "all"}}),
        ("further", {"phase": 2, "from_run": "taught", "from_inputs": ""}),
        ("soup", {"phase": 2, "soup": {"members": [{"run": "further", "taken": True}]}}),
        ("plain", {"phase": 2, "soup": {"members": [{"run": "further", "taken": False}]}}),
        ("loop", {"phase": 2, "from_run": "loop", "from_inputs": ""}),
    ):
        file = shutil.copytree(results / "fast", results / name) / "summary.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "from_run": None, "from_inputs": None, **change}))
    found = {run.folder.name for run in _own_runs(load_run_record(results / "all"), FAST, results)}
    assert found == {"fast", "plain", "loop"}


def test_a_students_head_has_nothing_of_its_teachers_end_to_end_training(root: Path, tmp_path: Path) -> None:
    teacher = shutil.copytree(root / "results" / "tuned", tmp_path / "tuned")
    own = json.loads((teacher / "options.json").read_text())
    own["training"] |= {"swa_from": 1, "clip_norm": 1.0, "mixup": 0.2, "weight_decay": 0.03}
    (teacher / "options.json").write_text(json.dumps(own))
    found = _student_options(DistillPlan(teacher, FAST), load_run_record(teacher), tmp_path)
    assert found.model.backbone == FAST and found.training.weight_decay == 0.03
    assert found.training.unfreeze_schedule is None and found.training.swa_from is None and found.training.mixup == 0


def test_nothing_is_trained_where_the_teacher_is_refused(root: Path, tmp_path: Path) -> None:
    results = shutil.copytree(root / "results", tmp_path / "results")
    summary = results / "slow" / "summary.json"
    own = json.loads(summary.read_text())
    summary.write_text(json.dumps({**own, "data": {**own["data"], "folds": 3}}))
    shutil.rmtree(results / "fast")
    before = sorted(results.iterdir())
    with pytest.raises(RunError, match="cross-validated"):
        distill_model(results / "slow", FAST, device="cpu", allow_custom=True, results_dir=results)
    assert sorted(results.iterdir()) == before


def test_a_teacher_that_changed_is_another_run(root: Path, tmp_path: Path) -> None:
    found, *_ = lesson(root, "slow")
    other = replace(found, teacher=replace(found.teacher, inputs={**found.teacher.inputs, "models": ["0"]}))
    assert found.inputs != other.inputs
    assert options(root, "x", FAST).short == options(root, "x", FAST, distillation=None).short
