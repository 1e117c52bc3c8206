"""`featcache export` and `featcache profile` as a user runs them: what is printed, kept, refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_runs import done, featcache
from conftest import TINY, write_digits

from heads.leaderboard import deployed_ways


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on digits, exported to ONNX."""
    root = tmp_path_factory.mktemp("export")
    write_digits(root / "digits", {"train": 6, "val": 5, "test": 2})
    config: dict[str, Any] = {
        "experiment_name": "run",
        "model": {"backbone": TINY, "classifier_dims": ["auto", 8, 4], "pretrained": True},
        "data": {"path": str(root / "digits"), "batch_size": 8, "workers": 1},
        "training": {"epochs": 3, "learning_rate": 0.01},
        "cache": {"dir": str(root / "cache"), "batch_size": 8},
        "profile": {"iterations": 1, "warmup": 1},
    }
    (root / "run.json").write_text(json.dumps(config))
    done("train", root / "run.json", "--results-dir", root / "results", "--allow-custom", "-q")
    said = done("export", "best", "--to", "onnx", *flags(root)).stdout
    (root / "said.txt").write_text(said)
    return root


def flags(place: Path) -> list[str | Path]:
    return ["--results-dir", place / "results", "--allow-custom", "-q"]


def file_of(place: Path) -> Path:
    return place / "results" / "run" / "export" / "onnx" / "model.onnx"


def test_an_export_goes_into_the_run_s_folder_and_its_parity_is_said(place: Path) -> None:
    said = (place / "said.txt").read_text()
    assert f"{file_of(place).parent} (opset " in said
    assert "On 20 validation images, in onnxruntime" in said
    assert "top-1 agrees for 100.00%" in said
    names = {"README.md", "labels.json", "model.onnx", "parity.json", "preprocess.py", "preprocessing.json"}
    assert {line.split()[0] for line in said.splitlines() if line.startswith("  ")} == names


def test_profile_times_the_file_and_keeps_the_figures_beside_it(place: Path, tmp_path: Path) -> None:
    timing = ("--iterations", "6", "--warmup", "2", "--threads", "1")
    found = json.loads(
        done("profile", file_of(place), "--batch-size", "1", "--batch-size", "3", *timing, "--json").stdout
    )
    assert json.loads((file_of(place).parent / "performance_onnx.json").read_text()) == found
    one, three = found["measurements"]
    assert (one["provider"], one["threads"], one["latency_ms"]["iterations"]) == ("cpu", 1, 6)
    assert (one["latency_ms"]["batch_size"], three["latency_ms"]["batch_size"]) == (1, 3)
    assert 0 < one["latency_ms"]["p50"] <= one["latency_ms"]["p95"] <= one["latency_ms"]["p99"]
    (tmp_path / "alone.onnx").write_bytes(file_of(place).read_bytes())
    assert "p95" in done("profile", tmp_path / "alone.onnx", *timing).stdout
    assert [p.name for p in tmp_path.iterdir()] == ["alone.onnx"]


def test_profile_times_each_way_of_a_run(place: Path) -> None:
    few = ("--batch-size", "1", "--batch-size", "3", "--iterations", "2", "--warmup", "1", "--threads", "1")
    found = json.loads(done("profile", "best", *few, *flags(place), "--json").stdout)
    run = place / "results" / "run"
    kept = json.loads((run / "performance_deployed.json").read_text())
    assert [one["latency_ms"] for one in kept["measurements"]] == [one["latency_ms"] for one in found]
    ways = {(one["way"]["batch_size"], one["name"]) for one in kept["measurements"]}
    named = ("plain, float32", *(f"{p}{c}, 1 thread" for p in ("float32", "bfloat16") for c in ("", ", channels-last")))
    assert ways == {(n, name) for n in (1, 3) for name in named}
    exact = [one["difference"] for one in kept["measurements"] if one["way"]["precision"] == "float32"]
    assert max(exact) < 1e-4
    small, large = deployed_ways(run)
    assert (small.images, large.images) == (1, 3)
    rows = [one for one in kept["measurements"] if one["way"]["batch_size"] == 3]
    assert large.fastest_ms == min(one["latency_ms"]["mean"] for one in rows)
    assert large.fastest in large.said() and large.joules is None
    table = done("profile", run, *few, "--precision", "float32", *flags(place)).stdout
    assert "channels-last" in table and "bfloat16" not in table and "fastest" in table
    kept["measurements"] = [one for one in kept["measurements"] if one["way"]["folded"] or one not in rows]
    (run / "performance_deployed.json").write_text(json.dumps(kept))  # as where the plain network did not fit
    assert [one.images for one in deployed_ways(run)] == [1]
    (run / "performance_deployed.json").write_text('{"measurements": [{}]}')
    assert deployed_ways(run) == []


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_timed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(*_: object, **__: object) -> None:
        raise AssertionError("timed")

    monkeypatch.setattr("heads.export.deployed_timing.measure_ways", timed)
    monkeypatch.setattr("featcache.profiling.profile_onnx", timed)
    targets, real = (place / "results" / "run", file_of(place)), os.access
    shut = {targets[0], targets[1].parent}
    monkeypatch.setattr("os.access", lambda path, *how, **more: path not in shut and real(path, *how, **more))
    for target in targets:
        refused = featcache("profile", target, *flags(place))
        assert refused.exit_code == 2 and "the folder is not writable" in refused.stderr


