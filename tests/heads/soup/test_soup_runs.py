"""A soup is the average of runs that share a start: its weights and statistics by hand, and who is refused."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_runs import done, featcache
from conftest import write_digits
from networks import FourStages
from torch import Tensor

from featcache import load_run
from featcache.data import load_manifest
from featcache.errors import RunError
from featcache.options import load_options, parse_options
from heads.experiment import train_model
from heads.finetune import fine_tune
from heads.leaderboard import rank_results
from heads.report.html_page import origin, taught_by
from heads.runs import Run, load_run_model, load_run_record, predictions_of
from heads.soup import soup_runs
from heads.soup.shared_start import in_order_of_images, read_members

ALL = [{"epoch": 0, "unfreeze": "all"}]
LAST = [{"epoch": 0, "unfreeze": "layer4"}]
KEPT: dict[str, dict[str, Any]] = {  # beside a Phase 1 run whose head they begin with
    "one": {"unfreeze_schedule": ALL, "learning_rate": 0.002},
    "two": {"unfreeze_schedule": LAST, "learning_rate": 0.004, "seed": 3},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head, runs that were fine-tuned from it, one that was spoilt, and one that says that it began otherwise."""
    root = tmp_path_factory.mktemp("soups")
    write_digits(root / "digits", {"train": 8, "val": 5, "test": 4})

    def options(name: str, training: dict[str, Any]) -> Any:
        return parse_options(
            {
                "experiment_name": name,
                "model": {"backbone": "networks:four_stages", "classifier_dims": ["auto", 8, 4]},
                "data": {"path": str(root / "digits"), "batch_size": 12, "workers": 1},
                "training": {"epochs": 2, **training},
                "cache": {"dir": str(root / "cache"), "batch_size": 8},
                "profile": {"iterations": 2, "warmup": 1},
            }
        )

    place: dict[str, Any] = {"results_dir": root / "results", "device": "cpu", "allow_custom": True}
    train_model(options("head", {"learning_rate": 0.01, "epochs": 12}), **place)
    for name, training in KEPT.items():
        fine_tune(options(name, training), from_run=root / "results" / "head", **place)
    results = root / "results"
    fresh = shutil.copytree(results / "one", results / "fresh")
    summary = json.loads((fresh / "summary.json").read_text())
    (fresh / "summary.json").write_text(json.dumps({**summary, "inputs": {**summary["inputs"], "head": None}}))
    spoil(shutil.copytree(results / "two", results / "broken"))
    return root


def spoil(folder: Path) -> None:
    """A run that says the opposite of what it said, with other statistics in its last stage."""
    kept = torch.load(folder / "best_model.pth", weights_only=True)
    last = [name for name in kept["head"] if name.startswith(sorted(kept["head"])[-1].partition(".")[0])]
    kept["head"] |= {name: -10 * kept["head"][name] for name in last}
    kept["network"] |= {n: t + 0.1 for n, t in kept["network"].items() if n.startswith("layer4.") and "running" in n}
    torch.save(kept, folder / "best_model.pth")
    with np.load(folder / "predictions.npz") as arrays:
        found = {n: -10 * a if n.endswith("_logits") else a for n, a in arrays.items()}
    np.savez(folder / "predictions.npz", **found)


def soup(place: Path, *names: str, **keywords: Any) -> Run:
    folders = [place / "results" / name for name in names]
    return soup_runs(folders, results_dir=place / "results", device="cpu", allow_custom=True, **keywords)


def state(run: Path) -> dict[str, Tensor]:
    model = load_run_model(run)
    assert model.tuned is not None
    return {
        **{f"network.{n}": t for n, t in model.tuned.items()},
        **{f"head.{n}": t for n, t in model.head.state_dict().items()},
    }


def logits(place: Path, name: str, split: str) -> Tensor:
    """What the loaded network says, image by image."""
    run = load_run(place / "results" / name, device="cpu", allow_custom=True)
    seen = predictions_of(place / "results" / name, split)  # type: ignore[arg-type]
    assert seen is not None
    with torch.inference_mode():
        return torch.cat([run.model(run.transform(place / "digits" / one)[None]) for one in seen.images])


