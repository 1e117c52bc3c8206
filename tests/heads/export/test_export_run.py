"""Every format of an export gives what the run gives, in programs that cannot import featcache."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import TINY, write_digits
from huggingface_hub import ModelCard
from numpy.typing import NDArray
from PIL import Image

import heads.export
from featcache.errors import InputError, OptionsError, OutputError, WorkError
from featcache.options import parse_options
from featcache.session import Session
from heads.experiment import train_model
from heads.export import Exported, ExportRequest, export_run
from heads.runs import Run, calibration_of, load_run, load_run_record

JOINED = f"{TINY}+networks:at_forty"
UNFREEZE = [{"epoch": 0, "unfreeze": "all", "lr_scale": 0.1}]

RUNS: dict[str, dict[str, Any]] = {
    "own": {"model": {"backbone": TINY}},
    "joined": {"model": {"backbone": JOINED}},
    "tuned": {"model": {"backbone": "networks:four_stages"}, "training": {"epochs": 2, "unfreeze_schedule": UNFREEZE}},
    "torchvision": {"model": {"backbone": "squeezenet1_1", "input_size": 32}, "head": {"normalise": "l2"}},
    "linear": {"model": {"backbone": "test_resnet", "input_size": 64, "classifier_dims": ["auto", "auto"]}},
    "hidden": {"model": {"backbone": "test_vit", "input_size": 64}},
    "normed": {"model": {"backbone": "test_convnext", "input_size": 64, "classifier_dims": ["auto", "auto"]}},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("exporting")
    write_digits(root / "digits", {"train": 6, "val": 5, "test": 2})
    return root


@pytest.fixture(scope="module")
def trained(place: Path) -> Callable[[str], Run]:
    """A run by its name, trained once."""
    runs: dict[str, Run] = {}

    def make(name: str) -> Run:
        if name not in runs:
            config: dict[str, Any] = {
                "experiment_name": name,
                "model": {"classifier_dims": ["auto", 8, 4], "pretrained": ":" in RUNS[name]["model"]["backbone"]},
                "data": {"path": str(place / "digits"), "batch_size": 8, "workers": 1},
                "training": {"epochs": 3, "learning_rate": 0.01},
                "cache": {"dir": str(place / "cache"), "batch_size": 8},
                "profile": {"iterations": 1, "warmup": 1},
            }
            for section, values in RUNS[name].items():
                config.setdefault(section, {}).update(values)
            train_model(parse_options(config), results_dir=place / "results", device="cpu", allow_custom=True)
            runs[name] = load_run_record(place / "results" / name)
        return runs[name]

    return make


@pytest.fixture(scope="module")
def exported(place: Path, trained: Callable[[str], Run]) -> Callable[..., Exported]:
    """An export, made once."""
    made: dict[ExportRequest, Exported] = {}

    def make(name: str, to: str, **asked: Any) -> Exported:
        request = ExportRequest(to, place / f"{name}-{to}-{len(made)}", **asked)
        key = ExportRequest(f"{name} {to}", **asked)
        if key not in made:
            made[key] = export_run(trained(name), request, session(place))
        return made[key]

    return make


def session(place: Path) -> Session:
    return Session.begin("cpu", allow_custom=True, results_dir=place / "results")


def expected(run: Run, images: list[Path]) -> NDArray[np.float64]:
    """Calibrated probabilities by Python's own `load_run`."""
    calibration = calibration_of(run.folder, run.summary)
    assert calibration is not None
    said = load_run(run.folder, device="cpu", allow_custom=True).predict(images)
    found: NDArray[np.float64] = (said.double().log() / calibration.temperature).softmax(dim=1).numpy()
    return found


ALONE = """
import json, os, sys
sys.modules["featcache"] = sys.modules["heads"] = None  # whoever imports them fails
found = {}
for folder in sys.argv[1:]:
    for name in ("model", "preprocess"):
        sys.modules.pop(name, None)
    os.chdir(folder)
    sys.path[0] = folder
    names = {}
    exec(open("README.md").read().split("```python")[1].split("```")[0], names)
    found[folder] = [[float(p) for p in row] for row in names["probabilities"]]
print(json.dumps(found))
"""

KEPT = {  # the formats of each run that a program without featcache is shown to use
    "own": [("onnx", {})],
    "joined": [("torch", {"input": "normalised"})],
    "torchvision": [("safetensors", {"input": "uint8"})],
    "linear": [("timm", {})],
    "hidden": [("timm", {})],
}