@pytest.mark.slow
def test_the_page_shows_the_fastest_way(place: Path) -> None:
    done("profile", "best", "--batch-size", "3", "--iterations", "1", *flags(place))
    done("report", "--results-dir", place / "results", "--cache-dir", place / "cache", "-q")
    page = (place / "results" / "report.html").read_text()
    (way,) = deployed_ways(place / "results" / "run")
    assert "deployed, batch 3" in page and way.fastest in page


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["nowhere.onnx"], "there is no such file"),
        (["FILE", "--compile"], "--compile goes with a run"),
        (["best", "--provider", "cpu"], "--provider goes with an ONNX file"),
        (["no run"], "is no finished run"),
        (["notes.onnx"], "onnxruntime cannot load it"),
        (["any size.onnx"], "expected images of a fixed size"),
        (["FILE", "--provider", "tensorrt"], "does not have it; here is cpu"),
    ],
)
def test_what_cannot_be_timed_is_said(place: Path, tmp_path: Path, given: list[str], said: str) -> None:
    (tmp_path / "notes.onnx").write_text("no model")
    free = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3, "h", "w"])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "any", [free], [result])
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), str(tmp_path / "any size.onnx"))
    name, *rest = given
    target: str | Path = tmp_path / name if name.endswith(".onnx") else name
    found = featcache("profile", file_of(place) if name == "FILE" else target, *rest)
    assert found.exit_code == 2
    assert said in " ".join(found.stderr.split())


def test_profile_without_onnxruntime_says_what_brings_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    found = featcache("profile", file_of(place))
    assert found.exit_code == 2
    assert "pip install 'featcache[onnx]'" in found.stderr


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (["--to", "tflite"], 2, "expected onnx, torch, safetensors or timm"),
        (["--to", "onnx"], 2, "is there already. Pass --overwrite"),
        (["--to", "timm", "--input", "uint8"], 2, "take normalised images"),
        (["--to", "safetensors"], 2, "no network of timm's or torchvision's"),
        (["--to", "torch", "--out", "{digits}"], 2, "is there already"),
        (["--to", "torch", "--out", "{digits}", "--overwrite"], 2, "is no export"),
        (["--to", "torch", "--out", "{config}"], 2, "is a file"),
    ],
)
def test_what_cannot_be_exported_is_said_before_any_work(place: Path, given: list[str], code: int, said: str) -> None:
    places = {"digits": place / "digits", "config": place / "run.json"}
    before = sorted(place.rglob("*"))
    found = featcache("export", "run", *(one.format(**places) for one in given), *flags(place))
    assert found.exit_code == code
    assert said in " ".join(found.stderr.split())
    assert sorted(place.rglob("*")) == before


def test_an_export_beyond_the_limit_is_exit_1_and_no_file(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heads.export.opened_run import OpenedRun

    own = OpenedRun.logits
    monkeypatch.setattr(OpenedRun, "logits", lambda run, pixels: own(run, pixels) + np.eye(4)[0])  # it says otherwise
    found = featcache("export", "run", "--to", "torch", "--out", tmp_path / "out", *flags(place))
    assert found.exit_code == 1
    assert "is not what the run is, on 20 validation images" in " ".join(found.stderr.split())
    assert list(tmp_path.iterdir()) == []