def test_parameters_are_means_and_statistics_are_those_of_the_training_images(place: Path) -> None:
    run = soup(place, "one", "two", name="both", uniform=True)
    found, (one, two) = state(run.folder), (state(place / "results" / name) for name in ("one", "two"))
    parameters = [n for n in found if "running" not in n and "num_batches" not in n]
    assert len(parameters) > 20
    for name in parameters:
        torch.testing.assert_close(
            found[name], (0.5 * one[name].double() + 0.5 * two[name].double()).float(), rtol=0, atol=0
        )
    # Independently: torch's own, on the same batches.
    network = FourStages()
    network.fc = torch.nn.Identity()  # type: ignore[assignment]
    network.load_state_dict({n.removeprefix("network."): t for n, t in found.items() if n.startswith("network.")})
    loaded = load_run(run.folder, device="cpu", allow_custom=True)
    manifest, _ = load_manifest(loaded.options.data, place / "cache")
    images = torch.stack([loaded.transform(place / "digits" / one.name) for one in manifest.of("train")])
    batches = -(-len(images) // 12)
    torch.optim.swa_utils.update_bn([images[k::batches] for k in range(batches)], network)
    for name, value in network.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(found[f"network.{name}"], value, rtol=1e-4, atol=1e-5)
            assert not torch.equal(value, (one[f"network.{name}"] + two[f"network.{name}"]) / 2)
    assert run.summary["soup"]["batch_norms"] == 8


def test_the_run_answers_what_its_network_says(place: Path) -> None:
    run = soup(place, "one", "two", name="answers", uniform=True)
    for split in ("val", "test"):
        seen = predictions_of(run.folder, split)  # type: ignore[arg-type]
        assert seen is not None
        np.testing.assert_allclose(seen.logits[0], logits(place, "answers", split), atol=1e-4)
    again = soup(place, "one", "two", name="answers", uniform=True)
    assert all(torch.equal(a, b) for a, b in zip(state(run.folder).values(), state(again.folder).values(), strict=True))
    assert run.summary["val"] == again.summary["val"]


def test_what_was_frozen_stays_as_it_was(place: Path) -> None:
    run = soup(place, "two", "broken", name="last", uniform=True)
    found, member = state(run.folder), state(place / "results" / "two")
    frozen = [n for n in found if n.startswith("network.layer1.") or n.startswith("network.layer3.")]
    assert frozen
    assert all(torch.equal(found[n], member[n]) for n in frozen)
    assert run.summary["soup"]["batch_norms"] == 2


@pytest.mark.parametrize("uniform", [True, False])
def test_a_soup_of_one_run_is_that_run_bit_for_bit(place: Path, uniform: bool) -> None:
    run, member = soup(place, "one", name="alone", uniform=uniform), load_run_record(place / "results" / "one")
    found, own = state(run.folder), state(member.folder)
    assert found.keys() == own.keys()
    assert all(torch.equal(found[n], own[n]) for n in own)
    assert (run.folder / "predictions.npz").exists()
    for split in ("val", "test"):
        mine, theirs = (predictions_of(of, split) for of in (run.folder, member.folder))  # type: ignore[arg-type]
        assert mine is not None
        assert theirs is not None
        assert np.array_equal(mine.logits, theirs.logits)
        assert run.summary[split] == member.summary[split]
    assert run.summary["calibration"] == member.summary["calibration"]
    assert run.performance["macs"] == member.performance["macs"]


def test_a_soup_of_students_has_their_teacher(place: Path) -> None:
    taught = shutil.copytree(place / "results" / "two", place / "results" / "taught")
    summary = json.loads((taught / "summary.json").read_text())
    (taught / "summary.json").write_text(json.dumps({**summary, "distillation": {"teacher": "best3"}}))
    run = soup(place, "one", "taught", name="students", uniform=True)
    (row,) = [row for row in rank_results(place / "results").board.rows if row.run == "students"]
    assert row.teacher == "best3"
    assert any("best3" in said for _, said in taught_by(run))
    shutil.rmtree(taught)


def test_runs_that_share_no_start_are_refused_with_what_differs(place: Path) -> None:
    with pytest.raises(
        RunError, match=r"(?s)head it began with: fresh has a fresh head of seed 42, and one the head .*--from-run"
    ):
        soup(place, "one", "fresh")
    with pytest.raises(RunError, match="head: is a run of phase 1"):
        soup(place, "one", "head")
    soup(place, "one", name="again")
    with pytest.raises(RunError, match="again: is a soup itself"):
        soup(place, "one", "again")
    with pytest.raises(RunError, match="two: is there already and no soup"):
        soup(place, "one", name="two")
    assert "soup" not in load_run_record(place / "results" / "two").summary


def test_members_are_judged_on_the_images_that_they_are_of(place: Path) -> None:
    (member,) = read_members([place / "results" / "one"], place / "results")
    manifest, _ = load_manifest(member.model.options.data, place / "cache")
    turned = replace(manifest, images=tuple(reversed(manifest.images)))
    (found,) = in_order_of_images([member], turned)
    assert found.answers["val"].images == member.answers["val"].images[::-1]
    assert np.array_equal(found.answers["val"].logits, member.answers["val"].logits[:, ::-1])
    with pytest.raises(RunError, match=r"one: was trained on other images than .* holds now"):
        in_order_of_images([member], manifest.without({manifest.of("train")[0].sha256}))


def test_nothing_is_left_of_a_soup_that_failed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["heads.soup.soup_runs"], "warn_of_leakage", fails)
    before = sorted(p.name for p in (place / "results").iterdir())
    with pytest.raises(KeyboardInterrupt):
        soup(place, "one", "two", name="killed", uniform=True)
    assert sorted(p.name for p in (place / "results").iterdir()) == before


