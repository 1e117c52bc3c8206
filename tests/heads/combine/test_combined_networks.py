"""The model of a combination: what it says, through its networks, of images equals what its run said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_runs import done, featcache
from conftest import TINY, write_digits
from numpy.typing import NDArray
from scipy.special import softmax

from featcache.errors import RunError
from featcache.options import parse_options
from featcache.session import Session
from heads.combine import combine_runs
from heads.experiment import train_model
from heads.export import ExportRequest, export_run
from heads.leaderboard import rank_results
from heads.predict import asked_images, load_predictor
from heads.report.charts_latency import latency_accuracy
from heads.report.html_page import origin
from heads.runs import Run, load_run, load_run_model, load_run_record, predictions_of

OTHER = "networks:four_stages"
UNFREEZE = [{"epoch": 1, "unfreeze": "all", "lr_scale": 0.1}]
MEMBERS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": (TINY, {"seeds": 2}),
    "reseeded": (TINY, {"seed": 7}),
    "tuned": (TINY, {"unfreeze_schedule": UNFREEZE}),
    "joined": (f"{TINY}+{OTHER}", {}),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs: two heads on one feature map, one on another, one of a fine-tuned network; all combined."""
    root = tmp_path_factory.mktemp("combining")
    write_digits(root / "digits", {"train": 8, "val": 5, "test": 4})
    for name, (backbone, training) in MEMBERS.items():
        config: dict[str, Any] = {
            "experiment_name": name,
            "model": {"backbone": backbone, "classifier_dims": ["auto", 16, 4], "pretrained": True},
            "data": {"path": str(root / "digits"), "batch_size": 16, "workers": 2},
            "training": {"epochs": 2, "learning_rate": 0.003, **training},
            "cache": {"dir": str(root / "cache"), "batch_size": 8},
            "profile": {"iterations": 2, "warmup": 1},
        }
        train_model(parse_options(config), results_dir=root / "results", device="cpu", allow_custom=True)
    combine_runs([root / "results" / name for name in MEMBERS], root / "results", name="all")
    return root


def stored(run: Run, temperature: float) -> NDArray[np.float64]:
    """What the combination of the heads that are kept said of the test images, in the order of their names."""
    seen = predictions_of(run.folder, "test")
    assert seen is not None
    logits = seen.logits[run.summary["best_seed"], np.argsort(seen.images)].astype(np.float64)
    found: NDArray[np.float64] = softmax(logits / temperature, axis=1)
    return found


def test_images_get_what_the_run_gave_them_by_predict_and_by_load_run(place: Path) -> None:
    run = load_run_record(place / "results" / "all")
    session = Session.begin("cpu", allow_custom=True, results_dir=place / "results")
    asked = list(asked_images([str(place / "digits" / "test")]))
    predictor = load_predictor(run, session)
    found = list(predictor.predict(asked))
    assert all(one.as_far is not None for one in found)
    probabilities = np.stack([one.probabilities for one in found if one.probabilities is not None])
    np.testing.assert_allclose(probabilities, stored(run, run.summary["calibration"]["temperature"]), atol=3e-4)
    served = predictor.predict_prepared([predictor.prepare(one) for one in asked[:3]])
    assert [np.array_equal(a.probabilities, b.probabilities) for a, b in zip(served, found, strict=False)] == [True] * 3  # type: ignore[arg-type]
    loaded = load_run(run.folder, device="cpu", allow_custom=True)
    assert len(loaded.transforms) == 4  # of four members two share their backbone, and one has two
    said = loaded.predict([one.name for one in asked]).numpy()
    np.testing.assert_allclose(said, stored(run, 1.0), atol=5e-4)  # rows of the store have float16


def test_a_combination_of_one_run_has_its_head(place: Path) -> None:
    run = combine_runs([place / "results" / "plain"], place / "results", name="alone", weights="fitted")
    head, own = load_run_model(run.folder).head, load_run_model(place / "results" / "plain").head
    x = torch.randn(3, next(own.parameters()).shape[1])
    assert torch.equal(head(x), own(x))
    assert run.summary["calibration"] == load_run_record(place / "results" / "plain").summary["calibration"]