def test_what_a_card_says_works_where_featcache_cannot_be_imported(
    trained: Callable[[str], Run], exported: Callable[..., Exported], place: Path, tmp_path: Path
) -> None:
    images = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for image, digit in zip(images, ("digit 1", "digit 3"), strict=True):
        with Image.open(place / "digits" / "test" / digit / "000.png") as opened:
            opened.convert("RGB").resize((53, 47)).save(image, quality=95)
    wanted: dict[str, NDArray[np.float64]] = {}
    for name, formats in KEPT.items():
        for to, asked in formats:
            folder = tmp_path / f"{name}-{to}"
            shutil.copytree(exported(name, to, **asked).folder, folder)
            for image in images:
                shutil.copy(image, folder)
            wanted[str(folder)] = expected(trained(name), images)
    run = subprocess.run([sys.executable, "-c", ALONE, *wanted], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    for folder, rows in json.loads(run.stdout.splitlines()[-1]).items():
        np.testing.assert_allclose(rows, wanted[folder][: len(rows)], atol=2e-5, err_msg=folder)


def test_an_export_says_what_it_is(exported: Callable[..., Exported], trained: Callable[[str], Run]) -> None:
    one = exported("own", "onnx")
    assert one.parity.images == 20
    assert one.parity.compared_on == "20 validation images"
    assert one.parity.agreement == 1
    assert one.parity.largest_difference < 1e-3
    kept = json.loads((one.folder / "parity.json").read_text())
    assert kept["agreement"] == 1
    assert kept["opset"] == one.opset == onnx.load(one.folder / "model.onnx").opset_import[0].version
    assert json.loads((one.folder / "labels.json").read_text()) == {str(n): f"digit {n}" for n in range(4)}
    (recipe,) = json.loads((one.folder / "preprocessing.json").read_text())["inputs"]
    assert (recipe["kind"], recipe["input_size"], recipe["resize_size"]) == ("uint8", 32, 36)
    card = ModelCard.load(one.folder / "README.md")
    assert card.data.pipeline_tag == "image-classification"
    assert card.data.license == "unknown"
    val = trained("own").summary["val"]["top1"]
    assert card.data.eval_results is not None
    assert card.data.eval_results[0].metric_value == round(val["mean"], 4)
    assert f"{val['mean']:.4f} [{val['ci95'][0]:.4f}, {val['ci95'][1]:.4f}]" in card.text


def test_a_graph_knows_no_path_of_the_machine_that_made_it(exported: Callable[..., Exported]) -> None:
    own = os.fsencode(Path(heads.export.__file__).parents[2])
    assert own not in (exported("own", "onnx").folder / "model.onnx").read_bytes()
    with zipfile.ZipFile(exported("joined", "torch", input="normalised").folder / "model.pt2") as program:
        assert not [name for name in program.namelist() if own in program.read(name)]


def test_a_batch_may_be_of_any_size_and_images_are_bytes(exported: Callable[..., Exported]) -> None:
    run = onnxruntime.InferenceSession(str(exported("own", "onnx").folder / "model.onnx"))
    assert [one.type for one in run.get_inputs()] == ["tensor(uint8)"]
    pixels = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)
    logits, probabilities = run.run(None, {"images": pixels})
    assert logits.shape == probabilities.shape == (7, 4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(run.run(None, {"images": pixels[3:4]})[0], logits[3:4], atol=1e-4)


def test_joined_networks_have_an_input_for_each_way_that_images_are_made(exported: Callable[..., Exported]) -> None:
    one = exported("joined", "torch", input="normalised")
    inputs = json.loads((one.folder / "preprocessing.json").read_text())["inputs"]
    assert [(i["name"], i["input_size"], i["resize_mode"]) for i in inputs] == [
        ("images_1", 32, "shorter"),
        ("images_2", 40, "squash"),
    ]
    model: Any = torch.export.load(one.folder / "model.pt2").module()
    assert model(torch.zeros(3, 3, 32, 32), torch.zeros(3, 3, 40, 40))[0].shape == (3, 4)


@pytest.mark.slow
def test_a_fine_tuned_network_is_exported_as_it_was_tuned(exported: Callable[..., Exported]) -> None:
    one = exported("tuned", "torch")
    assert one.parity.agreement == 1
    assert one.parity.largest_difference < 1e-3
    assert "fine-tuned" in (one.folder / "README.md").read_text()


def test_int8_is_smaller_work_on_the_same_classes(exported: Callable[..., Exported]) -> None:
    one = exported("own", "onnx", precision="int8", agreement=0.9)
    assert json.loads((one.folder / "parity.json").read_text())["calibrated_on"] == "24 training images"
    kinds = [node.op_type for node in onnx.load(one.folder / "model.onnx").graph.node]
    assert "QuantizeLinear" in kinds
    weights = {w.name: w.data_type for w in onnx.load(one.folder / "model.onnx").graph.initializer}
    assert onnx.TensorProto.INT8 in weights.values()
    assert {kind for name, kind in weights.items() if name.startswith("head.")} == {onnx.TensorProto.FLOAT}
    assert one.parity.largest_difference > 0


@pytest.mark.parametrize(
    "asked",
    [
        {"precision": "float16"},
        *(pytest.param(one, marks=pytest.mark.slow) for one in ({"opset": 18}, {"input": "normalised"})),
    ],
)
def test_other_forms_of_onnx(exported: Callable[..., Exported], asked: dict[str, Any]) -> None:
    one = exported("own", "onnx", **asked)
    assert one.parity.agreement == 1
    assert one.opset == asked.get("opset", one.opset)
    (taken,) = onnxruntime.InferenceSession(str(one.folder / "model.onnx")).get_inputs()
    assert taken.type == ("tensor(float)" if "input" in asked else "tensor(uint8)")


@pytest.mark.slow
def test_an_opset_that_is_not_known_is_no_other_one(exported: Callable[..., Exported]) -> None:
    with pytest.raises(OptionsError, match="--opset 99: torch's exporter wrote"):
        exported("own", "onnx", opset=99)


def test_timm_holds_a_linear_head_and_says_where_it_cannot(exported: Callable[..., Exported]) -> None:
    import timm

    whole = exported("linear", "timm")
    assert whole.notes == ()
    assert timm.create_model(f"local-dir:{whole.folder}", pretrained=True).num_classes == 4
    assert json.loads((whole.folder / "config.json").read_text())["label_names"][2] == "digit 2"
    hidden = exported("hidden", "timm")
    assert "hidden layers (8 wide)" in hidden.notes[0]
    network = timm.create_model(f"local-dir:{hidden.folder}", pretrained=True)
    assert network.num_classes == 0
    assert hidden.parity.largest_difference < 1e-3
    assert hidden.notes[0] in (hidden.folder / "README.md").read_text()


@pytest.mark.slow
def test_a_classifier_behind_more_than_a_pooling_is_not_the_head(exported: Callable[..., Exported]) -> None:
    one = exported("normed", "timm")
    assert "more between its pooling and its classifier" in one.notes[0]
    assert one.parity.largest_difference < 1e-3


def test_timm_prepares_images_as_the_run_did(exported: Callable[..., Exported], place: Path) -> None:
    import timm

    from featcache.data import EvalTransform
    from featcache.records import Preprocessing

    folder = exported("linear", "timm").folder
    (said,) = json.loads((folder / "preprocessing.json").read_text())["inputs"]
    keys = ("input_size", "resize_size", "resize_mode", "interpolation", "mean", "std")
    own = EvalTransform(Preprocessing(**{k: tuple(said[k]) if isinstance(said[k], list) else said[k] for k in keys}))
    network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    theirs: Any = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    with Image.open(place / "digits" / "test" / "digit 1" / "000.png") as opened:
        image = opened.convert("RGB").resize((91, 77))
    torch.testing.assert_close(theirs(image), own(image), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "to", "said"),
    [
        ("own", "safetensors", "no network of timm's or torchvision's"),
        ("torchvision", "timm", "torchvision's network, which timm does not build"),
        ("joined", "timm", "joins 2 networks"),
    ],
)
def test_what_a_format_cannot_hold_is_said_and_leaves_nothing(
    name: str, to: str, said: str, trained: Callable[[str], Run], place: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        export_run(trained(name), ExportRequest(to, tmp_path / "out"), session(place))
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_is_not_the_run_leaves_nothing(
    trained: Callable[[str], Run], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heads.export import weights_folder

    write = weights_folder.save_tensors

    def wrong(weights: dict[str, torch.Tensor], file: Path) -> None:
        write({**weights, "head.3.bias": weights["head.3.bias"] + torch.tensor([0, 0, 0, 3.0])}, file)

    monkeypatch.setattr(weights_folder, "save_tensors", wrong)
    with pytest.raises(WorkError, match=r"not what the run is, on 20 validation images: .*--tolerance"):
        export_run(trained("torchvision"), ExportRequest("safetensors", tmp_path / "out"), session(place))
    assert list(tmp_path.iterdir()) == []
    lax = ExportRequest("safetensors", tmp_path / "out", tolerance=9)
    assert export_run(trained("torchvision"), lax, session(place)).parity.largest_difference > 0.01


def test_only_an_export_is_replaced(trained: Callable[[str], Run], place: Path, tmp_path: Path) -> None:
    run, out = trained("torchvision"), tmp_path / "out"
    export_run(run, ExportRequest("safetensors", out), session(place))
    (out / "of before").touch()
    with pytest.raises(OutputError, match="--overwrite"):
        export_run(run, ExportRequest("safetensors", out), session(place))
    export_run(run, ExportRequest("safetensors", out, overwrite=True), session(place))
    assert not (out / "of before").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(OutputError, match="is no export"):
        export_run(run, ExportRequest("safetensors", tmp_path / "mine", overwrite=True), session(place))
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "out"]


def test_where_the_images_are_gone_noise_compares_and_int8_is_refused(
    trained: Callable[[str], Run], place: Path, tmp_path: Path
) -> None:
    run = trained("torchvision")
    own = trained("own")
    (place / "digits").rename(place / "elsewhere")
    try:
        one = export_run(run, ExportRequest("safetensors", tmp_path / "out"), session(place))
        with pytest.raises(InputError, match="calibrated on training images"):
            export_run(own, ExportRequest("onnx", tmp_path / "int8", precision="int8"), session(place))
    finally:
        (place / "elsewhere").rename(place / "digits")
    assert one.parity.compared_on.startswith("64 images of seeded noise")
    assert one.parity.agreement == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
