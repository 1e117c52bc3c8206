"""Every public function that takes options takes them in each form, and says the same of wrong ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from torch import Tensor

from featcache import Options, check, extract, load_backbone, load_model
from featcache.errors import OptionsError
from featcache.options import ModelOptions, as_options, parse_options
from heads import train_model
from heads.finetune import fine_tune

Config = Callable[..., dict[str, Any]]
FORMS = ("options", "dict", "path", "str")
WRONG = {  # what is given, and words of what is said
    "unknown key": "did you mean 'model.dropout'",
    "unknown key in a file": "did you mean 'model.dropout'",
    "missing file": "there is no such file",
    "missing json": "there is no such file",
    "a number": "got int 3; expected an Options",
    "a list": "got list [1]; expected an Options",
    "nothing": "got NoneType None; expected an Options",
}


def in_form(document: dict[str, Any], form: str, folder: Path) -> Any:
    file = folder / "options.json"
    file.write_text(json.dumps(document))
    return {"options": parse_options(document), "dict": document, "path": file, "str": str(file)}[form]


def weights_of(module: torch.nn.Module) -> list[Tensor]:
    return list(module.state_dict().values())


# What each gives, as far as equal options give equal things.


def by_load_model(options: Any, folder: Path) -> Any:
    model = load_model(options, classes=4, allow_custom=True)
    return [t.tolist() for t in weights_of(model)], model.backbone.info


def by_load_backbone(options: Any, folder: Path) -> Any:
    backbone = load_backbone(options, allow_custom=True)
    return [t.tolist() for t in weights_of(backbone)], backbone.info


def by_extract(options: Any, folder: Path) -> Any:
    done = extract(options, device="cpu", allow_custom=True)
    return done.info, done.manifest.fingerprint, done.dims, done.store.path.name


def by_check(options: Any, folder: Path) -> Any:
    (found,) = check(options, device="cpu", allow_custom=True)
    return found.name, found.weights, found.dims, found.images, found.passes, found.disk_bytes


def by_train_model(options: Any, folder: Path) -> Any:
    run = train_model(options, results_dir=folder / "results", device="cpu", allow_custom=True)
    return run.folder.name, run.metrics


def by_fine_tune(options: Any, folder: Path) -> Any:
    run = fine_tune(options, results_dir=folder / "tuned", device="cpu", allow_custom=True)
    return run.folder.name, run.metrics


TAKERS = [by_load_model, by_load_backbone, by_extract, by_check, by_train_model, by_fine_tune]


def document_for(taker: Callable[..., Any], config: Config) -> dict[str, Any]:
    training: dict[str, Any] = {"epochs": 1}
    if taker is by_fine_tune:
        training["unfreeze_schedule"] = [{"epoch": 0, "unfreeze": "all"}]
    return config(model={"backbone": TINY}, training=training)


@pytest.mark.parametrize("taker", TAKERS)
def test_options_in_every_form_give_the_same(taker: Callable[..., Any], config: Config, tmp_path: Path) -> None:
    document = document_for(taker, config)
    first, *others = [taker(in_form(document, form, tmp_path), tmp_path) for form in FORMS]
    assert all(other == first for other in others)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("taker", TAKERS)
def test_wrong_options_are_refused_in_the_same_words(
    taker: Callable[..., Any], wrong: str, config: Config, tmp_path: Path
) -> None:
    misspelt = config(model={"drop_out": 0.1})
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps(misspelt))
    value = {
        "unknown key": misspelt,
        "unknown key in a file": file,
        "missing file": tmp_path / "missing",
        "missing json": "missing.json",
        "a number": 3,
        "a list": [1],
        "nothing": None,
    }[wrong]
    with pytest.raises(OptionsError) as expected:
        as_options(value)  # type: ignore[arg-type]  # as callers do it
    with pytest.raises(OptionsError) as caught:
        taker(value, tmp_path)
    assert str(caught.value) == str(expected.value)
    assert WRONG[wrong] in str(caught.value)


# What load_backbone takes beside them


def test_a_backbone_is_of_the_runs_precision_and_dtype_unless_told(config: Config) -> None:
    document = config(model={"backbone": TINY}, training={"precision": "bfloat16"}, cache={"dtype": "float32"})
    run = parse_options(document)

    def stored(value: Any, **given: str) -> tuple[str, str]:
        identity = load_backbone(value, allow_custom=True, **given).info.identity  # type: ignore[arg-type]
        return identity.precision, identity.dtype

    assert stored(run) == stored(document) == ("bfloat16", "float32")
    assert stored(run, precision="float32") == ("float32", "float32")
    assert stored(run, dtype="float16") == ("bfloat16", "float16")
    assert stored(run.model) == ("float32", "auto")


def test_a_backbone_of_a_run_is_that_of_its_model_section_and_of_its_name(config: Config) -> None:
    run = parse_options(config(model={"backbone": TINY, "input_size": None}))
    every = [load_backbone(value, allow_custom=True) for value in (run, run.model, ModelOptions(backbone=TINY), TINY)]
    assert len({b.info for b in every}) == 1


def test_the_section_model_alone_is_no_run(config: Config) -> None:
    section = config()["model"]
    said = r"model is missing; data is missing; unknown key 'backbone' \(did you mean 'model\.backbone'\?\)"
    for taker in (load_backbone, load_model):
        with pytest.raises(OptionsError, match=said):
            taker(section)
    assert load_backbone(ModelOptions(**{**section, "classifier_dims": ("auto", 4)})).features == 512


def test_one_backbone_is_no_joined_one(config: Config) -> None:
    run: Options = parse_options(config(model={"backbone": "resnet18+squeezenet1_1"}))
    for value in (run, run.model, "resnet18+squeezenet1_1"):
        with pytest.raises(OptionsError, match="names 2 backbones, and load_backbone gives one"):
            load_backbone(value)


@pytest.mark.parametrize("name", ["", "a+", "+"])
def test_what_is_no_name_is_said_to_be_none(name: str) -> None:
    with pytest.raises(OptionsError, match=r"model\.backbone: .* is no name"):
        load_backbone(name)


@pytest.mark.parametrize(
    ("unfreeze", "said"), [(["layer9"], "has no block 'layer9'"), (["all", "last_block"], "is out of order")]
)
def test_check_and_training_refuse_the_same_schedules(
    config: Config, tmp_path: Path, unfreeze: list[str], said: str
) -> None:
    steps = [{"epoch": k + 1, "unfreeze": one} for k, one in enumerate(unfreeze)]
    options = config(model={"backbone": "squeezenet1_1"}, training={"epochs": 3, "unfreeze_schedule": steps})
    with pytest.raises(OptionsError, match=said) as checked:
        check(options, device="cpu", allow_custom=True)
    with pytest.raises(OptionsError) as trained:
        train_model(options, device="cpu", allow_custom=True, results_dir=tmp_path / "results")
    assert str(checked.value) == str(trained.value)