def test_images_that_leaked_are_counted_with_its_own_accuracies(place: Path) -> None:
    leakage = load_run_record(place / "results" / "all").summary["leakage"]
    top1 = load_run_record(place / "results" / "all").metrics["test_top1"]
    assert leakage["test"]["leaked"] == 0
    assert leakage["test"]["top1"] == pytest.approx(top1)


def test_a_member_with_other_weights_is_not_asked(place: Path) -> None:
    run = combine_runs(
        [place / "results" / name for name in ("joined", "plain")], place / "results", name="pair", weights="fitted"
    )
    model = place / "results" / "joined" / "best_model.pth"
    kept = model.read_bytes()
    try:
        torch.save({**torch.load(model, weights_only=True), "epoch": 99}, model)
        with pytest.raises(RunError, match=r"joined has other weights in its best_model.*combine joined plain"):
            load_run(run.folder, allow_custom=True)
    finally:
        model.write_bytes(kept)
    load_run(run.folder, allow_custom=True)


def test_the_command_says_what_it_found_and_others_take_or_refuse_the_run(place: Path, tmp_path: Path) -> None:
    results = ("--results-dir", place / "results")
    named = ("plain", "joined", "--weights", "fitted", "--name", "two")
    shown = done("combine", *named, *results, "--json", tmp_path / "two.json")
    assert "Weights were fitted on 20 validation images" in shown.output
    document = json.loads((tmp_path / "two.json").read_text())
    assert [one["run"] for one in document["members"]] == ["plain", "joined"]
    assert document["val"]["top1"] == load_run_record(place / "results" / "two").summary["val"]["top1"]
    assert json.loads(done("combine", "--top", 2, "--name", "best", *results, "--json", "-").stdout)["run"] == "best"
    first = done("combine", "1", "--name", "first", *results)  # places are of runs that are no combination
    assert "first: predict" in " ".join(first.output.split())
    answers = done("predict", "two", place / "digits" / "test", *results, "--allow-custom").output
    assert "16 predicted, 0 unreadable" in answers
    refused = {
        ("combine", *results): "name RUN..., or give --top N",
        ("combine", "plain", "--top", 2, *results): "one of the two",
        ("combine", "plain", "--heads", "tuned", *results): "say which runs --top takes",
        ("combine", "plain", "--rounds", 3, *results): "give --weights fitted",
        ("combine", "--top", 99, *results): "have a place on the leaderboard",
        ("curve", "two", *results): "is a combination of runs, which trains no head",
        ("export", "two", "--to", "timm", *results): "is a combination of runs. Use --to onnx",
        (
            "finetune",
            "--from-run",
            place / "results" / "two",
            *results,
        ): "have one network learn from it: featcache distill --teacher two",
    }
    for arguments, said in refused.items():
        result = featcache(*map(str, arguments))
        assert result.exit_code != 0
        assert said in " ".join(result.output.split()), arguments


def test_the_figure_of_latency_has_it_as_a_point_and_the_page_says_what_it_is_made_of(place: Path) -> None:
    ranked = rank_results(place / "results")
    rows = ranked.board.rows
    points = latency_accuracy(rows, "top1", {row.run: "here" for row in rows})["data"]["values"]
    (point,) = [one for one in points if one["run"] == "all"]
    members = [load_run_record(place / "results" / name).performance for name in MEMBERS]
    cost = sum(one["latency_ms"]["mean"] for one in members) - members[1]["backbone_ms"]["mean"]
    assert point["group"] == "combinations of runs"
    assert point["latency"] == pytest.approx(cost, rel=0.2)  # backbone and head are timed apart as well as together
    (told, *said) = origin(ranked.runs["all"])
    assert told == ("members, by weight", "plain 0.25, reseeded 0.25, tuned 0.25, joined 0.25")
    assert said


@pytest.mark.slow
@pytest.mark.parametrize("to", ["torch", "onnx"])
def test_an_export_answers_as_the_combination(to: str, place: Path, tmp_path: Path) -> None:
    session = Session.begin("cpu", allow_custom=True, results_dir=place / "results")
    request = ExportRequest(to, tmp_path / "export")
    made = export_run(load_run_record(place / "results" / "all"), request, session)
    assert made.parity.agreement == 1.0
    card = (made.folder / "README.md").read_text()
    assert "The weighted average of several heads' probabilities" in card