def test_the_command_shows_it_and_other_commands_take_it(place: Path, tmp_path: Path) -> None:
    results = ("--results-dir", place / "results", "--allow-custom")
    shown = done("soup", "one", "two", "broken", "--name", "soup", *results, "--json", tmp_path / "soup.json").output
    document = json.loads((tmp_path / "soup.json").read_text())
    assert [one["run"] for one in document["members"]] == ["one", "two", "broken"]
    assert not document["members"][2]["taken"]
    assert "chosen without it" in shown
    assert "16 predicted, 0 unreadable" in done("predict", "soup", place / "digits" / "test", *results).output
    (row,) = [row for row in rank_results(place / "results").board.rows if row.run == "soup"]
    assert (row.phase, row.from_run) == (2, "head")
    refused = featcache("soup", "one", "fresh", *results)
    assert refused.exit_code == 2
    folded = shutil.copytree(place / "results" / "one", place / "results" / "folded")  # the first, which is passed over
    summary = json.loads((folded / "summary.json").read_text())
    (folded / "summary.json").write_text(json.dumps({**summary, "data": {**summary["data"], "folds": 3}}))
    best = json.loads(done("soup", "--top", 2, "--uniform", "--name", "best", *results, "--json", "-").stdout)
    assert len(best["members"]) == 2 and "folded" not in {one["run"] for one in best["members"]}
    shutil.rmtree(folded)
    facts = origin(load_run_record(place / "results" / "soup"))
    assert facts[0] == ("weights averaged of", ", ".join(one["run"] for one in document["members"] if one["taken"]))


def test_a_soup_is_where_fine_tuning_goes_on(place: Path) -> None:
    """Before training the network is the soup: its answers on val are those that the soup gave."""
    whole = soup(place, "one", "two", name="whole", uniform=True)
    options = load_options(place / "results" / "one" / "options.json").as_dict()
    options["experiment_name"] = "further"
    options["training"] |= {"epochs": 1, "learning_rate": 1e-12, "unfreeze_schedule": LAST, "weight_decay": 0.0}
    run = fine_tune(options, from_run=whole.folder, results_dir=place / "results", device="cpu", allow_custom=True)
    assert run.summary["from_run"] == "whole" and "network" in run.summary["inputs"]
    before, after = (predictions_of(one.folder, "val") for one in (whole, run))
    assert before is not None and after is not None
    assert np.allclose(before.logits, after.logits, atol=1e-2)
    logits_now = logits(place, "further", "test")
    seen = predictions_of(run.folder, "test")
    assert seen is not None and torch.allclose(logits_now, torch.from_numpy(seen.logits[0]), atol=1e-3)
    with pytest.raises(RunError, match="weights it began with"):
        soup(place, "one", "further")
